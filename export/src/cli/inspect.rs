use std::path::PathBuf;

use amis_export::Result;
use amis_export::inspect::{Inspection, inspect};

/// Shows what a bundle, an ONNX graph, an engine or a checkpoint holds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  amis-export inspect yard-3.amis\n  amis-export inspect model.cpu-fp32.onnx --json")]
pub(crate) struct Args {
    /// The bundle, the graph, the engine, or the folder of the checkpoint.
    path: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Inspection> {
        inspect(&self.path)
    }
}
