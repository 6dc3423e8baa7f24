//! A graph with its edges looked up once.

use std::collections::{HashMap, HashSet};

use amis_artifacts::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

use crate::passes::edit;

/// A graph, who makes and who takes each value.
pub(crate) struct View<'a> {
    pub(crate) graph: &'a GraphProto,
    /// Version of the operator set.
    pub(crate) opset: i64,
    /// The node that makes a value.
    pub(crate) producer: HashMap<&'a str, &'a NodeProto>,
    /// The nodes that take it, and as which input.
    consumers: HashMap<&'a str, Vec<(&'a NodeProto, usize)>>,
    /// Constants: initializers and Constant nodes.
    pub(crate) constants: HashMap<&'a str, &'a TensorProto>,
    /// Outputs of the graph.
    pub(crate) outputs: HashSet<&'a str>,
}

impl<'a> View<'a> {
    pub(crate) fn new(model: &ModelProto, graph: &'a GraphProto) -> Self {
        let mut view = Self {
            graph,
            opset: edit::opset(model),
            producer: HashMap::new(),
            consumers: HashMap::new(),
            constants: graph.initializer.iter().map(|t| (t.name(), t)).collect(),
            outputs: graph.output.iter().map(|o| o.name()).collect(),
        };
        for node in &graph.node {
            for (at, input) in node.input.iter().enumerate().filter(|(_, i)| !i.is_empty()) {
                view.consumers.entry(input).or_default().push((node, at));
            }
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                view.producer.insert(output, node);
            }
            let value = edit::attribute(node, "value").and_then(|a| a.t.as_ref());
            if let (true, [output, ..], Some(tensor)) = (is(node, "Constant"), &node.output[..], value) {
                view.constants.insert(output, tensor);
            }
        }
        view
    }

    /// The nodes that take a value, and as which input.
    pub(crate) fn consumers(&self, value: &str) -> &[(&'a NodeProto, usize)] {
        self.consumers.get(value).map_or(&[], Vec::as_slice)
    }

    /// The node of this operator that makes a value.
    pub(crate) fn made_by(&self, value: &str, op_type: &str) -> Option<&'a NodeProto> {
        self.producer.get(value).copied().filter(|n| is(n, op_type))
    }
}

/// Whether a node is of one of ONNX's own operators.
pub(crate) fn is(node: &NodeProto, op_type: &str) -> bool {
    node.op_type() == op_type && matches!(node.domain(), "" | "ai.onnx")
}

/// An input of a node; empty if it is left out.
pub(crate) fn input(node: &NodeProto, at: usize) -> &str {
    node.input.get(at).map_or("", String::as_str)
}

/// The first output of a node; empty if there is none.
pub(crate) fn output(node: &NodeProto) -> &str {
    node.output.first().map_or("", String::as_str)
}

/// What to call a node: its name, or what it makes.
pub(crate) fn name(node: &NodeProto) -> &str {
    if node.name().is_empty() { output(node) } else { node.name() }
}
