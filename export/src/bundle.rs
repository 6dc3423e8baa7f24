//! Packs graphs of a checkpoint into a bundle `<name>-<version>.amis`.

mod parent;
mod self_test;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use amis_artifacts::bundle::{self, BundleManifest, CalibrationSummary, FORMAT_VERSION, FileEntry, GraphEntry, Lineage};
use amis_artifacts::calibration::{CalibrationKey, CalibrationTable};
use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_artifacts::onnx::{self, DataLocation, DataType, DimensionValue, GraphProto, ModelProto};

use crate::compare::Comparison;
use crate::graph::CHECKPOINT_KEY;
use crate::{Error, Result};

/// Target of the graphs that run in ONNX Runtime.
const CPU: &str = "cpu";
/// Precision of the graph that others are held against.
const FLOAT: &str = "fp32";
/// Precisions that a bundle's graph may have.
pub const PRECISIONS: [&str; 3] = ["fp32", "fp16", "int8"];

/// A graph to be packed; parses from `target:precision:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphFile {
    /// Device family: "cpu", "rtx", "jetpack6", ...
    pub target: String,
    /// One of [`PRECISIONS`].
    pub precision: String,
    /// The ONNX file.
    pub path: PathBuf,
}

impl FromStr for GraphFile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason: String| Error::GraphArgument { text: text.to_owned(), reason };
        let mut parts = text.splitn(3, ':');
        let (Some(target), Some(precision), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it has fewer than two ':'".into()));
        };
        if target.is_empty() || !target.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(wrong(format!("target {target:?}, expected letters and digits")));
        }
        if !PRECISIONS.contains(&precision) {
            return Err(wrong(format!("precision {precision:?}, expected one of {}", PRECISIONS.join(", "))));
        }
        if path.is_empty() {
            return Err(wrong("no file is named".into()));
        }
        Ok(Self { target: target.to_owned(), precision: precision.to_owned(), path: path.into() })
    }
}

/// What to pack.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// Its version; counts up.
    pub version: u64,
    /// The graphs.
    pub graphs: &'a [GraphFile],
    /// A [`Comparison`]'s file, whose numbers go into the manifest.
    pub verification: Option<&'a Path>,
    /// The table that INT8 graphs were made with.
    pub calibration: Option<&'a Path>,
    /// The bundle that this one follows, packed or unpacked.
    pub parent: Option<&'a Path>,
    /// Folder of pictures for the self-test; none: inputs that the trainer left in the checkpoint.
    pub self_test: Option<&'a Path>,
    /// The float32 graph for the CPU, if it is not one of `graphs`.
    pub reference: Option<&'a Path>,
    /// Share of the pixels that must agree with the float32 graph in the self-test, 0..1.
    pub min_agreement: f64,
    /// Longest time of the network for a frame in the self-test.
    pub max_latency_ms: Option<f64>,
    /// Licence of the model.
    pub licence: Option<&'a str>,
    /// What a person should know about this version.
    pub notes: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A bundle of these graphs and nothing else stated.
    pub fn new(name: &'a str, version: u64, graphs: &'a [GraphFile]) -> Self {
        let (verification, calibration, parent, self_test, reference) = (None, None, None, None, None);
        let (min_agreement, max_latency_ms, licence, notes) = (MIN_AGREEMENT, None, None, None);
        Self { name, version, graphs, verification, calibration, parent, self_test, reference, min_agreement, max_latency_ms, licence, notes }
    }
}

/// Agreement in the self-test that is asked for if nothing else is: INT8 stays well above it.
pub const MIN_AGREEMENT: f64 = 0.95;

