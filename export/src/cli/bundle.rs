use std::fmt;
use std::path::PathBuf;

use amis_artifacts::bundle::BundleManifest;
use amis_artifacts::checkpoint::Checkpoint;
use amis_export::Result;
use amis_export::bundle::{GraphFile, MIN_AGREEMENT, Request, pack};
use serde::Serialize;

/// Packs graphs of a checkpoint into a bundle <NAME>-<VERSION>.amis, after checking that they belong to it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export bundle --checkpoint runs/yard/step-2 --graph cpu:fp32:model.cpu-fp32.onnx --name yard --version 3 --out bundles\n  amis-export bundle --checkpoint runs/yard/step-2 --graph cpu:fp32:model.cpu-fp32.onnx --graph jetpack6:int8:model.jetpack6-int8.onnx --calibration calibration.json --parent bundles/yard-2.amis --name yard --version 3",
    disable_version_flag = true
)]
pub(crate) struct Args {
    /// Folder of the checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// A graph, its device family and its precision (fp32, fp16, int8); may be given several times.
    #[arg(long = "graph", value_name = "TARGET:PRECISION:FILE", required = true)]
    graphs: Vec<GraphFile>,
    /// What `amis-export verify --out` measured of these graphs; the numbers go into the bundle.
    #[arg(long, value_name = "FILE")]
    verification: Option<PathBuf>,
    /// The table that INT8 graphs were made with; a summary goes into the bundle.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The bundle that this one follows: it has to have its name, its targets and its classes, with the new ones behind them.
    #[arg(long, value_name = "FILE")]
    parent: Option<PathBuf>,
    /// Folder of a few pictures for the self-test; without it validation inputs that the trainer left in the checkpoint.
    #[arg(long, value_name = "DIR")]
    self_test: Option<PathBuf>,
    /// The float32 graph for the CPU, which gives the classes of the self-test, if it is not packed.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Share of the self-test's pixels, 0 to 1, that must get the float32 graph's class on a device.
    #[arg(long, value_name = "SHARE", default_value_t = MIN_AGREEMENT)]
    min_agreement: f64,
    /// Longest time of the network for a frame on a device.
    #[arg(long, value_name = "MS")]
    max_latency_ms: Option<f64>,
    /// Licence of the model, as an SPDX expression or in words.
    #[arg(long)]
    licence: Option<String>,
    /// What people should know about this version.
    #[arg(long)]
    notes: Option<String>,
    /// Name of the model: letters, digits, '.', '-' and '_'.
    #[arg(long)]
    name: String,
    /// Version of the model, counts up with every release.
    #[arg(long, value_name = "N")]
    version: u64,
    /// Folder to write into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// The bundle written.
#[derive(Debug, Serialize)]
pub(crate) struct Packed {
    path: PathBuf,
    manifest: BundleManifest,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Packed> {
        let request = Request {
            verification: self.verification.as_deref(),
            calibration: self.calibration.as_deref(),
            parent: self.parent.as_deref(),
            self_test: self.self_test.as_deref(),
            reference: self.reference.as_deref(),
            min_agreement: self.min_agreement,
            max_latency_ms: self.max_latency_ms,
            licence: self.licence.as_deref(),
            notes: self.notes.as_deref(),
            ..Request::new(&self.name, self.version, &self.graphs)
        };
        let (path, manifest) = pack(&Checkpoint::open(&self.checkpoint)?, &request, &self.out)?;
        Ok(Packed { path, manifest })
    }
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graphs: Vec<String> = self.manifest.graphs.iter().map(|g| format!("{} {} ({} bytes)", g.target, g.precision, g.entry.bytes)).collect();
        write!(f, "{}: {} classes, {}", self.path.display(), self.manifest.classes.len(), graphs.join(", "))
    }
}
