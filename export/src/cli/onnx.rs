use std::fmt;
use std::path::PathBuf;

use amis_artifacts::checkpoint::Checkpoint;
use amis_export::Result;
use amis_export::graph::{self, Batch, Output};
use amis_export::inspect::{OnnxSummary, summary};
use serde::Serialize;

/// Writes the network of a checkpoint as an ONNX graph (opset 17, float32, fixed shapes).
///
/// A batch other than 1 is for engines that take several cameras at once; `amis-run` takes one image at a time, so a fixed batch has to be 1 there.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export onnx --checkpoint runs/yard/step-2 --out model.cpu-fp32.onnx\n  amis-export onnx --checkpoint runs/yard/step-2 --batch 1..8 --out batches.onnx"
)]
pub(crate) struct Args {
    /// Folder of the checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// File to write.
    #[arg(long, value_name = "FILE", default_value = "model.cpu-fp32.onnx")]
    out: PathBuf,
    /// Ends the graph in logits [B, C, H, W] instead of the low-resolution masks [B, C, H/P, W/P].
    #[arg(long)]
    full_logits: bool,
    /// Images at once, B: a number, or 1..N for a batch that is dynamic up to N.
    #[arg(long, value_name = "B", default_value = "1")]
    batch: Batch,
}

/// The graph written.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Written(OnnxSummary);

impl Args {
    pub(crate) fn run(&self) -> Result<Written> {
        let output = if self.full_logits { Output::Logits } else { Output::Masks };
        let model = graph::export_batch(&Checkpoint::open(&self.checkpoint)?, output, self.batch, &self.out)?;
        let io = |source| amis_artifacts::Error::Io { action: "read", path: self.out.clone(), source };
        let bytes = std::fs::metadata(&self.out).map_err(io)?.len();
        Ok(Written(summary(&model, &self.out, bytes)))
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(s) = self;
        write!(
            f,
            "{}: {} -> {}, {} nodes, {} parameters, {} bytes",
            s.path.display(),
            s.inputs.join(", "),
            s.outputs.join(", "),
            s.nodes,
            s.parameters,
            s.bytes
        )
    }
}
