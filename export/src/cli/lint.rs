use std::fmt;
use std::path::PathBuf;

use amis_export::Result;
use amis_export::passes::lint::{Clean, lint_file};
use serde::Serialize;

/// Checks an ONNX graph, ours or a foreign one, against the rules for INT8 and FP16 in TensorRT.
///
/// Order of nodes, Q/DQ pairs, axes, scales, zero points, types, LayerNorm as one operator. Fails (exit code 1) with all findings.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export lint model.rtx-int8.onnx")]
pub(crate) struct Args {
    /// The graph.
    path: PathBuf,
}

/// A graph without findings.
#[derive(Debug, Serialize)]
pub(crate) struct Linted {
    path: PathBuf,
    #[serde(flatten)]
    clean: Clean,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Linted> {
        Ok(Linted { clean: lint_file(&self.path)?, path: self.path.clone() })
    }
}

impl fmt::Display for Linted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clean { nodes, quantize, dequantize } = self.clean;
        write!(f, "{}: no finding in {nodes} nodes, {quantize} QuantizeLinear and {dequantize} DequantizeLinear among them", self.path.display())
    }
}
