//! What a file of the road holds, in short.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use amis_artifacts::bundle::{self, BundleManifest};
use amis_artifacts::checkpoint::{Checkpoint, CheckpointManifest};
use amis_artifacts::engine::{self, EngineHeader};
use amis_artifacts::onnx::{self, DimensionValue, ModelProto, TensorProto, ValueInfoProto};
use serde::Serialize;

use crate::Result;

/// First bytes of zstd, and so of a bundle.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A file of the road in short. JSON has the kind in `kind`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Inspection {
    /// A bundle.
    Bundle {
        /// Its manifest.
        manifest: Box<BundleManifest>,
    },
    /// A checkpoint folder.
    Checkpoint {
        /// Its manifest.
        manifest: Box<CheckpointManifest>,
        /// Numbers in its weights.
        parameters: u64,
    },
    /// A TensorRT engine.
    Engine {
        /// What it depends on.
        header: Box<EngineHeader>,
        /// Size of its plan.
        plan_bytes: u64,
    },
    /// An ONNX model.
    Onnx(OnnxSummary),
}

/// An ONNX model in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxSummary {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Version of ONNX's operator set.
    pub opset: Option<i64>,
    /// Tool that wrote it.
    pub producer: String,
    /// Inputs, as `name type [sizes]`.
    pub inputs: Vec<String>,
    /// Outputs, the same way.
    pub outputs: Vec<String>,
    /// Nodes by operator.
    pub operators: BTreeMap<String, usize>,
    /// Nodes in all.
    pub nodes: usize,
    /// Numbers in its constants.
    pub parameters: u64,
    /// Named values about the model.
    pub metadata: BTreeMap<String, String>,
}

/// Looks into a bundle (packed or in its folder), a checkpoint folder, an engine or an ONNX model, told apart by what they are, not by their names.
///
/// # Errors
/// Unreadable, or damaged.
pub fn inspect(path: &Path) -> Result<Inspection> {
    if path.join(bundle::MANIFEST).is_file() {
        return Ok(Inspection::Bundle { manifest: Box::new(bundle::read_folder(path)?) });
    }
    if path.is_dir() {
        let checkpoint = Checkpoint::open(path)?;
        let parameters = checkpoint.weights()?.values().map(|t| t.data.len() as u64).sum();
        return Ok(Inspection::Checkpoint { manifest: Box::new(checkpoint.manifest), parameters });
    }
    if starts_with_zstd(path)? {
        return Ok(Inspection::Bundle { manifest: Box::new(bundle::read_manifest(path)?) });
    }
    if engine::is_engine(path)? {
        let (header, plan) = engine::read(path)?;
        return Ok(Inspection::Engine { header: Box::new(header), plan_bytes: plan.len() as u64 });
    }
    let model = onnx::read(path)?;
    let io = |source| amis_artifacts::Error::Io { action: "read", path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    Ok(Inspection::Onnx(summary(&model, path, bytes)))
}

fn starts_with_zstd(path: &Path) -> Result<bool> {
    let io = |source| amis_artifacts::Error::Io { action: "read", path: path.into(), source };
    let mut start = Vec::new();
    File::open(path).map_err(io)?.take(4).read_to_end(&mut start).map_err(io)?;
    Ok(start == ZSTD_MAGIC)
}

/// An ONNX model in short; `path` and `bytes` are its file's.
pub fn summary(model: &ModelProto, path: &Path, bytes: u64) -> OnnxSummary {
    let graph = model.graph.clone().unwrap_or_default();
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(node.op_type().to_owned()).or_default() += 1;
    }
    OnnxSummary {
        path: path.into(),
        bytes,
        opset: model.opset_import.iter().find(|o| o.domain().is_empty()).map(|o| o.version()),
        producer: format!("{} {}", model.producer_name(), model.producer_version()).trim().to_owned(),
        inputs: graph.input.iter().map(signature).collect(),
        outputs: graph.output.iter().map(signature).collect(),
        operators,
        nodes: graph.node.len(),
        parameters: graph.initializer.iter().map(elements).fold(0, u64::saturating_add),
        metadata: model.metadata_props.iter().map(|entry| (entry.key().to_owned(), entry.value().to_owned())).collect(),
    }
}

/// Elements of a tensor; sizes that are negative or too large come from damage and give 0.
fn elements(tensor: &TensorProto) -> u64 {
    tensor.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?)).unwrap_or(0)
}

