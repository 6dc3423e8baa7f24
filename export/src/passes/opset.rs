//! Raises our graphs from operator set 17 to a later one.

use amis_artifacts::onnx::{DataType, ModelProto};

use super::edit;
use crate::Result;

/// The first operator set whose Q/DQ take FP16, and the IR version that came with it.
const WITH_HALF_SCALES: (i64, i64) = (19, 9);

/// Raises a graph of ours to operator set `version`, 17 or 19: of the operators that we use, reductions changed, whose axes became an input.
///
/// # Errors
/// No graph.
pub(crate) fn raise(model: &mut ModelProto, version: i64) -> Result<()> {
    if version < WITH_HALF_SCALES.0 {
        return Ok(());
    }
    for entry in model.opset_import.iter_mut().filter(|o| o.domain().is_empty()) {
        entry.version = Some(version);
    }
    model.ir_version = Some(WITH_HALF_SCALES.1);
    let graph = edit::graph(model)?;
    for node in graph.node.iter_mut().filter(|n| n.op_type().starts_with("Reduce")) {
        if let Some(at) = node.attribute.iter().position(|a| a.name() == "axes") {
            let axes = node.attribute.remove(at).ints;
            let name = format!("{}.axes", node.name());
            let raw = axes.iter().flat_map(|v| v.to_le_bytes()).collect();
            graph.initializer.push(edit::constant(&name, DataType::Int64, &[axes.len() as i64], raw));
            node.input.push(name);
        }
    }
    Ok(())
}
