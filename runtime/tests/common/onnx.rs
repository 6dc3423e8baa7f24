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

/// [`patch_model`] that takes tens of milliseconds: a chain of products of matrices is added to its masks, times zero.
pub fn slow_model(height: i64, width: i64, patch: i64, weight: &[[f32; 3]], bias: &[f32]) -> Vec<u8> {
    let side = 384;
    extended(patch_model(height, width, patch, weight, bias), |graph| {
        graph.initializer.push(tensor("square", vec![side, side], vec![1.0 / side as f32; (side * side) as usize]));
        graph.initializer.push(tensor("zero", vec![1], vec![0.0]));
        graph.node.push(node("ReduceMean", &["image"], "mean"));
        graph.node.push(node("Mul", &["square", "mean"], "chain-0"));
        for at in 0..60 {
            graph.node.push(node("MatMul", &[&format!("chain-{at}"), "square"], &format!("chain-{}", at + 1)));
        }
        graph.node.push(node("ReduceMean", &["chain-60"], "end"));
        graph.node.push(node("Mul", &["end", "zero"], "nothing"));
        "nothing"
    })
}

/// [`patch_model`] with half a million random weights that change nothing.
pub fn heavy_model(height: i64, width: i64, patch: i64, weight: &[[f32; 3]], bias: &[f32]) -> Vec<u8> {
    extended(patch_model(height, width, patch, weight, bias), |graph| {
        let mut state = 1u32;
        let noise = (0..500_000).map(|_| {
            // Of xorshift, with an exponent that keeps them finite.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f32::from_bits(state & 0x3fff_ffff)
        });
        graph.initializer.push(tensor("noise", vec![500_000], noise.collect()));
        graph.initializer.push(tensor("zero", vec![1], vec![0.0]));
        graph.node.push(node("ReduceMean", &["noise"], "mean"));
        graph.node.push(node("Mul", &["mean", "zero"], "nothing"));
        "nothing"
    })
}

/// [`patch_model`] that runs on pictures of nothing but full and missing colours, and on grey ones, and fails on all between them.
pub fn picky_model(height: i64, width: i64, patch: i64, weight: &[[f32; 3]], bias: &[f32]) -> Vec<u8> {
    extended(patch_model(height, width, patch, weight, bias), |graph| {
        for (name, value) in [("low", 0.02), ("high", 0.9), ("zero", 0.0)] {
            graph.initializer.push(tensor(name, vec![1], vec![value]));
        }
        graph.node.push(node("Mul", &["image", "image"], "squares"));
        graph.node.push(node("ReduceMean", &["squares"], "mean"));
        graph.node.push(node("Greater", &["mean", "low"], "above"));
        graph.node.push(node("Less", &["mean", "high"], "below"));
        graph.node.push(node("And", &["above", "below"], "between"));
        let to = AttributeProto { name: Some("to".into()), i: Some(7), r#type: Some(AttributeType::Int.into()), ..AttributeProto::default() };
        graph.node.push(NodeProto { attribute: vec![to], ..node("Cast", &["between"], "index") });
        // There is no element 1.
        graph.node.push(node("Gather", &["zero", "index"], "nothing"));
        "nothing"
    })
}

/// The graph of a model with more in it, whose last value is added to the masks.
fn extended(model: Vec<u8>, more: impl FnOnce(&mut GraphProto) -> &'static str) -> Vec<u8> {
    let mut model = onnx::parse(&model, std::path::Path::new("test")).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.node[0].output = vec!["patches".into()];
    let last = more(graph);
    graph.node.push(node("Add", &["patches", last], "masks"));
    let file = tempfile::NamedTempFile::new().unwrap();
    onnx::write(file.path(), &model).unwrap();
    std::fs::read(file.path()).unwrap()
}

fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto { input: input.iter().map(|&name| name.to_owned()).collect(), output: vec![output.into()], op_type: Some(op.into()), ..NodeProto::default() }
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
