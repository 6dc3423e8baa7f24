use std::path::PathBuf;

use amis_trainer::{Result, import};
use clap::Args;

/// Write the weights of a checkpoint for other programs, under the reference code's names.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train export-weights runs/camvid/step-2 --out camvid.pth            torch.load(..., weights_only=True) reads it\n  amis-train export-weights runs/camvid/step-2 --out camvid.safetensors"
)]
pub(super) struct ExportWeights {
    /// Checkpoint folder.
    checkpoint: PathBuf,
    /// File to write: .safetensors, .pth or .pt.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl ExportWeights {
    pub(super) fn run(self) -> Result<serde_json::Value> {
        let tensors = import::export_weights(&self.checkpoint, &self.out)?;
        tracing::info!("{tensors} tensors in {}", self.out.display());
        Ok(serde_json::json!({ "weights": self.out, "tensors": tensors }))
    }
}
