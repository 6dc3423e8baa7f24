//! LayerNorm in its parts, for parsers that do not know the operator.

use amis_artifacts::onnx::{ModelProto, NodeProto};

use super::edit::{self, node};
use crate::Result;
use crate::graph::builder::{int, ints};

/// Writes every LayerNormalization over the last dimension as mean, deviation, gain and bias. All of it must run in float32: the square overflows
/// in FP16. Gives the names of the new nodes.
///
/// # Errors
/// No graph.
pub(crate) fn decompose(model: &mut ModelProto) -> Result<Vec<String>> {
    let graph = edit::graph(model)?;
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut names = Vec::new();
    for old in std::mem::take(&mut graph.node) {
        let ([x, weight, bias], [y]) = (&old.input[..], &old.output[..]) else {
            nodes.push(old);
            continue;
        };
        if old.op_type() != "LayerNormalization" {
            nodes.push(old);
            continue;
        }
        let part = |part: &str| format!("{}.{part}", old.name());
        let [mean, centred, square, variance, moved, deviation, scaled, weighted, eps] =
            ["mean", "centred", "square", "variance", "variance_eps", "deviation", "scaled", "weighted", "eps"].map(part);
        graph.initializer.push(edit::float_constant(&eps, &[], &[edit::attribute(&old, "epsilon").map_or(1e-5, |a| a.f())]));
        let last = || vec![ints("axes", &[-1]), int("keepdims", 1)];
        let parts: [NodeProto; 9] = [
            node(&mean, "ReduceMean", &[x], &mean, last()),
            node(&centred, "Sub", &[x, &mean], &centred, vec![]),
            node(&square, "Mul", &[&centred, &centred], &square, vec![]),
            node(&variance, "ReduceMean", &[&square], &variance, last()),
            node(&moved, "Add", &[&variance, &eps], &moved, vec![]),
            node(&deviation, "Sqrt", &[&moved], &deviation, vec![]),
            node(&scaled, "Div", &[&centred, &deviation], &scaled, vec![]),
            node(&weighted, "Mul", &[&scaled, weight], &weighted, vec![]),
            node(old.name(), "Add", &[&weighted, bias], y, vec![]),
        ];
        names.extend(parts.iter().map(|n| n.name().to_owned()));
        nodes.extend(parts);
    }
    graph.node = nodes;
    Ok(names)
}
