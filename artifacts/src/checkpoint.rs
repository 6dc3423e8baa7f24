//! A checkpoint folder: what one training step leaves.
//!
//! | file | holds |
//! | --- | --- |
//! | `checkpoint.json` | [`CheckpointManifest`] |
//! | `model.safetensors` | weights under the reference names, float32 |
//! | `metrics.json` | [`crate::metrics::StepMetrics`] |
//! | `samples.safetensors` | a few validation inputs `input` `[N, 3, H, W]` with the network's `logits` `[N, C, H, W]`, for verifying an export |

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::classes::ClassList;
use crate::image_spec::ImageSpec;
use crate::metrics::StepMetrics;
use crate::model_spec::{Groups, ModelSpec};
use crate::weights::{self, Weights};
use crate::{Error, Result, files};

/// Version of the folder's format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// An image list that took part, so that lineage can be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageListRef {
    /// What it was used for: "train", "val".
    pub role: String,
    /// Number of images.
    pub images: usize,
    /// SHA-256 of the names, one a line.
    pub sha256: String,
}

/// `checkpoint.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointManifest {
    /// [`FORMAT_VERSION`] at the time of writing.
    pub format_version: u32,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// Step, 0 is the base.
    pub step: usize,
    /// All classes that the network knows, in the order of its output.
    pub classes: ClassList,
    /// Classes by step: `[1, base, new_1, ...]`.
    pub groups: Groups,
    /// How a frame becomes the input.
    pub image_spec: ImageSpec,
    /// Sizes of the network.
    pub model: ModelSpec,
    /// Rows and columns of the grid of `encoder.pos_embed`.
    pub position_grid: [u32; 2],
    /// The fully resolved configuration of the run.
    pub config: serde_json::Value,
    /// SHA-256 of `model.safetensors`.
    pub weights_sha256: String,
    /// SHA-256 of `checkpoint.json` of the step before; none for a base step.
    pub parent_sha256: Option<String>,
    /// Image lists of this step.
    pub image_lists: Vec<ImageListRef>,
}

/// A checkpoint folder on disk.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The folder.
    pub dir: PathBuf,
    /// Its manifest, validated.
    pub manifest: CheckpointManifest,
}

impl Checkpoint {
    /// Opens a folder and validates its manifest; weights are read by [`Self::weights`].
    ///
    /// # Errors
    /// No manifest there, another format version, or contradicting fields.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("checkpoint.json");
        let manifest: CheckpointManifest = files::read_json(&path, "checkpoint manifest")?;
        let wrong = |reason: String| Error::Malformed { what: "checkpoint manifest", path: path.clone(), reason };
        if manifest.format_version != FORMAT_VERSION {
            return Err(wrong(format!("format version {}, this tool reads {FORMAT_VERSION}", manifest.format_version)));
        }
        manifest.model.validate()?;
        manifest.groups.validate()?;
        manifest.image_spec.validate(manifest.model.patch_px)?;
        if manifest.groups.classes() != manifest.classes.len() {
            return Err(wrong(format!(
                "{} classes in groups {:?}, {} in the class list",
                manifest.groups.classes(),
                manifest.groups.0,
                manifest.classes.len()
            )));
        }
        if manifest.position_grid.iter().any(|&n| !(1..=4096).contains(&n)) {
            return Err(wrong(format!("position grid {:?}", manifest.position_grid)));
        }
        Ok(Self { dir: dir.into(), manifest })
    }

    /// Reads the weights and checks them against the manifest's hash.
    ///
    /// # Errors
    /// Missing, damaged or changed weights.
    pub fn weights(&self) -> Result<Weights> {
        let path = self.weights_path();
        let bytes = files::read_limited(&path, "weights file", weights::MAX_WEIGHTS_BYTES)?;
        let found = files::sha256(&bytes);
        if found != self.manifest.weights_sha256 {
            return Err(Error::Hash { path, found, expected: self.manifest.weights_sha256.clone() });
        }
        weights::parse(&bytes, &path)
    }

    /// `model.safetensors`.
    pub fn weights_path(&self) -> PathBuf {
        self.dir.join("model.safetensors")
    }

    /// SHA-256 of this checkpoint's manifest: what a child names as its parent.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn sha256(&self) -> Result<String> {
        files::sha256_file(&self.dir.join("checkpoint.json"))
    }

    /// Reads `metrics.json`.
    ///
    /// # Errors
    /// Missing or damaged.
    pub fn metrics(&self) -> Result<StepMetrics> {
        files::read_json(&self.dir.join("metrics.json"), "step metrics")
    }

    /// Reads `samples.safetensors`.
    ///
    /// # Errors
    /// Missing, damaged, or without `input` and `logits` of fitting shapes.
    pub fn samples(&self) -> Result<Samples> {
        let path = self.dir.join("samples.safetensors");
        let mut tensors = weights::read(&path)?;
        let mut take = |name: &str| {
            tensors.remove(name).ok_or_else(|| Error::Malformed { what: "verification samples", path: path.clone(), reason: format!("no tensor {name}") })
        };
        let (input, logits) = (take("input")?, take("logits")?);
        let (spec, classes) = (&self.manifest.image_spec, self.manifest.classes.len());
        let size = [spec.height_px as usize, spec.width_px as usize];
        let count = input.shape.first().copied().unwrap_or(0);
        let shape = |channels: usize| vec![count, channels, size[0], size[1]];
        if count == 0 || input.shape != shape(3) || logits.shape != shape(classes) {
            let reason = format!("input {:?} and logits {:?}, expected {:?} and {:?}", input.shape, logits.shape, shape(3), shape(classes));
            return Err(Error::Malformed { what: "verification samples", path, reason });
        }
        Ok(Samples { count, input: input.data, logits: logits.data })
    }
}

/// Validation inputs with the trained network's answers.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Number of images N.
    pub count: usize,
    /// Network inputs `[N, 3, H, W]`.
    pub input: Vec<f32>,
    /// Logits at input size `[N, C, H, W]`.
    pub logits: Vec<f32>,
}

/// Writes a checkpoint folder so that it is complete or not there: weights and samples first, the manifest last.
///
/// Fills in `weights_sha256`.
///
/// # Errors
/// The folder cannot be written.
pub fn write(dir: &Path, mut manifest: CheckpointManifest, weights: &Weights, samples: &Weights, metrics: &StepMetrics) -> Result<Checkpoint> {
    let bytes = weights::to_bytes(weights)?;
    manifest.weights_sha256 = files::sha256(&bytes);
    files::write_atomic(&dir.join("model.safetensors"), &bytes)?;
    files::write_atomic(&dir.join("samples.safetensors"), &weights::to_bytes(samples)?)?;
    files::write_json(&dir.join("metrics.json"), metrics)?;
    files::write_json(&dir.join("checkpoint.json"), &manifest)?;
    Ok(Checkpoint { dir: dir.into(), manifest })
}
