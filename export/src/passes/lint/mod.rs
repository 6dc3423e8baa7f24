//! What must hold in a graph before a parser sees it. Works on any ONNX graph, and trusts nothing in it.

mod batch;
mod scales;
mod structure;
mod types;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use amis_artifacts::onnx::{self, ModelProto};
use serde::Serialize;

use crate::{Error, Result};
use view::View;

/// Most nodes of a graph that is looked at.
pub const MAX_NODES: usize = 1 << 18;
/// Findings after which the linter stops.
pub const MAX_FINDINGS: usize = 200;
/// Longest name in a finding.
const MAX_NAME_CHARS: usize = 120;

/// A rule that a graph breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Node or tensor, control characters escaped.
    pub place: String,
    /// Found and expected.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.place, self.reason, self.rule.name())
    }
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The graph is too large, nested, or its values are elsewhere: it was not checked wholly.
    Unchecked,
    /// Every value is made once, and before it is used.
    Order,
    /// A QuantizeLinear feeds only DequantizeLinear, and one that has the same scale.
    Pair,
    /// A tensor is quantized once, and what was dequantized is not quantized again.
    Twice,
    /// One scale a tensor for activations, one an output channel for weights.
    Axis,
    /// Scales are constants, positive and finite.
    Scale,
    /// Zero points are int8 and 0.
    ZeroPoint,
    /// Every quantized activation has its range from the calibration.
    Range,
    /// LayerNorm is one operator.
    LayerNorm,
    /// The types of what a node takes fit each other.
    Types,
    /// Where the batch is dynamic, it is so from the inputs to the outputs.
    Batch,
}

impl Rule {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Order => "order",
            Self::Pair => "pair",
            Self::Twice => "twice",
            Self::Axis => "axis",
            Self::Scale => "scale",
            Self::ZeroPoint => "zero-point",
            Self::Range => "range",
            Self::LayerNorm => "layer-norm",
            Self::Types => "types",
            Self::Batch => "batch",
        }
    }
}

/// What is known about a graph besides itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// Largest magnitude of every quantized activation; none: any scale is believed.
    pub ranges: Option<&'a BTreeMap<String, f32>>,
    /// The target has LayerNorm in its parts.
    pub decomposed_layer_norm: bool,
}

/// Findings, at most [`MAX_FINDINGS`].
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, rule: Rule, place: &str, reason: impl Into<String>) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Finding { rule, place: shown(place), reason: reason.into() });
        }
    }
}

/// A name from a foreign file, fit for a terminal.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(MAX_NAME_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX_NAME_CHARS).is_some() {
        text.push('…');
    }
    if text.is_empty() { "(no name)".into() } else { text }
}

/// Rules that the graph breaks, at most [`MAX_FINDINGS`].
pub fn lint(model: &ModelProto, expected: &Expected<'_>) -> Vec<Finding> {
    let mut findings = Findings::default();
    let Some(graph) = &model.graph else {
        findings.add(Rule::Unchecked, "model", "it has no graph");
        return findings.0;
    };
    if graph.node.len() > MAX_NODES {
        findings.add(Rule::Unchecked, "graph", format!("it has {} nodes, at most {MAX_NODES} are looked at", graph.node.len()));
        return findings.0;
    }
    let view = View::new(model, graph);
    structure::check(&view, expected, &mut findings);
    scales::check(&view, expected, &mut findings);
    types::check(&view, &mut findings);
    batch::check(&view, &mut findings);
    findings.0
}

/// [`lint`], as an error.
///
/// # Errors
/// [`Error::Lint`] with the findings.
pub fn require(model: &ModelProto, expected: &Expected<'_>) -> Result<()> {
    let findings = lint(model, expected);
    if findings.is_empty() { Ok(()) } else { Err(Error::Lint { findings }) }
}

/// A graph without findings, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clean {
    /// Nodes.
    pub nodes: usize,
    /// QuantizeLinear among them.
    pub quantize: usize,
    /// DequantizeLinear among them.
    pub dequantize: usize,
}

/// Lints a file. LayerNorm in its parts is allowed where the graph says that it is for a target that needs it.
///
/// # Errors
/// Unreadable, no ONNX model, or findings.
pub fn lint_file(path: &Path) -> Result<Clean> {
    let model = onnx::read(path)?;
    let target = model.metadata(super::TARGET_KEY).and_then(|value| value.split('-').next());
    let decomposed = target.is_some_and(|name| super::target::Target::find(name).is_ok_and(|t| t.layer_norm == super::target::LayerNorm::Decomposed));
    require(&model, &Expected { ranges: None, decomposed_layer_norm: decomposed })?;
    let nodes = model.graph.map(|g| g.node).unwrap_or_default();
    let count = |op: &str| nodes.iter().filter(|n| n.op_type() == op).count();
    Ok(Clean { nodes: nodes.len(), quantize: count("QuantizeLinear"), dequantize: count("DequantizeLinear") })
}

#[cfg(test)]
mod tests;
