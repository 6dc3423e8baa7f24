//! A dynamic batch.

use std::collections::HashSet;

use amis_artifacts::onnx::{DimensionValue, ValueInfoProto};

use super::view::{View, input, is, name};
use super::{Findings, Rule, shown};
use crate::passes::edit;

/// If the first size of an input is named, so is that of every output, and no Reshape on the way has a number of elements that is fixed.
pub(crate) fn check(view: &View<'_>, findings: &mut Findings) {
    let inputs: Vec<&ValueInfoProto> = view.graph.input.iter().filter(|i| !view.constants.contains_key(i.name())).collect();
    if !inputs.iter().any(|i| is_dynamic(i)) {
        return;
    }
    for output in view.graph.output.iter().filter(|o| o.sizes().is_some() && !is_dynamic(o)) {
        findings.add(Rule::Batch, output.name(), "has a fixed batch, but that of the input is dynamic");
    }
    // What is computed from an input's values, not from its shape.
    let mut depends: HashSet<&str> = inputs.iter().map(|i| i.name()).collect();
    for node in view.graph.node.iter().filter(|n| !is(n, "Shape") && !is(n, "Size")) {
        if !node.input.iter().any(|i| depends.contains(i.as_str())) {
            continue;
        }
        depends.extend(node.output.iter().map(String::as_str));
        if let (true, Some(sizes)) = (is(node, "Reshape"), view.constants.get(input(node, 1)).and_then(|t| edit::integers(t)))
            && depends.contains(input(node, 0))
            && sizes.iter().all(|&n| n > 0)
        {
            findings.add(
                Rule::Batch,
                name(node),
                format!("reshapes {} to {sizes:?}, but the batch is dynamic; expected 0 or -1 for it", shown(input(node, 0))),
            );
        }
    }
}

fn is_dynamic(value: &ValueInfoProto) -> bool {
    matches!(value.sizes().as_deref(), Some([DimensionValue::DimParam(_), ..]))
}
