use std::fmt;
use std::path::PathBuf;

use amis_artifacts::checkpoint::Checkpoint;
use amis_export::Result;
use amis_export::verify::{self, Verification};
use serde::Serialize;

/// Runs the checkpoint's validation samples through a graph in ONNX Runtime and compares with the trained network's logits.
///
/// Fails (exit code 1) unless all logits differ by less than 1e-3 and more than 99.9 % of the pixels get the same class.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export verify --checkpoint runs/yard/step-2 --onnx model.cpu-fp32.onnx")]
pub(crate) struct Args {
    /// Folder of the checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The graph, ending in masks or logits.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
}

/// A graph that agrees.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Agreement(Verification);

impl Args {
    pub(crate) fn run(&self) -> Result<Agreement> {
        verify::verify(&Checkpoint::open(&self.checkpoint)?, &self.onnx)?.require().map(Agreement)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verification { max_abs_diff, argmax_agreement, images } = self.0;
        write!(
            f,
            "the graph agrees over {images} images: logits differ by at most {max_abs_diff:.3e}, {:.4} % of the pixels get the same class",
            argmax_agreement * 100.0
        )
    }
}
