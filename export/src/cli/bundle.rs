use std::fmt;
use std::path::PathBuf;

use amis_artifacts::bundle::BundleManifest;
use amis_artifacts::checkpoint::Checkpoint;
use amis_export::Result;
use amis_export::bundle::{GraphFile, pack};
use serde::Serialize;

/// Packs graphs of a checkpoint into a bundle <NAME>-<VERSION>.amis, after checking that they belong to it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  amis-export bundle --checkpoint runs/yard/step-2 --graph cpu:fp32:model.cpu-fp32.onnx --name yard --version 3 --out bundles",
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
        let (path, manifest) = pack(&Checkpoint::open(&self.checkpoint)?, &self.graphs, self.verification.as_deref(), &self.name, self.version, &self.out)?;
        Ok(Packed { path, manifest })
    }
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graphs: Vec<String> = self.manifest.graphs.iter().map(|g| format!("{} {} ({} bytes)", g.target, g.precision, g.entry.bytes)).collect();
        write!(f, "{}: {} classes, {}", self.path.display(), self.manifest.classes.len(), graphs.join(", "))
    }
}
