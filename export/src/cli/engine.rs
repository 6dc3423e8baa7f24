use std::fmt;
use std::path::PathBuf;

use amis_export::Result;
use amis_export::engine::{self, EngineReport};
use amis_tensorrt::{BuildOptions, ComputeCapability, Flavor};
use clap::ValueEnum;
use serde::Serialize;

/// Builds a TensorRT engine from a graph. TensorRT-RTX builds ahead of time, without a GPU; devices build and cache their own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export engine --onnx model.cpu-fp32.onnx --flavor rtx --compute-capability 8.6,8.9 --out model.engine")]
pub(crate) struct Args {
    /// The graph.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Which TensorRT.
    #[arg(long, value_enum, default_value = "rtx")]
    flavor: Product,
    /// GPUs to build for, as 8.6 or sm86, separated by commas; without it TensorRT's own choice.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    compute_capability: Vec<ComputeCapability>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Product {
    /// TensorRT-RTX.
    Rtx,
    /// TensorRT proper, as JetPack and data centre systems bring it: builds for this machine's GPU.
    Enterprise,
}

/// The engine built.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Built(EngineReport);

impl Args {
    pub(crate) fn run(&self) -> Result<Built> {
        let flavor = match self.flavor {
            Product::Rtx => Flavor::Rtx,
            Product::Enterprise => Flavor::Enterprise,
        };
        let options = BuildOptions { compute_capabilities: self.compute_capability.clone(), ..BuildOptions::default() };
        engine::build(&self.onnx, flavor, &options, &self.out).map(Built)
    }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(r) = self;
        let key = &r.header.key;
        write!(
            f,
            "{}: {} {}, for {}, {} layers, {} bytes, built in {:.1} s",
            r.out.display(),
            key.tensorrt,
            key.precision,
            key.built_for,
            r.header.layers,
            r.plan_bytes,
            r.seconds
        )
    }
}
