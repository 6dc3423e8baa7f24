use std::path::PathBuf;

use amis_artifacts::board::Board;
use amis_export::Result;
use amis_export::plan::{Plan, plan_file};

/// Tells what a graph will need on a Jetson: operations, bytes, the time below which it cannot fall, memory.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export plan --onnx model.cpu-fp32.onnx --device orin-nano\n  amis-export plan --onnx model.cpu-fp32.onnx --device agx-orin-32gb --json"
)]
pub(crate) struct Args {
    /// The float32 graph, as `amis-export onnx` writes it.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Board: orin-nano, orin-nx, agx-orin, xavier-nx, thor, or with its memory, as orin-nano-4gb.
    #[arg(long, value_name = "NAME")]
    device: String,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Plan> {
        plan_file(&self.onnx, &Board::find(&self.device)?)
    }
}