/// Checks every graph against the checkpoint and writes `<dir>/<name>-<version>.amis`; gives its path and manifest. What a device would refuse is refused here.
///
/// # Errors
/// A graph that is damaged, keeps weights in another file or belongs to another network; one that `verification` does not know; two graphs for one target
/// and precision; one that fails the self-test; classes that do not extend the parent's, or a target less; a name that is not plain; a damaged checkpoint;
/// more than 2 GiB; no ONNX Runtime; the disk.
pub fn pack(checkpoint: &Checkpoint, request: &Request<'_>, dir: &Path) -> Result<(PathBuf, BundleManifest)> {
    let &Request { name, version, graphs, verification, .. } = request;
    let checkpoint_sha256 = checkpoint.sha256()?;
    let measured = verification.map(|path| Comparison::read(path).map(|comparison| (path, comparison))).transpose()?;
    let mut entries = Vec::new();
    let mut contents = BTreeMap::new();
    for graph in graphs {
        let bytes = files::read_limited(&graph.path, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
        let model = onnx::parse(&bytes, &graph.path)?;
        fits(&model, checkpoint, &checkpoint_sha256).map_err(|reason| Error::Mismatch { path: graph.path.clone(), reason })?;
        let sha256 = files::sha256(&bytes);
        let quality = match &measured {
            None => None,
            Some((path, comparison)) => {
                let missing = || Error::NotMeasured { path: graph.path.clone(), sha256: sha256.clone(), verification: (*path).into() };
                Some(comparison.of(&sha256).ok_or_else(missing)?.quality.clone())
            }
        };
        let file = format!("model.{}-{}.onnx", graph.target, graph.precision);
        if contents.insert(file.clone(), bytes).is_some() {
            let (target, precision) = (&graph.target, &graph.precision);
            let text = format!("{target}:{precision}:{}", graph.path.display());
            return Err(Error::GraphArgument { text, reason: format!("there is another graph for {target} {precision}") });
        }
        let entry = FileEntry { file, ..FileEntry::default() };
        entries.push(GraphEntry { target: graph.target.clone(), precision: graph.precision.clone(), entry, quality });
    }
    let source = &checkpoint.manifest;
    let mut manifest = BundleManifest {
        format_version: FORMAT_VERSION,
        name: name.to_owned(),
        version,
        parent: None,
        minimum_runtime: env!("CARGO_PKG_VERSION").to_owned(),
        classes: source.classes.clone(),
        groups: source.groups.clone(),
        image_spec: source.image_spec.clone(),
        graphs: entries,
        calibration: request.calibration.map(|path| summary(path, checkpoint)).transpose()?,
        self_test: None,
        lineage: Lineage {
            step: source.step,
            checkpoint_sha256,
            weights_sha256: source.weights_sha256.clone(),
            parent_sha256: source.parent_sha256.clone(),
            config_sha256: files::sha256(source.config.to_string().as_bytes()),
            trainer_version: source.tool_version.clone(),
        },
        miou_all: checkpoint.metrics()?.all_with_background.miou,
        licence: request.licence.map(str::to_owned),
        notes: request.notes.map(str::to_owned),
    };
    if let Some(path) = request.parent {
        parent::follow(&mut manifest, path)?;
    }
    self_test::add(&mut manifest, &mut contents, checkpoint, request)?;
    let path = dir.join(format!("{name}-{version}.amis"));
    let manifest = bundle::write(&path, manifest, &contents)?;
    Ok((path, manifest))
}

/// A calibration table in short.
fn summary(path: &Path, checkpoint: &Checkpoint) -> Result<CalibrationSummary> {
    let table = CalibrationTable::read(path)?;
    table.check(path, &CalibrationKey { image_spec: checkpoint.manifest.image_spec.clone(), ..table.key.clone() })?;
    let key =
        serde_json::to_vec(&table.key).map_err(|e| amis_artifacts::Error::Malformed { what: "calibration table", path: path.into(), reason: e.to_string() })?;
    Ok(CalibrationSummary { method: table.key.method.to_string(), images: table.images.len(), key_sha256: files::sha256(&key) })
}

/// Checks that an ONNX file is of this checkpoint.
///
/// # Errors
/// [`Error::Mismatch`], saying in what it differs; a file that is no graph.
pub fn check(checkpoint: &Checkpoint, onnx: &Path) -> Result<()> {
    let fits = fits(&onnx::read(onnx)?, checkpoint, &checkpoint.sha256()?);
    fits.map_err(|reason| Error::Mismatch { path: onnx.into(), reason })
}

/// Whether the graph is of this checkpoint: input size, number of classes, and the hash that our graphs carry.
fn fits(model: &ModelProto, checkpoint: &Checkpoint, checkpoint_sha256: &str) -> std::result::Result<(), String> {
    let graph = model.graph.as_ref().ok_or("it has no graph")?;
    let (spec, classes) = (&checkpoint.manifest.image_spec, checkpoint.manifest.groups.classes() as i64);
    let input = single(graph, "input", &graph.input)?;
    let expected = [1, 3, i64::from(spec.height_px), i64::from(spec.width_px)];
    if input != expected {
        // A dynamic batch has become 1 here.
        let other = match input[..] {
            [batch, ref image @ ..] if image == &expected[1..] => format!(" or a dynamic batch, as `amis-export onnx --batch 1..{batch}` writes"),
            _ => String::new(),
        };
        return Err(format!("its input is {input:?}, expected {expected:?}{other}"));
    }
    let output = single(graph, "output", &graph.output)?;
    if !matches!(output[..], [1, found, h, w] if found == classes && h > 0 && w > 0) {
        return Err(format!("its output is {output:?}, expected [1, {classes}, h, w]"));
    }
    if let Some(tensor) = graph.initializer.iter().find(|t| t.data_location() == DataLocation::External) {
        return Err(format!("weight {} lies in another file, expected all weights in the graph", tensor.name()));
    }
    match model.metadata(CHECKPOINT_KEY) {
        Some(found) if found != checkpoint_sha256 => Err(format!("it was exported from the checkpoint with SHA-256 {found}, this one has {checkpoint_sha256}")),
        _ => Ok(()),
    }
}

/// Shape of the only float32 input or output for one image, constants left out (old tools list them as inputs). A dynamic batch may be one.
fn single(graph: &GraphProto, side: &str, values: &[onnx::ValueInfoProto]) -> std::result::Result<Vec<i64>, String> {
    let is_constant = |name: &str| graph.initializer.iter().any(|t| t.name() == name);
    let values: Vec<_> = values.iter().filter(|v| !is_constant(v.name())).collect();
    match values[..] {
        [value] => {
            let size = |(place, size): (usize, DimensionValue)| match size {
                DimensionValue::DimValue(n) => Some(n),
                DimensionValue::DimParam(_) => (place == 0).then_some(1),
            };
            let sizes = value.sizes().and_then(|sizes| sizes.into_iter().enumerate().map(size).collect());
            match (value.element_type(), sizes) {
                (Some(DataType::Float), Some(sizes)) => Ok(sizes),
                _ => Err(format!("its {side} {} is not a float32 tensor of fixed shape (but for the batch)", value.name())),
            }
        }
        _ => Err(format!("it has {} {side}s, expected one", values.len())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_graph_argument_parses_and_a_wrong_one_says_why() {
        let graph: GraphFile = "cpu:fp32:dir/a:b.onnx".parse().unwrap();
        assert_eq!((graph.target.as_str(), graph.precision.as_str(), graph.path), ("cpu", "fp32", "dir/a:b.onnx".into()));
        let reason = |text: &str| text.parse::<GraphFile>().unwrap_err().to_string();
        assert!(reason("cpu:x.onnx").contains("fewer than two"));
        assert!(reason("cpu:fp64:x").contains("expected one of fp32, fp16, int8"));
        assert!(reason("../x:fp32:x").contains("target"));
        assert!(reason("cpu:fp32:").contains("no file"));
    }
}
