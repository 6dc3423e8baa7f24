//! Bundle `<name>-<version>.amis`: what a device needs for one model, as tar compressed with zstd.
//!
//! `manifest.json` comes first; every other entry is a file that the manifest names with size and hash. The same inputs give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::classes::ClassList;
use crate::image_spec::ImageSpec;
use crate::model_spec::Groups;
use crate::{Error, Result, files};

/// Version of the bundle format that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Largest bundle, compressed or not, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 2 << 30;
/// Most files in a bundle.
pub const MAX_FILES: usize = 256;
/// Level of zstd: the slowest that still packs 100 MB in seconds.
const ZSTD_LEVEL: i32 = 12;

/// How well a graph does on real images, from `amis-export verify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// One graph in a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphEntry {
    /// Device family that the graph is written for: "cpu", "rtx", "jetpack6", ...
    pub target: String,
    /// "fp32", "fp16" or "int8".
    pub precision: String,
    /// Name in the bundle, without folders.
    pub file: String,
    /// Size of the file.
    pub bytes: u64,
    /// Hash of the file.
    pub sha256: String,
    /// What was measured of it; none if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// Training step, 0 is the base.
    pub step: usize,
    /// SHA-256 of the checkpoint's manifest.
    pub checkpoint_sha256: String,
    /// SHA-256 of the parent checkpoint's manifest.
    pub parent_sha256: Option<String>,
}

/// `manifest.json` of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// [`FORMAT_VERSION`] at the time of writing.
    pub format_version: u32,
    /// Name of the model.
    pub name: String,
    /// Counts up with every release of this name.
    pub version: u64,
    /// All classes, in the order of the output.
    pub classes: ClassList,
    /// Classes by step.
    pub groups: Groups,
    /// How a frame becomes the input.
    pub image_spec: ImageSpec,
    /// Graphs by target and precision.
    pub graphs: Vec<GraphEntry>,
    /// Where the model comes from.
    pub lineage: Lineage,
    /// Mean IoU over all classes with background that the trainer measured, 0..1.
    pub miou_all: Option<f64>,
}

impl BundleManifest {
    /// The graph for a target at a precision.
    pub fn graph(&self, target: &str, precision: &str) -> Option<&GraphEntry> {
        self.graphs.iter().find(|g| g.target == target && g.precision == precision)
    }

    fn validate(&self, path: &Path) -> Result<()> {
        let wrong = |reason: String| Err(Error::Malformed { what: "bundle", path: path.into(), reason });
        if self.format_version != FORMAT_VERSION {
            return wrong(format!("format version {}, this tool reads {FORMAT_VERSION}", self.format_version));
        }
        if !is_plain_name(&self.name) {
            return wrong(format!("name {:?}, expected letters, digits, '.', '-' and '_'", self.name));
        }
        self.groups.validate()?;
        self.image_spec.validate(1)?;
        if self.groups.classes() != self.classes.len() {
            return wrong(format!("{} classes in groups, {} in the class list", self.groups.classes(), self.classes.len()));
        }
        if self.graphs.is_empty() || self.graphs.len() > MAX_FILES {
            return wrong(format!("{} graphs, expected 1 to {MAX_FILES}", self.graphs.len()));
        }
        let mut keys = BTreeSet::new();
        let mut names = BTreeSet::new();
        for graph in &self.graphs {
            if !is_plain_name(&graph.file) || graph.file == "manifest.json" || !names.insert(&graph.file) {
                return wrong(format!("file name {:?} is not plain or stands twice", graph.file));
            }
            if !keys.insert((&graph.target, &graph.precision)) {
                return wrong(format!("two graphs for {} {}", graph.target, graph.precision));
            }
            if let Some(found) = graph.quality.as_ref().map(|q| q.iou.len()).filter(|&n| n != 0 && n != self.classes.len()) {
                return wrong(format!("{found} classes are measured of {}, expected {}", graph.file, self.classes.len()));
            }
        }
        match self.graphs.iter().try_fold(0u64, |sum, g| sum.checked_add(g.bytes)) {
            Some(total) if total <= MAX_BUNDLE_BYTES => Ok(()),
            _ => wrong(format!("its files have more than {MAX_BUNDLE_BYTES} bytes")),
        }
    }
}

