use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FORMAT_VERSION, Fault, MANIFEST, MAX_BUNDLE_BYTES, MAX_FILES, SelfTest};
use crate::classes::ClassList;
use crate::image_spec::ImageSpec;
use crate::model_spec::Groups;
use crate::{Error, Result};

/// Largest version of a bundle: what every reader of JSON keeps exactly.
const MAX_VERSION: u64 = (1 << 53) - 1;

/// `manifest.json` of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// [`FORMAT_VERSION`] at the time of writing.
    pub format_version: u32,
    /// Name of the model.
    pub name: String,
    /// Counts up with every release of this name.
    pub version: u64,
    /// The bundle that this one follows: its classes come first here, and a patch starts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Oldest version of the runtime that can use it, as `major.minor.patch`.
    pub minimum_runtime: String,
    /// All classes, in the order of the output.
    pub classes: ClassList,
    /// Classes by step.
    pub groups: Groups,
    /// How a frame becomes the input.
    pub image_spec: ImageSpec,
    /// Graphs by target and precision.
    pub graphs: Vec<GraphEntry>,
    /// Where the ranges of its INT8 graphs come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationSummary>,
    /// What a device tries before it takes the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    /// Where the model comes from.
    pub lineage: Lineage,
    /// Mean IoU over all classes with background that the trainer measured, 0..1.
    pub miou_all: Option<f64>,
    /// Licence of the model, as an SPDX expression or in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What a person should know about this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// The bundle that a bundle follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its version; its name is the same.
    pub version: u64,
    /// SHA-256 of its `manifest.json`.
    pub manifest_sha256: String,
}

/// A file in a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileEntry {
    /// Name in the bundle, without folders.
    pub file: String,
    /// Size of the file.
    pub bytes: u64,
    /// Hash of the file.
    pub sha256: String,
}

/// One graph in a bundle.
// serde's guide says that `flatten` and `deny_unknown_fields` do not go together; on the outer structure alone they do, and a test holds them to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GraphEntry {
    /// Device family that the graph is written for: "cpu", "rtx", "jetpack6", ...
    pub target: String,
    /// "fp32", "fp16" or "int8".
    pub precision: String,
    /// The ONNX file.
    #[serde(flatten)]
    pub entry: FileEntry,
    /// What was measured of it; none if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

/// How well a graph does on real images, from `amis-export verify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Number of images.
    pub images: usize,
    /// Share of the pixels that get the class that the float32 graph gives them, 0..1.
    pub argmax_agreement: f64,
    /// Mean IoU over all classes with background, 0..1; none without labels.
    pub miou: Option<f64>,
    /// IoU by class id, 0..1, none for a class that is absent and never predicted; empty without labels.
    pub iou: Vec<Option<f64>>,
}

/// A calibration table in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CalibrationSummary {
    /// How ranges were chosen, as `amis-export calibrate --method` takes it.
    pub method: String,
    /// Number of images.
    pub images: usize,
    /// SHA-256 of the table's key as compact JSON: graph, images, method, image spec and tool.
    pub key_sha256: String,
}

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Training step, 0 is the base.
    pub step: usize,
    /// SHA-256 of the checkpoint's manifest.
    pub checkpoint_sha256: String,
    /// SHA-256 of the checkpoint's weights.
    pub weights_sha256: String,
    /// SHA-256 of the parent checkpoint's manifest.
    pub parent_sha256: Option<String>,
    /// SHA-256 of the resolved configuration of the training as compact JSON. The configuration itself has paths of the machine that trained.
    pub config_sha256: String,
    /// Version of the tool that trained.
    pub trainer_version: String,
}

impl BundleManifest {
    /// The graph for a target at a precision.
    pub fn graph(&self, target: &str, precision: &str) -> Option<&GraphEntry> {
        self.graphs.iter().find(|g| g.target == target && g.precision == precision)
    }

