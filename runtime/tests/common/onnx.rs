//! Small graphs for tests.

use amis_artifacts::onnx::{
    self, AttributeProto, AttributeType, DataType, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeValue,
    ValueInfoProto,
};

/// Bytes of a graph of one convolution without padding whose kernel and stride are `patch`: `[1, 3, H, W]` to `[1, C, H / patch, W / patch]`.
/// Class `c` is `bias[c]` plus the sum of `weight[c][channel]` times the mean of the channel over the patch.
pub fn patch_model(height: i64, width: i64, patch: i64, weight: &[[f32; 3]], bias: &[f32]) -> Vec<u8> {
    let classes = weight.len() as i64;
    let area = (patch * patch) as usize;
    let kernel = weight.iter().flatten().flat_map(|&w| std::iter::repeat_n(w / area as f32, area)).collect();
    let node = NodeProto {
        input: ["image", "kernel", "bias"].map(str::to_owned).to_vec(),
        output: vec!["masks".into()],
        op_type: Some("Conv".into()),
        attribute: vec![ints("kernel_shape", patch), ints("strides", patch)],
        ..NodeProto::default()
    };
    let initializer = vec![tensor("kernel", vec![classes, 3, patch, patch], kernel), tensor("bias", vec![classes], bias.to_vec())];
    let output = ValueInfoProto::tensor("masks", DataType::Float, &[1, classes, height / patch, width / patch]);
    bytes(node, initializer, ValueInfoProto::tensor("image", DataType::Float, &[1, 3, height, width]), output)
}

/// Bytes of a graph that hands its input through, with this shape (-1: any) and element type.
pub fn identity_model(shape: &[i64], element: DataType) -> Vec<u8> {
    let node = NodeProto { input: vec!["image".into()], output: vec!["masks".into()], op_type: Some("Identity".into()), ..NodeProto::default() };
    let value = |name: &str| {
        let mut value = ValueInfoProto::tensor(name, element, shape);
        if let Some(TypeValue::TensorType(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut()) {
            for dim in tensor.shape.iter_mut().flat_map(|s| &mut s.dim).filter(|d| d.value == Some(DimensionValue::DimValue(-1))) {
                *dim = Dimension { value: Some(DimensionValue::DimParam("any".into())), denotation: None };
            }
        }
        value
    };
    bytes(node, vec![], value("image"), value("masks"))
}

fn bytes(node: NodeProto, initializer: Vec<TensorProto>, input: ValueInfoProto, output: ValueInfoProto) -> Vec<u8> {
    let graph = GraphProto { node: vec![node], name: Some("test".into()), initializer, input: vec![input], output: vec![output], ..GraphProto::default() };
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    let model = ModelProto { ir_version: Some(8), graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() };
    let file = tempfile::NamedTempFile::new().unwrap();
    onnx::write(file.path(), &model).unwrap();
    std::fs::read(file.path()).unwrap()
}

fn ints(name: &str, side: i64) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ints: vec![side, side], r#type: Some(AttributeType::Ints.into()), ..AttributeProto::default() }
}

fn tensor(name: &str, dims: Vec<i64>, float_data: Vec<f32>) -> TensorProto {
    TensorProto { name: Some(name.into()), dims, data_type: Some(DataType::Float.into()), float_data, ..TensorProto::default() }
}