/// Letters, digits, dots, dashes, underscores; not hidden, not a path.
fn is_plain_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Writes a bundle. Sizes and hashes in `manifest.graphs` are filled in from `files`, keyed by file name.
///
/// # Errors
/// A graph without its file, a file without its graph, an invalid manifest, or the disk.
pub fn write(path: &Path, mut manifest: BundleManifest, files: &BTreeMap<String, Vec<u8>>) -> Result<BundleManifest> {
    let wrong = |reason: String| Error::Malformed { what: "bundle", path: path.into(), reason };
    for graph in &mut manifest.graphs {
        let bytes = files.get(&graph.file).ok_or_else(|| wrong(format!("no file {}", graph.file)))?;
        graph.bytes = bytes.len() as u64;
        graph.sha256 = files::sha256(bytes);
    }
    if files.len() != manifest.graphs.len() {
        return Err(wrong(format!("{} files for {} graphs", files.len(), manifest.graphs.len())));
    }
    manifest.validate(path)?;
    let io = |source| Error::Io { action: "write", path: path.into(), source };
    let json = serde_json::to_vec_pretty(&manifest).map_err(|e| wrong(e.to_string()))?;
    let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(io)?;
    // The hashes in the manifest cover the graphs, the checksum covers the manifest.
    encoder.include_checksum(true).map_err(io)?;
    let mut archive = tar::Builder::new(encoder);
    append(&mut archive, "manifest.json", &json).map_err(io)?;
    for (name, bytes) in files {
        append(&mut archive, name, bytes).map_err(io)?;
    }
    let bytes = archive.into_inner().and_then(zstd::Encoder::finish).map_err(io)?;
    files::write_atomic(path, &bytes)?;
    Ok(manifest)
}

/// Adds a file with fixed owner, mode and time, so that equal inputs give equal bundles.
fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

/// Reads only the manifest.
///
/// # Errors
/// Not a bundle, or an invalid manifest.
pub fn read_manifest(path: &Path) -> Result<BundleManifest> {
    read(path, |_, _| Ok(()), ReadUntil::Manifest)
}

/// Unpacks into an existing folder, checking every file against the manifest before it gets its name.
///
/// # Errors
/// Not a bundle, an invalid manifest, a file that the manifest does not name, a wrong size or hash, a missing file, or the disk.
/// Files already unpacked stay; give it a folder of its own.
pub fn unpack(path: &Path, dir: &Path) -> Result<BundleManifest> {
    read(path, |entry, bytes| files::write_atomic(&dir.join(&entry.file), bytes), ReadUntil::End)
}

#[derive(PartialEq)]
enum ReadUntil {
    Manifest,
    End,
}

fn read(path: &Path, mut keep: impl FnMut(&GraphEntry, &[u8]) -> Result<()>, until: ReadUntil) -> Result<BundleManifest> {
    let io = |source| Error::Io { action: "read", path: path.into(), source };
    let wrong = |reason: String| Error::Malformed { what: "bundle", path: path.into(), reason };
    let size = fs::metadata(path).map_err(io)?.len();
    if size > MAX_BUNDLE_BYTES {
        return Err(Error::TooLarge { what: "a bundle", path: path.into(), found_bytes: size, limit_bytes: MAX_BUNDLE_BYTES });
    }
    let decoder = zstd::Decoder::new(File::open(path).map_err(io)?).map_err(io)?;
    let mut archive = tar::Archive::new(decoder.take(MAX_BUNDLE_BYTES + (1 << 20)));
    let mut manifest: Option<BundleManifest> = None;
    let mut seen = BTreeSet::new();
    // Raw: long-name and PAX entries would be read whole before anyone looks at their type.
    for entry in archive.entries().map_err(|e| wrong(e.to_string()))?.raw(true) {
        let mut entry = entry.map_err(|e| wrong(e.to_string()))?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(wrong(format!("an entry of type {:?}, only files are allowed", entry.header().entry_type())));
        }
        let name: PathBuf = entry.path().map_err(|e| wrong(e.to_string()))?.into_owned();
        let name = name.to_str().filter(|n| is_plain_name(n)).ok_or_else(|| wrong(format!("entry name {name:?}")))?.to_owned();
        let Some(manifest) = &manifest else {
            if name != "manifest.json" {
                return Err(wrong(format!("first entry is {name}, expected manifest.json")));
            }
            let json = read_entry(&mut entry, files::MAX_JSON_BYTES).map_err(wrong)?;
            let parsed: BundleManifest = serde_json::from_slice(&json).map_err(|e| wrong(e.to_string()))?;
            parsed.validate(path)?;
            if until == ReadUntil::Manifest {
                return Ok(parsed);
            }
            manifest = Some(parsed);
            continue;
        };
        let graph = manifest.graphs.iter().find(|g| g.file == name).ok_or_else(|| wrong(format!("{name} is not in its manifest")))?;
        if !seen.insert(name.clone()) {
            return Err(wrong(format!("{name} stands twice")));
        }
        let bytes = read_entry(&mut entry, graph.bytes).map_err(wrong)?;
        let found = files::sha256(&bytes);
        if found != graph.sha256 {
            return Err(Error::Hash { path: path.join(&name), found, expected: graph.sha256.clone() });
        }
        keep(graph, &bytes)?;
    }
    // Reading to the end makes zstd check its checksum.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(io)?;
    let manifest = manifest.ok_or_else(|| wrong("it is empty".into()))?;
    match manifest.graphs.iter().find(|g| !seen.contains(&g.file)) {
        Some(missing) => Err(wrong(format!("{} is missing", missing.file))),
        None => Ok(manifest),
    }
}