    /// All files that it names: graphs, then those of the self-test.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.graphs.iter().map(|g| &g.entry).chain(self.self_test.iter().flat_map(SelfTest::files))
    }

    /// The same, to fill in sizes and hashes.
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut FileEntry> {
        self.graphs.iter_mut().map(|g| &mut g.entry).chain(self.self_test.iter_mut().flat_map(SelfTest::files_mut))
    }

    /// Sum of the sizes of all files, in bytes.
    pub fn unpacked_bytes(&self) -> u64 {
        self.files().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Holds `minimum_runtime` against the version of a runtime; `path` is for the message.
    ///
    /// # Errors
    /// [`Fault::Runtime`].
    pub fn require_runtime(&self, path: &Path, version: &str) -> Result<()> {
        if parts(version) >= parts(&self.minimum_runtime) {
            return Ok(());
        }
        Err(Error::Bundle { path: path.into(), fault: Fault::Runtime { needed: self.minimum_runtime.clone(), found: version.to_owned() } })
    }

    /// The manifest in these bytes; `path` is for messages.
    pub(crate) fn parse(json: &[u8], path: &Path) -> Result<Self> {
        /// Read first: another version has other fields.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let wrong = |fault| Error::Bundle { path: path.into(), fault };
        let not_valid = |e: serde_json::Error| wrong(Fault::Manifest { reason: e.to_string() });
        let Version { format_version } = serde_json::from_slice(json).map_err(not_valid)?;
        if format_version != FORMAT_VERSION {
            return Err(wrong(Fault::Format { found: format_version }));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(not_valid)?;
        manifest.validate().map_err(wrong)?;
        Ok(manifest)
    }

    /// Rule 4.
    pub(super) fn validate(&self) -> std::result::Result<(), Fault> {
        let wrong = |reason: String| Err(Fault::Manifest { reason });
        if self.format_version != FORMAT_VERSION {
            return Err(Fault::Format { found: self.format_version });
        }
        if !is_plain_name(&self.name) {
            return wrong(format!("name {:?}, expected letters, digits, '.', '-' and '_'", self.name));
        }
        if self.version > MAX_VERSION {
            return wrong(format!("version {}, expected at most {MAX_VERSION}", self.version));
        }
        if let Some(parent) = &self.parent {
            if parent.version >= self.version {
                return wrong(format!("its parent has version {}, expected one below its own, {}", parent.version, self.version));
            }
            if !is_sha256(&parent.manifest_sha256) {
                return wrong(format!("its parent's SHA-256 is {:?}, expected 64 hexadecimal digits", parent.manifest_sha256));
            }
        }
        if parts(&self.minimum_runtime).is_none() {
            return wrong(format!("minimum_runtime is {:?}, expected three numbers as in 0.1.0", self.minimum_runtime));
        }
        let invalid = |e: Error| Fault::Manifest { reason: e.to_string() };
        self.groups.validate().map_err(invalid)?;
        self.image_spec.validate(1).map_err(invalid)?;
        if self.groups.classes() != self.classes.len() {
            return wrong(format!("{} classes in groups, {} in the class list", self.groups.classes(), self.classes.len()));
        }
        if self.graphs.is_empty() {
            return wrong("it has no graph".into());
        }
        let mut keys = BTreeSet::new();
        for GraphEntry { target, precision, entry, quality } in &self.graphs {
            if !keys.insert((target, precision)) {
                return wrong(format!("two graphs for {target} {precision}"));
            }
            if let Some(found) = quality.as_ref().map(|q| q.iou.len()).filter(|&n| n != 0 && n != self.classes.len()) {
                return wrong(format!("{found} classes are measured of {}, expected {}", entry.file, self.classes.len()));
            }
        }
        if let Some(self_test) = &self.self_test {
            self_test.validate()?;
        }
        self.validate_files()
    }

    fn validate_files(&self) -> std::result::Result<(), Fault> {
        let wrong = |reason: String| Err(Fault::Manifest { reason });
        let mut names = BTreeSet::from([MANIFEST]);
        for FileEntry { file, sha256, .. } in self.files() {
            if !is_plain_name(file) || !names.insert(file) {
                return wrong(format!("file name {file:?} is not plain or stands twice"));
            }
            if !is_sha256(sha256) {
                return wrong(format!("the SHA-256 of {file} is {sha256:?}, expected 64 hexadecimal digits"));
            }
        }
        if names.len() > MAX_FILES {
            return wrong(format!("{} files, expected at most {MAX_FILES}", names.len()));
        }
        match self.unpacked_bytes() {
            ..=MAX_BUNDLE_BYTES => Ok(()),
            found_bytes => Err(Fault::Large { found_bytes }),
        }
    }
}

/// Letters, digits, dots, dashes, underscores; not hidden, not a path.
pub(super) fn is_plain_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// 64 hexadecimal digits in lower case.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The numbers of `major.minor.patch`.
fn parts(version: &str) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = version.split('.').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    numbers.try_into().ok()
}
