//! A small ONNX model, and as much of ONNX's protobuf as it takes.

use prost::Message;

/// `TensorProto.DataType`.
const FLOAT: i32 = 1;
const INT8: i32 = 3;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, tag = "1")]
    dim_value: i64,
}

/// Tokens and channels of the model's input `x` and output `y`, both `[1, TOKENS, CHANNELS]`.
const TOKENS: i64 = 16;
const CHANNELS: u8 = 32;

fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_owned()],
        name: format!("/block/{output}"),
        op_type: op_type.to_owned(),
    }
}

fn floats(name: &str, dims: &[i64], values: impl IntoIterator<Item = f32>) -> TensorProto {
    let raw_data = values.into_iter().flat_map(f32::to_le_bytes).collect();
    TensorProto { dims: dims.to_vec(), data_type: FLOAT, name: name.to_owned(), raw_data }
}

fn int8(name: &str, dims: &[i64], values: impl IntoIterator<Item = i8>) -> TensorProto {
    let raw_data = values.into_iter().flat_map(i8::to_le_bytes).collect();
    TensorProto { dims: dims.to_vec(), data_type: INT8, name: name.to_owned(), raw_data }
}

fn value(name: &str, batch: i64) -> ValueInfoProto {
    let dim = [batch, TOKENS, CHANNELS.into()].map(|dim_value| DimensionProto { dim_value }).to_vec();
    let tensor_type = TensorTypeProto { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

/// A piece of a quantized transformer: LayerNorm, then a Linear with INT8 input and weights, then `activation`.
pub(crate) fn linear_block(activation: &str) -> Vec<u8> {
    linear_block_of_batch(activation, 1)
}

/// [`linear_block`] with another first size; -1 is dynamic.
pub(crate) fn linear_block_of_batch(activation: &str, batch: i64) -> Vec<u8> {
    let channels = i64::from(CHANNELS);
    // Any pattern that covers -127..=127.
    let weights = (0..channels * channels).map(|index| i8::try_from(index * 37 % 255 - 127).unwrap());
    let graph = GraphProto {
        node: vec![
            node("LayerNormalization", &["x", "gain", "shift"], "normal"),
            node("QuantizeLinear", &["normal", "scale", "zero"], "quantized"),
            node("DequantizeLinear", &["quantized", "scale", "zero"], "input"),
            node("DequantizeLinear", &["weights8", "scale", "zero"], "weights"),
            node("MatMul", &["input", "weights"], "product"),
            node("Add", &["product", "bias"], "sum"),
            node(activation, &["sum"], "y"),
        ],
        name: "linear_block".to_owned(),
        initializer: vec![
            floats("gain", &[channels], (0..CHANNELS).map(|_| 1.0)),
            floats("shift", &[channels], (0..CHANNELS).map(|_| 0.0)),
            floats("scale", &[], [0.05]),
            int8("zero", &[], [0]),
            int8("weights8", &[channels, channels], weights),
            floats("bias", &[channels], (0..CHANNELS).map(|index| f32::from(index) * 0.1)),
        ],
        input: vec![value("x", batch)],
        output: vec![value("y", batch)],
    };
    // Opset 17 is the first with LayerNormalization; IR version 8 belongs to it.
    ModelProto { ir_version: 8, graph: Some(graph), opset_import: vec![OperatorSetIdProto { version: 17 }] }.encode_to_vec()
}