/// A whole entry of at most `limit_bytes`.
fn read_entry(entry: &mut impl Read, limit_bytes: u64) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    entry.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit_bytes {
        return Err(format!("an entry has more than its {limit_bytes} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image_spec::Fit;

    fn manifest() -> BundleManifest {
        BundleManifest {
            format_version: FORMAT_VERSION,
            name: "yard".into(),
            version: 3,
            classes: ClassList::from_names(&["background", "road"]).unwrap(),
            groups: Groups(vec![1, 1]),
            image_spec: ImageSpec::imagenet(64, 64, Fit::Stretch),
            graphs: vec![GraphEntry {
                target: "cpu".into(),
                precision: "fp32".into(),
                file: "model.onnx".into(),
                bytes: 0,
                sha256: String::new(),
                quality: None,
            }],
            lineage: Lineage { step: 0, checkpoint_sha256: "00".into(), parent_sha256: None },
            miou_all: Some(0.5),
        }
    }

    fn files() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("model.onnx".to_owned(), b"graph bytes".to_vec())])
    }

    #[test]
    fn equal_inputs_give_equal_bytes_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.amis"), dir.path().join("b.amis"));
        let written = write(&a, manifest(), &files()).unwrap();
        write(&b, manifest(), &files()).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
        assert_eq!(read_manifest(&a).unwrap(), written);
        let out = dir.path().join("out");
        assert_eq!(unpack(&a, &out).unwrap(), written);
        assert_eq!(fs::read(out.join("model.onnx")).unwrap(), b"graph bytes");
    }

    #[test]
    fn what_was_measured_comes_back_and_bundles_without_it_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.amis");
        let quality = |classes| Some(Quality { images: 101, argmax_agreement: 0.99, miou: Some(0.5), iou: vec![None; classes] });
        let mut measured = manifest();
        measured.graphs[0].quality = quality(2);
        let written = write(&path, measured.clone(), &files()).unwrap();
        assert_eq!((read_manifest(&path).unwrap(), &written.graphs[0].quality), (written.clone(), &quality(2)));
        assert!(!serde_json::to_string(&manifest()).unwrap().contains("quality"));
        measured.graphs[0].quality = quality(3);
        assert!(write(&path, measured, &files()).unwrap_err().to_string().contains("3 classes are measured of model.onnx, expected 2"));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_refused_or_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.amis");
        let written = write(&path, manifest(), &files()).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            fs::write(&path, &good[..at]).unwrap();
            assert!(unpack(&path, &dir.path().join("out")).is_err(), "cut at {at}");
            let mut flipped = good.clone();
            flipped[at] ^= 0x55;
            fs::write(&path, &flipped).unwrap();
            if let Ok(manifest) = unpack(&path, &dir.path().join("out")) {
                assert_eq!(manifest, written, "flipped at {at}");
            }
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["../x", "/etc/x", "a/b", ".hidden", "", "manifest.json"] {
            let mut bad = manifest();
            bad.graphs[0].file = name.into();
            let files = BTreeMap::from([(name.to_owned(), vec![1])]);
            let dir = tempfile::tempdir().unwrap();
            assert!(write(&dir.path().join("a.amis"), bad, &files).is_err(), "{name}");
        }
    }
}
