//! The few protobuf messages of ONNX (onnx.proto3, field numbers from there) that a test graph needs.

use prost::Message;

/// A graph of one convolution without padding whose kernel and stride are `patch`: `[1, 3, H, W]` to `[1, C, H / patch, W / patch]`.
/// Class `c` is `bias[c]` plus the sum of `weight[c][channel]` times the mean of the channel over the patch.
pub fn patch_model(height: i64, width: i64, patch: i64, weight: &[[f32; 3]], bias: &[f32]) -> Vec<u8> {
    let classes = weight.len() as i64;
    let area = (patch * patch) as usize;
    let kernel: Vec<f32> = weight.iter().flatten().flat_map(|&w| std::iter::repeat_n(w / area as f32, area)).collect();
    let node = Node {
        input: vec!["image".into(), "kernel".into(), "bias".into()],
        output: vec!["masks".into()],
        op_type: "Conv".into(),
        attribute: vec![ints("kernel_shape", patch), ints("strides", patch)],
    };
    let initializer = vec![
        Tensor { dims: vec![classes, 3, patch, patch], data_type: FLOAT, float_data: kernel, name: "kernel".into() },
        Tensor { dims: vec![classes], data_type: FLOAT, float_data: bias.to_vec(), name: "bias".into() },
    ];
    model(node, initializer, &[1, 3, height, width], &[1, classes, height / patch, width / patch], FLOAT)
}

/// A graph of one node that hands its input through, with these shapes and this element type.
pub fn identity_model(shape: &[i64], element: i32) -> Vec<u8> {
    let node = Node { input: vec!["image".into()], output: vec!["masks".into()], op_type: "Identity".into(), attribute: vec![] };
    model(node, vec![], shape, shape, element)
}

/// TensorProto.DataType.FLOAT.
pub const FLOAT: i32 = 1;
/// TensorProto.DataType.UINT8.
pub const UINT8: i32 = 2;

fn model(node: Node, initializer: Vec<Tensor>, input: &[i64], output: &[i64], element: i32) -> Vec<u8> {
    let graph = Graph {
        node: vec![node],
        name: "test".into(),
        initializer,
        input: vec![value("image", input, element)],
        output: vec![value("masks", output, element)],
    };
    Model { ir_version: 8, graph: Some(graph), opset_import: vec![Opset { domain: String::new(), version: 17 }] }.encode_to_vec()
}

fn ints(name: &str, side: i64) -> Attribute {
    const INTS: i32 = 7;
    Attribute { name: name.into(), ints: vec![side, side], kind: INTS }
}

fn value(name: &str, shape: &[i64], element: i32) -> Value {
    let dim = shape.iter().map(|&value| Dim { value: (value >= 0).then_some(value), param: (value < 0).then(|| "any".into()) }).collect();
    Value { name: name.into(), kind: Some(Type { tensor: Some(TensorType { element, shape: Some(Shape { dim }) }) }) }
}

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}
