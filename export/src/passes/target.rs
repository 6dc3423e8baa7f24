//! The device families that graphs are written for, from `targets.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Precision;
use crate::{Error, Result};

const TABLE: &str = include_str!("../../targets.toml");

/// A device family and what its runtime takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name, as in `model.<name>-<precision>.onnx`.
    pub name: String,
    /// Which runtime on which devices.
    pub runs_on: String,
    /// ONNX operator set of its graphs.
    pub opset: i64,
    /// Where the engine's types come from.
    pub typing: Typing,
    /// How LayerNorm is written.
    pub layer_norm: LayerNorm,
    /// How quantized weights are stored.
    pub weights: WeightStorage,
    /// What its graphs may be.
    pub precisions: Vec<Precision>,
    /// Whether what an int8 graph does not quantize is FP16.
    pub half: bool,
    /// Why something else is refused: by precision, and `dla`.
    pub refused: BTreeMap<String, String>,
}

/// Where the types of an engine come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Typing {
    /// From the graph.
    Strong,
    /// From flags of the builder, and layers pinned to float32.
    Weak,
}

/// How LayerNorm is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerNorm {
    /// As one operator that accumulates in float32.
    Operator,
    /// In its parts, all float32.
    Decomposed,
}

/// How a quantized weight is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightStorage {
    /// As int8, behind DequantizeLinear.
    Int8,
    /// As float32, behind a pair.
    Float,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    target: Vec<Target>,
}

impl Target {
    /// All families.
    ///
    /// # Errors
    /// The table that is built in does not parse.
    pub fn all() -> Result<Vec<Self>> {
        let wrong = |e: toml::de::Error| amis_artifacts::Error::Malformed { what: "table of targets", path: "targets.toml".into(), reason: e.to_string() };
        Ok(toml::from_str::<Table>(TABLE).map_err(wrong)?.target)
    }

    /// The family of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<Self> {
        let all = Self::all()?;
        let known = all.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
        all.into_iter().find(|t| t.name == name).ok_or_else(|| Error::UnknownTarget { name: name.to_owned(), known })
    }

    /// Whether a graph of this precision, and for the DLA if `dla`, can be written.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason.
    pub fn allow(&self, precision: Precision, dla: bool) -> Result<()> {
        let refused = |what: &str| Error::Refused {
            target: self.name.clone(),
            what: what.to_owned(),
            reason: self.refused.get(what).cloned().unwrap_or_else(|| "it is not in the table of targets".into()),
        };
        match precision.name() {
            name if !self.precisions.contains(&precision) => Err(refused(name)),
            _ if dla => Err(refused("dla")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_target_says_why_it_refuses_something() {
        let all = Target::all().unwrap();
        assert_eq!(all.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["cpu", "rtx", "jetpack5", "jetpack6", "jetpack7"]);
        for target in all {
            for precision in Precision::ALL {
                let message = target.allow(precision, true).unwrap_err().to_string();
                assert!(!message.contains("table of targets"), "{message}");
                assert_eq!(target.allow(precision, false).is_ok(), target.precisions.contains(&precision));
            }
            assert!(!target.half || (target.opset >= 19 && target.typing == Typing::Strong), "{}: FP16 scales are known from opset 19", target.name);
        }
        assert!(Target::find("orin").unwrap_err().to_string().contains("cpu, rtx, jetpack5, jetpack6, jetpack7"));
    }
}