fn signature(value: &ValueInfoProto) -> String {
    let size = |size: DimensionValue| match size {
        DimensionValue::DimValue(n) => n.to_string(),
        DimensionValue::DimParam(name) => name,
    };
    match (value.element_type(), value.sizes()) {
        (Some(data_type), Some(sizes)) => format!("{} {data_type:?} [{}]", value.name(), names(sizes.into_iter().map(size))),
        _ => format!("{} of no known shape", value.name()),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle { manifest: m } => {
                writeln!(f, "bundle {} version {}, step {}, for version {} of the runtime or later", m.name, m.version, m.lineage.step, m.minimum_runtime)?;
                if let Some(parent) = &m.parent {
                    writeln!(f, "parent     version {}, manifest {}", parent.version, parent.manifest_sha256)?;
                }
                writeln!(f, "input      {}x{} px, {:?}", m.image_spec.width_px, m.image_spec.height_px, m.image_spec.fit)?;
                if let Some(miou) = m.miou_all {
                    writeln!(f, "mean IoU   {:.1} points over all classes, as trained", miou * 100.0)?;
                }
                for graph in &m.graphs {
                    writeln!(f, "graph      {} {}: {}, {} bytes", graph.target, graph.precision, graph.entry.file, graph.entry.bytes)?;
                    if let Some(q) = &graph.quality {
                        let miou = q.miou.map(|v| format!(", mean IoU {:.2} points", 100.0 * v)).unwrap_or_default();
                        writeln!(f, "           {:.2} % of the pixels as float32{miou}, on {} images", 100.0 * q.argmax_agreement, q.images)?;
                    }
                }
                if let Some(c) = &m.calibration {
                    writeln!(f, "calibrated by {} on {} images", c.method, c.images)?;
                }
                if let Some(test) = &m.self_test {
                    let limit = test.max_latency_ms.map(|ms| format!(", within {ms} ms a frame")).unwrap_or_default();
                    writeln!(f, "self-test  {} frames, {} % of the pixels as float32{limit}", test.frames.len(), 100.0 * test.min_agreement)?;
                }
                for (name, text) in [("licence", &m.licence), ("notes", &m.notes)] {
                    text.iter().try_for_each(|text| writeln!(f, "{name:<10} {text}"))?;
                }
                write!(f, "classes    {}", names(m.classes.iter().map(|c| c.name.as_str())))
            }
            Self::Checkpoint { manifest: m, parameters } => {
                writeln!(f, "checkpoint of step {}, written by version {}", m.step, m.tool_version)?;
                writeln!(f, "input      {}x{} px, {:?}", m.image_spec.width_px, m.image_spec.height_px, m.image_spec.fit)?;
                let model = &m.model;
                writeln!(
                    f,
                    "network    patch {} px, width {}, {} + {} blocks, {} heads, {}",
                    model.patch_px,
                    model.dim,
                    model.depth,
                    model.decoder_depth,
                    model.heads,
                    if model.gab { "with GAB" } else { "without GAB" }
                )?;
                writeln!(f, "parameters {parameters}")?;
                writeln!(f, "groups     {:?}", m.groups.0)?;
                write!(f, "classes    {}", names(m.classes.iter().map(|c| c.name.as_str())))
            }
            Self::Engine { header, plan_bytes } => {
                let key = &header.key;
                writeln!(f, "engine of {}, {}, written by version {}", key.tensorrt, key.precision, header.tool_version)?;
                writeln!(f, "built for  {}", key.built_for)?;
                writeln!(f, "graph      {}", key.graph_sha256)?;
                key.options.iter().try_for_each(|(name, value)| writeln!(f, "option     {name} = {value}"))?;
                write!(f, "plan       {} layers, {plan_bytes} bytes", header.layers)
            }
            Self::Onnx(summary) => summary.fmt(f),
        }
    }
}

impl fmt::Display for OnnxSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ONNX model {}, {} bytes, opset {}, by {}", self.path.display(), self.bytes, self.opset.unwrap_or_default(), self.producer)?;
        self.inputs.iter().try_for_each(|input| writeln!(f, "input      {input}"))?;
        self.outputs.iter().try_for_each(|output| writeln!(f, "output     {output}"))?;
        writeln!(f, "parameters {}", self.parameters)?;
        writeln!(f, "operators  {}: {}", self.nodes, names(self.operators.iter().map(|(op, n)| format!("{op} {n}"))))?;
        let lines: Vec<String> = self.metadata.iter().map(|(key, value)| format!("{key:<10} {value}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

fn names<S: AsRef<str>>(names: impl Iterator<Item = S>) -> String {
    names.map(|n| n.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}
