//! TensorRT engines from graphs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use amis_artifacts::engine::{self, BuiltFor, EngineHeader, EngineKey};
use amis_artifacts::files;
use amis_artifacts::onnx::{self, BUILDER_KEY, Batch, Builder, ModelProto};
use amis_tensorrt::{BuildOptions, Flavor, Gpu, Lowering, Progress, child};
use serde::Serialize;

use crate::Result;

/// Largest timing cache in bytes; that of a network has a few million.
const MAX_TIMING_CACHE_BYTES: u64 = 1 << 30;

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

/// What to build of what.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The graph.
    pub onnx: &'a Path,
    /// With which TensorRT.
    pub flavor: Flavor,
    /// How. Limits of memory, the largest batch of a graph that names it, and what a graph for TensorRT 8 may be lowered to, are filled in.
    pub options: BuildOptions,
    /// File with what earlier builds on this GPU learned; read where it exists, and written.
    pub timing_cache: Option<&'a Path>,
    /// File to write.
    pub out: &'a Path,
}

/// Parses a graph with TensorRT's ONNX parser and builds an engine, both in the process that `builder` starts (`build-engine` of
/// `amis-export` and `amis-run`), and writes it, atomically.
///
/// # Errors
/// The file is no ONNX model, TensorRT or the GPU that it builds for is missing, TensorRT refuses the graph or an option, the build
/// fails, its process is killed or crashes, or the disk.
pub fn build(builder: &mut Command, request: &Request<'_>, on_progress: &mut dyn FnMut(Progress)) -> Result<EngineReport> {
    let Request { onnx: path, flavor, out, .. } = *request;
    let bytes = files::read_limited(path, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
    // A damaged file is named here: TensorRT sees bytes and knows no path.
    let model = onnx::parse(&bytes, path)?;
    let mut options = request.options.clone();
    options.lowering = lowering(&model, path)?;
    if let Some(Batch::Dynamic(max)) = Batch::of(&model) {
        options.max_batch = options.max_batch.or(Some(max));
    }
    options.timing_cache = request.timing_cache.map(read_cache).transpose()?;
    let built_for = match flavor {
        Flavor::Rtx => BuiltFor::ComputeCapabilities(options.compute_capabilities.iter().map(ToString::to_string).collect()),
        Flavor::Enterprise => {
            let gpu = Gpu::first()?;
            // The other half is for the graph's weights and the builder itself.
            options.memory_bytes = options.memory_bytes.or(Some(gpu.free_bytes / 2));
            BuiltFor::Gpu(engine::Gpu { name: gpu.name, compute_capability: gpu.compute_capability.to_string(), cores: gpu.cores })
        }
    };
    let start = Instant::now();
    let built = child::build(builder, flavor, &bytes, &options, on_progress).map_err(|error| with_names(error, &model))?;
    let seconds = start.elapsed().as_secs_f64();
    let key = EngineKey {
        tensorrt: built.version.to_string(),
        built_for,
        precision: precision(&model, options.lowering.as_ref()).to_owned(),
        graph_sha256: files::sha256(&bytes),
        options: named(&options),
    };
    let header = EngineHeader { key, layers: built.layer_count as u64, tool_version: env!("CARGO_PKG_VERSION").to_owned() };
    engine::write(out, &header, &built.plan)?;
    if let (Some(path), Some(cache)) = (request.timing_cache, &built.timing_cache) {
        files::write_atomic(path, cache)?;
    }
    Ok(EngineReport { out: out.into(), plan_bytes: built.plan.len() as u64, sha256: files::sha256_file(out)?, seconds, header })
}

/// What a graph for a weakly typed builder says of itself.
fn lowering(model: &ModelProto, path: &Path) -> Result<Option<Lowering>> {
    let Some(entry) = model.metadata_props.iter().find(|entry| entry.key() == BUILDER_KEY) else { return Ok(None) };
    let wrong = |e: serde_json::Error| amis_artifacts::Error::Malformed { what: "ONNX model", path: path.into(), reason: format!("its {BUILDER_KEY}: {e}") };
    let Builder { flags, float_nodes } = serde_json::from_str(entry.value()).map_err(wrong)?;
    let has = |name: &str| flags.iter().any(|flag| flag == name);
    Ok(Some(Lowering { fp16: has("fp16"), int8: has("int8"), obey: has("obey_precision_constraints"), float_nodes }))
}

/// TensorRT before 9 says of a node that it refuses no more than its position.
fn with_names(error: amis_tensorrt::Error, model: &ModelProto) -> amis_tensorrt::Error {
    let amis_tensorrt::Error::Model { version, mut errors } = error else { return error };
    let nodes = model.graph.as_ref().map_or(&[][..], |graph| &graph.node);
    for error in errors.iter_mut().filter(|error| error.node.is_empty()) {
        if let Some(node) = error.node_index.and_then(|at| nodes.get(at)) {
            (error.node, error.op) = (node.name().to_owned(), node.op_type().to_owned());
        }
    }
    amis_tensorrt::Error::Model { version, errors }
}

/// The engine's precision: that of the graph, or of what a float32 graph may be lowered to.
fn precision(model: &ModelProto, lowering: Option<&Lowering>) -> &'static str {
    match lowering {
        Some(lowering) if lowering.fp16 && !lowering.int8 => "fp16",
        _ => model.precision(),
    }
}

