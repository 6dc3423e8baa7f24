//! What the passes share: reading and writing constants, making nodes.

use std::collections::HashSet;

use amis_artifacts::onnx::{AttributeProto, DataLocation, DataType, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use half::f16;

use crate::{Error, Result};

/// The graph of a model.
///
/// # Errors
/// It has none.
pub(crate) fn graph(model: &mut ModelProto) -> Result<&mut GraphProto> {
    model.graph.as_mut().ok_or_else(|| Error::Pass { reason: "it has no graph".into() })
}

/// Number of elements that the sizes of a tensor say; none if they are negative or too many to be in a file.
pub(crate) fn elements(tensor: &TensorProto) -> Option<usize> {
    let count = tensor.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?))?;
    usize::try_from(count).ok().filter(|&n| n <= i32::MAX as usize)
}

/// Element type of a tensor.
pub(crate) fn data_type(tensor: &TensorProto) -> DataType {
    DataType::try_from(tensor.data_type()).unwrap_or(DataType::Undefined)
}

/// Values of a float32 or float16 constant in the file; none if it is of another type, elsewhere, or its length does not fit its sizes.
pub(crate) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_location() == DataLocation::External {
        return None;
    }
    let values: Vec<f32> = match (data_type(tensor), &tensor.raw_data) {
        (DataType::Float, Some(raw)) if raw.len().is_multiple_of(4) => raw.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        (DataType::Float, None) => tensor.float_data.clone(),
        (DataType::Float16, Some(raw)) if raw.len().is_multiple_of(2) => raw.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        (DataType::Float16, None) => tensor.int32_data.iter().map(|&bits| f16::from_bits(bits as u16).to_f32()).collect(),
        _ => return None,
    };
    (elements(tensor) == Some(values.len())).then_some(values)
}

/// Values of an integer constant in the file (int8, uint8, int32, int64), under the same conditions.
pub(crate) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_location() == DataLocation::External {
        return None;
    }
    let values: Vec<i64> = match (data_type(tensor), &tensor.raw_data) {
        (DataType::Int8, Some(raw)) => raw.iter().map(|&b| i64::from(b as i8)).collect(),
        (DataType::Uint8, Some(raw)) => raw.iter().map(|&b| i64::from(b)).collect(),
        (DataType::Int32, Some(raw)) if raw.len().is_multiple_of(4) => raw.as_chunks().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
        (DataType::Int64, Some(raw)) if raw.len().is_multiple_of(8) => raw.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
        (DataType::Int8 | DataType::Uint8 | DataType::Int32, None) => tensor.int32_data.iter().map(|&v| i64::from(v)).collect(),
        (DataType::Int64, None) => tensor.int64_data.clone(),
        _ => return None,
    };
    (elements(tensor) == Some(values.len())).then_some(values)
}

/// A constant of little-endian bytes.
pub(crate) fn constant(name: &str, data_type: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: Some(name.to_owned()), dims: dims.to_vec(), data_type: Some(data_type.into()), raw_data: Some(raw_data), ..TensorProto::default() }
}

/// A float32 constant.
pub(crate) fn float_constant(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    constant(name, DataType::Float, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A node with one output.
pub(crate) fn node(name: &str, op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: Some(name.to_owned()),
        op_type: Some(op_type.to_owned()),
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

/// An attribute of a node.
pub(crate) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name() == name)
}

/// Version of ONNX's own operator set.
pub(crate) fn opset(model: &ModelProto) -> i64 {
    model.opset_import.iter().find(|o| matches!(o.domain(), "" | "ai.onnx")).map_or(0, |o| o.version())
}

/// Sets a named value about the model.
pub(crate) fn set_metadata(model: &mut ModelProto, key: &str, value: String) {
    model.metadata_props.retain(|e| e.key() != key);
    model.metadata_props.push(StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) });
}

/// Removes constants that no node and no output uses any more.
pub(crate) fn remove_unused_constants(graph: &mut GraphProto) {
    let used: HashSet<&str> = graph.node.iter().flat_map(|n| &n.input).map(String::as_str).chain(graph.output.iter().map(|o| o.name())).collect();
    let keep: Vec<bool> = graph.initializer.iter().map(|t| used.contains(t.name())).collect();
    let mut keep = keep.into_iter();
    graph.initializer.retain(|_| keep.next().unwrap_or(true));
}
