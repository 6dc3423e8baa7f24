//! FP16 for strongly typed networks: weights and most values become FP16, the parts that need more stay float32 between Casts.

use std::collections::{HashMap, HashSet};

use amis_artifacts::onnx::{DataType, ModelProto, NodeProto, TensorProto};
use half::f16;

use super::edit;
use crate::graph::builder::int;
use crate::{Error, Result};

/// Reductions and exponentials; sums over many FP16 values lose the small ones.
const FLOAT_OPERATORS: [&str; 4] = ["Softmax", "ReduceMean", "ReduceL2", "Resize"];
/// Nodes of the decoder's end: features scaled to length 1, their product, and the normalization over the classes, whose deviation can be small.
const FLOAT_PARTS: [&str; 4] = ["decoder.proj_patch.", "decoder.proj_classes.", "decoder.masks", "decoder.mask_norm"];
/// Operators that move values and compute nothing: they keep the type that comes in.
pub(crate) const MOVING: [&str; 5] = ["Reshape", "Transpose", "Slice", "Split", "Identity"];

/// Whether a node of ours must compute in float32. LayerNormalization need not: `stash_type` says that it accumulates there.
pub(crate) fn needs_float(node: &NodeProto) -> bool {
    let quantizes = matches!(node.op_type(), "QuantizeLinear" | "DequantizeLinear" | "Cast");
    !quantizes && (FLOAT_OPERATORS.contains(&node.op_type()) || FLOAT_PARTS.iter().any(|part| node.name().starts_with(part)))
}

/// Converts one of our graphs; nodes that are `float` compute in float32. Inputs and outputs of the graph stay float32.
///
/// # Errors
/// No graph, an output that would become FP16, a weight that is too large for FP16.
pub(crate) fn convert(model: &mut ModelProto, float: &dyn Fn(&NodeProto) -> bool) -> Result<()> {
    let graph = edit::graph(model)?;
    let mut types: HashMap<String, DataType> = graph.input.iter().filter_map(|i| Some((i.name().to_owned(), i.element_type()?))).collect();
    let mut constants: HashMap<String, TensorProto> = HashMap::new();
    for tensor in &graph.initializer {
        let kind = edit::data_type(tensor);
        if kind == DataType::Float {
            constants.insert(tensor.name().to_owned(), tensor.clone());
        }
        types.insert(tensor.name().to_owned(), kind);
    }
    let mut converted = HashSet::new();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        // Arithmetic on shapes.
        if node.op_type() == "Shape" || node.input.first().and_then(|i| types.get(i)) == Some(&DataType::Int64) {
            types.extend(node.output.iter().map(|name| (name.clone(), DataType::Int64)));
            nodes.push(node);
            continue;
        }
        let wanted = if float(&node) {
            DataType::Float
        } else if MOVING.contains(&node.op_type()) {
            node.input.first().and_then(|i| types.get(i)).copied().unwrap_or(DataType::Undefined)
        } else {
            DataType::Float16
        };
        for input in &mut node.input {
            let found = types.get(input.as_str()).copied().unwrap_or(DataType::Undefined);
            if found == wanted || !matches!(found, DataType::Float | DataType::Float16) {
                continue;
            }
            let name = format!("{input}.{}", if wanted == DataType::Float { "fp32" } else { "fp16" });
            if converted.insert(name.clone()) {
                match constants.get(input.as_str()) {
                    Some(tensor) => graph.initializer.push(halved(tensor, &name)?),
                    None => nodes.push(edit::node(&name, "Cast", &[input], &name, vec![int("to", i64::from(wanted as i32))])),
                }
                types.insert(name.clone(), wanted);
            }
            *input = name;
        }
        if node.op_type() == "LayerNormalization" {
            node.attribute.retain(|a| a.name() != "stash_type");
            node.attribute.push(int("stash_type", i64::from(DataType::Float as i32)));
        }
        let made = if node.op_type() == "QuantizeLinear" { DataType::Int8 } else { wanted };
        types.extend(node.output.iter().map(|name| (name.clone(), made)));
        nodes.push(node);
    }
    graph.node = nodes;
    edit::remove_unused_constants(graph);
    match graph.output.iter().find(|o| types.get(o.name()) != Some(&DataType::Float)) {
        Some(output) => Err(Error::Pass { reason: format!("its output {} would not stay float32", output.name()) }),
        None => Ok(()),
    }
}

/// A float32 constant as FP16, under another name.
fn halved(tensor: &TensorProto, name: &str) -> Result<TensorProto> {
    let wrong = |reason: String| Error::Weight { name: tensor.name().to_owned(), reason };
    let values = edit::floats(tensor).ok_or_else(|| wrong("is no constant in the file".into()))?;
    let mut raw = Vec::with_capacity(2 * values.len());
    for value in values {
        let half = f16::from_f32(value);
        if !half.is_finite() {
            return Err(wrong(format!("holds {value}, FP16 ends at {}", f16::MAX)));
        }
        raw.extend(half.to_le_bytes());
    }
    Ok(edit::constant(name, DataType::Float16, &tensor.dims, raw))
}