/// A timing cache, empty where there is none yet.
fn read_cache(path: &Path) -> Result<Vec<u8>> {
    if path.exists() { Ok(files::read_limited(path, "a timing cache", MAX_TIMING_CACHE_BYTES)?) } else { Ok(vec![]) }
}

/// The options that were asked for and change the engine, by name. The compute capabilities have a field of their own, and
/// limits for what was free at the time do not change what the engine needs.
fn named(options: &BuildOptions) -> BTreeMap<String, String> {
    let entries = [
        ("workspace_bytes", options.workspace_bytes.map(|n| n.to_string())),
        ("max_batch", options.max_batch.map(|n| n.to_string())),
        ("dla_core", options.dla_core.map(|n| n.to_string())),
    ];
    entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use amis_artifacts::onnx::{GraphProto, NodeProto, StringStringEntryProto};
    use amis_tensorrt::{ParserError, Version};

    fn with_builder(text: &str) -> ModelProto {
        let entry = StringStringEntryProto { key: Some(BUILDER_KEY.into()), value: Some(text.into()) };
        ModelProto { metadata_props: vec![entry], ..ModelProto::default() }
    }

    #[test]
    fn a_graph_for_tensorrt_8_says_what_it_may_be_lowered_to() {
        let flags = ["fp16", "obey_precision_constraints"].map(str::to_owned).to_vec();
        let text = serde_json::to_string(&Builder { flags, float_nodes: vec!["softmax".into()] }).unwrap();
        let model = with_builder(&text);
        let found = lowering(&model, Path::new("x")).unwrap().unwrap();
        assert_eq!(found, Lowering { fp16: true, int8: false, obey: true, float_nodes: vec!["softmax".into()] });
        assert_eq!((precision(&model, Some(&found)), precision(&model, None)), ("fp16", "fp32"));
        assert_eq!(lowering(&ModelProto::default(), Path::new("x")).unwrap(), None);
        assert!(lowering(&with_builder("fp16"), Path::new("x.onnx")).unwrap_err().to_string().contains("amis.builder"));
    }

    #[test]
    fn nodes_that_tensorrt_only_counts_get_their_names() {
        let nodes = ["first", "second"].map(|name| NodeProto { name: Some(name.into()), op_type: Some("Erf".into()), ..NodeProto::default() });
        let model = ModelProto { graph: Some(GraphProto { node: nodes.to_vec(), ..GraphProto::default() }), ..ModelProto::default() };
        let at = |node_index| ParserError { code: 8, node: String::new(), op: String::new(), node_index, description: "no".into() };
        let version = Version { flavor: Flavor::Enterprise, major: 8, minor: 5, patch: 2 };
        let text = with_names(amis_tensorrt::Error::Model { version, errors: vec![at(Some(1)), at(Some(7)), at(None)] }, &model).to_string();
        assert!(text.contains("- node second (Erf): no") && text.contains("- node 7: no"), "{text}");
    }

    #[test]
    fn only_options_that_were_asked_for_are_part_of_the_key() {
        let options = BuildOptions { memory_bytes: Some(5), dla_core: Some(1), ..BuildOptions::default() };
        assert_eq!(named(&options), BTreeMap::from([("dla_core".to_owned(), "1".to_owned())]));
    }
}
