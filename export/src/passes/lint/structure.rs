//! Rules about edges: order, pairs, and LayerNorm taken apart.

use std::collections::{HashMap, HashSet};

use amis_artifacts::onnx::NodeProto;

use super::view::{View, input, is, name, output};
use super::{Expected, Findings, Rule, shown};

pub(crate) fn check(view: &View<'_>, expected: &Expected<'_>, findings: &mut Findings) {
    order(view, findings);
    let mut quantized: HashMap<&str, &NodeProto> = HashMap::new();
    for node in &view.graph.node {
        if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
            findings.add(Rule::Unchecked, name(node), format!("{} holds a graph of its own, which is not looked into", shown(node.op_type())));
        }
        if is(node, "QuantizeLinear") {
            pair(view, node, findings);
            if let Some(first) = quantized.insert(input(node, 0), node) {
                findings.add(Rule::Twice, name(node), format!("{} is quantized by {} already", shown(input(node, 0)), shown(name(first))));
            }
        }
        if is(node, "Sqrt") && !expected.decomposed_layer_norm && is_layer_norm(view, node) {
            findings.add(Rule::LayerNorm, name(node), "LayerNorm in its parts overflows in FP16; expected LayerNormalization as one operator");
        }
    }
}

/// Every value is made once, before it is used; outputs are made.
fn order<'a>(view: &View<'a>, findings: &mut Findings) {
    // An initializer may have an input of the same name: it is its default.
    let mut made: HashSet<&str> = view.graph.initializer.iter().map(|t| t.name()).chain(view.graph.input.iter().map(|i| i.name())).collect();
    made.extend(view.graph.sparse_initializer.iter().filter_map(|t| t.values.as_ref()).map(|t| t.name()));
    for node in &view.graph.node {
        for input in node.input.iter().filter(|i| !i.is_empty() && !made.contains(i.as_str())) {
            findings.add(Rule::Order, name(node), format!("takes {}, which nothing makes before it", shown(input)));
        }
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if !made.insert(output) {
                findings.add(Rule::Order, name(node), format!("makes {}, which is there already", shown(output)));
            }
        }
    }
    for output in view.outputs.iter().filter(|o| !made.contains(*o)) {
        findings.add(Rule::Order, output, "is an output of the graph that nothing makes");
    }
}

/// A QuantizeLinear, its consumers and its source.
fn pair(view: &View<'_>, node: &NodeProto, findings: &mut Findings) {
    let out = output(node);
    if view.outputs.contains(out) {
        findings.add(Rule::Pair, name(node), "its result is an output of the graph; expected DequantizeLinear behind it");
    } else if view.consumers(out).is_empty() {
        findings.add(Rule::Pair, name(node), "nothing takes its result; expected DequantizeLinear behind it");
    }
    for (consumer, at) in view.consumers(out) {
        if !is(consumer, "DequantizeLinear") || *at != 0 {
            findings.add(Rule::Pair, name(node), format!("feeds {} ({}); expected DequantizeLinear only", shown(name(consumer)), shown(consumer.op_type())));
        }
    }
    if let Some(source) = view.made_by(input(node, 0), "DequantizeLinear") {
        findings.add(Rule::Twice, name(node), format!("quantizes what {} has dequantized", shown(name(source))));
    }
}

/// Whether this root is the deviation of a LayerNorm: of a mean of squares of differences, with or without an epsilon.
fn is_layer_norm(view: &View<'_>, root: &NodeProto) -> bool {
    let moved = input(root, 0);
    let mean = match view.made_by(moved, "Add") {
        Some(add) => [0, 1].map(|at| input(add, at)).into_iter().find_map(|value| view.made_by(value, "ReduceMean")),
        None => view.made_by(moved, "ReduceMean"),
    };
    let Some(mean) = mean else { return false };
    let square = view.producer.get(input(mean, 0)).filter(|n| is(n, "Pow") || (is(n, "Mul") && input(n, 0) == input(n, 1)));
    square.is_some_and(|n| view.made_by(input(n, 0), "Sub").is_some())
}
