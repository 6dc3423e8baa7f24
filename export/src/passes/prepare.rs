//! The passes in the order that a target needs, and the linter behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use amis_artifacts::onnx::{BUILDER_KEY, Builder, ModelProto, NodeProto, linears};
use serde::{Deserialize, Serialize};

use super::lint::{self, Expected};
use super::target::{LayerNorm, Target, Typing};
use super::{edit, fp16, layer_norm, opset, qdq};
use crate::{Error, Result};

/// Metadata key: the target that the graph is written for.
pub const TARGET_KEY: &str = "amis.target";

/// Precision of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything float32.
    Fp32,
    /// FP16 but for what needs float32.
    Fp16,
    /// Linears int8, the rest FP16 where the target can, else float32.
    Int8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fp32, Self::Fp16, Self::Int8];

    /// Its name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to make of a graph.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// For whom.
    pub target: &'a Target,
    /// In which precision.
    pub precision: Precision,
    /// Largest magnitude of every tensor that goes into a Linear; used for int8 only.
    pub ranges: &'a BTreeMap<String, f32>,
    /// Linears that are not quantized.
    pub keep: &'a BTreeSet<String>,
    /// The INT8 graph of the step before for this target, whose scales are kept where they fit.
    pub parent: Option<&'a ModelProto>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prepared {
    /// Layers that are int8.
    pub quantized: Vec<String>,
    /// Linears that are not.
    pub kept: Vec<String>,
    /// Output channels that have the scale of the parent.
    pub scales_kept: usize,
}

/// Turns a float32 graph of ours into what a target takes, and lints it.
///
/// # Errors
/// A combination that the target refuses, a graph that is not ours, a range that is missing or no positive number, a weight that FP16 cannot hold,
/// or a finding of the linter.
pub fn prepare(model: &mut ModelProto, job: &Job<'_>) -> Result<Prepared> {
    let Job { target, precision, ranges, keep, parent } = *job;
    target.allow(precision, false)?;
    let found = edit::opset(model);
    if found != crate::graph::builder::OPSET {
        return Err(Error::Pass { reason: format!("it has operator set {found}, expected {} as `amis-export onnx` writes", crate::graph::builder::OPSET) });
    }
    let names: Vec<String> = linears(edit::graph(model)?).into_iter().map(|l| l.name).collect();
    let half = target.typing == Typing::Strong && target.half && precision != Precision::Fp32;
    let (quantized, scales_kept) = match precision {
        Precision::Int8 => qdq::quantize(model, ranges, &qdq::Options { weights: target.weights, half_scales: half, keep, parent })?,
        _ => (vec![], 0),
    };
    let decomposed = match target.layer_norm {
        LayerNorm::Decomposed => layer_norm::decompose(model)?,
        LayerNorm::Operator => vec![],
    };
    opset::raise(model, target.opset)?;
    if half {
        fp16::convert(model, &fp16::needs_float)?;
    }
    if target.typing == Typing::Weak && precision != Precision::Fp32 {
        let flags: &[&str] =
            if precision == Precision::Int8 { &["fp16", "int8", "obey_precision_constraints"] } else { &["fp16", "obey_precision_constraints"] };
        let decomposed: BTreeSet<String> = decomposed.iter().cloned().collect();
        let float = |n: &&NodeProto| fp16::needs_float(n) || decomposed.contains(n.name());
        let float_nodes = edit::graph(model)?.node.iter().filter(float).map(|n| n.name().to_owned()).collect();
        let builder = Builder { flags: flags.iter().map(|&f| f.to_owned()).collect(), float_nodes };
        edit::set_metadata(model, BUILDER_KEY, serde_json::json!(builder).to_string());
    }
    edit::set_metadata(model, TARGET_KEY, format!("{}-{precision}", target.name));
    let expected = Expected { ranges: (precision == Precision::Int8).then_some(ranges), decomposed_layer_norm: target.layer_norm == LayerNorm::Decomposed };
    lint::require(model, &expected)?;
    let kept = if precision == Precision::Int8 { names.into_iter().filter(|n| !quantized.contains(n)).collect() } else { vec![] };
    Ok(Prepared { quantized, kept, scales_kept })
}
