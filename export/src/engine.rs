//! TensorRT engines from graphs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use amis_artifacts::engine::{self, BuiltFor, EngineHeader, EngineKey};
use amis_artifacts::{files, onnx};
use amis_tensorrt::{BuildOptions, Flavor, Gpu, Library};
use serde::Serialize;

use crate::Result;

/// What a build gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineReport {
    /// The engine: a plan in our container.
    pub out: PathBuf,
    /// Size of the plan.
    pub plan_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Time of parsing and building.
    pub seconds: f64,
    /// What the engine depends on, and its layers.
    #[serde(flatten)]
    pub header: EngineHeader,
}

/// Parses a graph with TensorRT's ONNX parser, builds an engine and writes it to `out`, atomically.
///
/// # Errors
/// The file is no ONNX model, TensorRT or the GPU that it builds for is missing, TensorRT refuses the graph or an option, the build
/// fails, or the disk.
pub fn build(onnx_path: &Path, flavor: Flavor, options: &BuildOptions, out: &Path) -> Result<EngineReport> {
    let bytes = files::read_limited(onnx_path, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
    // A damaged file is named here: TensorRT sees bytes and knows no path.
    let model = onnx::parse(&bytes, onnx_path)?;
    let library = Library::find(flavor)?;
    let built_for = match flavor {
        Flavor::Rtx => BuiltFor::ComputeCapabilities(options.compute_capabilities.iter().map(ToString::to_string).collect()),
        Flavor::Enterprise => BuiltFor::Gpu(this_gpu()?),
    };
    let start = Instant::now();
    let built = library.build(&bytes, options)?;
    let seconds = start.elapsed().as_secs_f64();
    let key = EngineKey {
        tensorrt: library.version().to_string(),
        built_for,
        precision: model.precision().to_owned(),
        graph_sha256: files::sha256(&bytes),
        options: named(options),
    };
    let header = EngineHeader { key, layers: built.layer_count as u64, tool_version: env!("CARGO_PKG_VERSION").to_owned() };
    engine::write(out, &header, &built.plan)?;
    Ok(EngineReport { out: out.into(), plan_bytes: built.plan.len() as u64, sha256: files::sha256_file(out)?, seconds, header })
}

/// The first GPU of this machine, as an engine's key has it.
fn this_gpu() -> Result<engine::Gpu> {
    let gpu = Gpu::first()?;
    Ok(engine::Gpu { name: gpu.name, compute_capability: gpu.compute_capability.to_string(), cores: gpu.cores })
}

/// The options that were asked for and change the engine, by name. The compute capabilities have a field of their own.
fn named(options: &BuildOptions) -> BTreeMap<String, String> {
    let entries = [("workspace_bytes", options.workspace_bytes.map(|n| n.to_string()))];
    entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
