//! TensorRT engines from graphs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use amis_artifacts::{files, onnx};
use amis_tensorrt::{BuildOptions, ComputeCapability, Flavor, Library};
use serde::Serialize;

use crate::Result;

/// What a build gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineReport {
    /// The plan.
    pub out: PathBuf,
    /// Its size.
    pub plan_bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Layers of the network before TensorRT fused them.
    pub layers: usize,
    /// Time of parsing and building.
    pub seconds: f64,
    /// Which TensorRT built it.
    pub tensorrt: String,
    /// The GPUs it is for; empty: TensorRT's own choice.
    pub compute_capabilities: Vec<String>,
}

/// Parses a graph with TensorRT's ONNX parser, builds an engine and writes its plan to `out`, atomically.
///
/// # Errors
/// The file is no ONNX model, TensorRT is missing or refuses the graph or a compute capability, the build fails, or the disk.
pub fn build(onnx_path: &Path, flavor: Flavor, capabilities: &[ComputeCapability], out: &Path) -> Result<EngineReport> {
    let bytes = files::read_limited(onnx_path, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
    // A damaged file is named here: TensorRT sees bytes and knows no path.
    onnx::parse(&bytes, onnx_path)?;
    let library = Library::find(flavor)?;
    let start = Instant::now();
    let options = BuildOptions { compute_capabilities: capabilities.to_vec(), ..BuildOptions::default() };
    let engine = library.build(&bytes, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    files::write_atomic(out, &engine.plan)?;
    Ok(EngineReport {
        out: out.into(),
        plan_bytes: engine.plan.len() as u64,
        sha256: files::sha256(&engine.plan),
        layers: engine.layer_count,
        seconds,
        tensorrt: library.version().to_string(),
        compute_capabilities: capabilities.iter().map(ToString::to_string).collect(),
    })
}
