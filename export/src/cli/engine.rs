use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use amis_export::{Error, Result};
use amis_runtime::engine::{self, EngineReport};
use amis_tensorrt::{BuildOptions, ComputeCapability, Flavor, Progress, child};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
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
    /// Limit of the scratch memory of a layer in MiB; without it, of half of what the GPU has free (TensorRT proper).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    workspace_mib: Option<u64>,
    /// Largest batch, for graphs whose input has a dynamic one; the engine takes 1 to this. [default: what the graph was exported for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    max_batch: Option<u16>,
    /// Gives the layers that it can run to this DLA core, the others to the GPU.
    #[arg(long, value_name = "N")]
    dla_core: Option<u8>,
    /// File that keeps what a build learns about this GPU and makes the next one faster (TensorRT proper).
    #[arg(long, value_name = "FILE")]
    timing_cache: Option<PathBuf>,
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
        let options = BuildOptions {
            compute_capabilities: self.compute_capability.clone(),
            workspace_bytes: self.workspace_mib.map(|n| n << 20),
            max_batch: self.max_batch,
            dla_core: self.dla_core,
            ..BuildOptions::default()
        };
        let request = engine::Request { onnx: &self.onnx, flavor, options, timing_cache: self.timing_cache.as_deref(), out: &self.out };
        let program = std::env::current_exe().map_err(|source| Error::Builder { source })?;
        let mut bar = Bar::new();
        let report = engine::build(Command::new(program).arg(BUILDER), &request, &mut |progress| bar.show(progress));
        bar.bar.finish_and_clear();
        Ok(Built(report?))
    }
}

/// Name of the hidden command that builds in a process of its own.
const BUILDER: &str = "build-engine";

/// Builds the engine that another process of this program asks for.
#[derive(Debug, clap::Args)]
#[command(name = BUILDER, hide = true)]
pub(crate) struct BuilderArgs {}

impl BuilderArgs {
    pub(crate) fn run(&self) -> Result<()> {
        child::serve().map_err(|source| Error::Builder { source })
    }
}

/// How far a build is, in parts of a thousand: a phase of TensorRT is a step of the one around it.
struct Bar {
    bar: ProgressBar,
    /// From the outermost phase to the innermost.
    phases: Vec<Progress>,
}

impl Bar {
    fn new() -> Self {
        let bar = if io::stderr().is_terminal() { ProgressBar::new(1000) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {percent:>3} % [{bar:30}] {elapsed} (ETA {eta}) {wide_msg}") {
            bar.set_style(style);
        }
        // TensorRT 8 does not say how far it is, and later ones are silent for seconds.
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, phases: Vec::new() }
    }

    fn show(&mut self, progress: Progress) {
        let at = self.phases.iter().position(|phase| phase.phase == progress.phase);
        let parent = self.phases.iter().position(|phase| Some(&phase.phase) == progress.parent.as_ref());
        self.phases.truncate(at.or(parent.map(|at| at + 1)).unwrap_or(0));
        self.phases.push(progress);
        self.bar.set_position(permille(&self.phases));
        let names: Vec<&str> = self.phases.iter().map(|phase| phase.phase.as_str()).collect();
        self.bar.set_message(names.join(" > "));
    }
}

fn permille(phases: &[Progress]) -> u64 {
    let share = phases.iter().rev().fold(0.0, |inner: f64, phase| ((f64::from(phase.step) + inner) / f64::from(phase.steps.max(1))).min(1.0));
    (share * 1000.0) as u64
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_phases_move_the_bar_within_a_step_of_the_outer() {
        let mut bar = Bar::new();
        let mut at = |phase: &str, parent: Option<&str>, step, steps| {
            bar.show(Progress { phase: phase.into(), parent: parent.map(str::to_owned), step, steps });
            bar.bar.position()
        };
        assert_eq!(at("build", None, 0, 4), 0);
        assert_eq!(at("build", None, 1, 4), 250);
        assert_eq!(at("time", Some("build"), 1, 2), 375);
        assert_eq!(at("tactic", Some("time"), 1, 2), 437);
        assert_eq!(at("time", Some("build"), 2, 2), 500);
        assert_eq!(at("build", None, 4, 4), 1000);
    }
}
