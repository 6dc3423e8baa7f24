//! The one more step: its data set, and its configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_export::{Error, Result};
use serde_json::{Value, json};

/// Largest list of class names, in bytes.
const MAX_NAMES_BYTES: u64 = 1 << 20;

/// Folders and lists of a layout, as in docs/data.md.
struct Layout {
    name: &'static str,
    images: &'static str,
    labels: &'static str,
    train: &'static str,
    val: &'static str,
}

const LAYOUTS: [Layout; 2] = [
    Layout { name: "folder", images: "images", labels: "labels", train: "train.txt", val: "val.txt" },
    Layout { name: "voc", images: "JPEGImages", labels: "SegmentationClass", train: "ImageSets/Segmentation/train.txt", val: "ImageSets/Segmentation/val.txt" },
];

/// The person's images as a data set that names all classes.
pub(crate) struct StepData {
    layout: &'static Layout,
    /// The person's folder.
    from: PathBuf,
    /// Names by label value.
    names: Vec<String>,
}

impl StepData {
    /// Looks at the folder; the class has to be among its names.
    ///
    /// # Errors
    /// Neither layout, or a class that it does not name.
    pub(crate) fn open(from: &Path, class: &str) -> Result<Self> {
        let wrong = |reason: String| Error::StepData { path: from.into(), reason };
        let layout = LAYOUTS.iter().find(|l| from.join(l.images).is_dir() && from.join(l.labels).is_dir());
        let layout = layout.ok_or_else(|| wrong("it has neither images/ and labels/ nor JPEGImages/ and SegmentationClass/".into()))?;
        let from = from.canonicalize().map_err(|source| amis_artifacts::Error::Io { action: "read", path: from.into(), source })?;
        let text = files::read_limited(&from.join("classes.txt"), "a list of classes", MAX_NAMES_BYTES)?;
        let names: Vec<String> = String::from_utf8_lossy(&text).lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
        if !names.iter().any(|n| n == class) {
            return Err(wrong(format!("its classes.txt names {}, and not {class:?}", names.join(", "))));
        }
        Ok(Self { layout, from, names })
    }

    /// Folder of the images.
    pub(crate) fn images(&self) -> PathBuf {
        self.from.join(self.layout.images)
    }

    /// Writes a data set into `dir`: links to the person's files, and names of the old classes behind those that the labels use.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn write(&self, dir: &Path, base: &Checkpoint) -> Result<()> {
        let io = |source| amis_artifacts::Error::Io { action: "write", path: dir.into(), source };
        fs::create_dir_all(dir).map_err(io)?;
        for entry in fs::read_dir(&self.from).map_err(io)? {
            let entry = entry.map_err(io)?;
            let (name, link) = (entry.file_name(), dir.join(entry.file_name()));
            if name == "classes.txt" || name.to_string_lossy().starts_with('.') || link.symlink_metadata().is_ok() {
                continue;
            }
            symlink(entry.path(), link).map_err(io)?;
        }
        let old = base.manifest.classes.iter().skip(1).map(|c| c.name.clone()).filter(|name| !self.names.contains(name));
        let names: Vec<String> = self.names.iter().cloned().chain(old).collect();
        Ok(files::write_atomic(&dir.join("classes.txt"), format!("{}\n", names.join("\n")).as_bytes())?)
    }

    /// The configuration of the base checkpoint with one more step on this data, as TOML.
    ///
    /// # Errors
    /// A checkpoint that does not say how it was trained.
    pub(crate) fn configuration(&self, dir: &Path, base: &Checkpoint, class: &str) -> Result<String> {
        let unknown = |reason: String| Error::StepData { path: base.dir.clone(), reason };
        let mut config = base.manifest.config.clone();
        if !config.get("train").is_some_and(Value::is_object) {
            return Err(unknown("it was imported, and does not say how to train".into()));
        }
        let (classes, mut at) = (&base.manifest.classes, 1);
        // From the checkpoint's groups and not from its configuration, which may have steps that were not trained yet.
        let mut steps = Vec::new();
        for count in base.manifest.groups.0.iter().skip(1).map(|&count| count as usize) {
            let names: Vec<&str> = classes.iter().skip(at).take(count).map(|c| c.name.as_str()).collect();
            at += count;
            steps.push(json!(names));
        }
        steps.push(json!([class]));
        let whole = |path: &Path| std::path::absolute(path).map_err(|e| unknown(e.to_string()));
        config["data"] = json!({ "layout": self.layout.name, "root": whole(dir)?, "labels": self.layout.labels });
        config["task"]["name"] = json!(format!("{class} after step {}", base.manifest.step));
        config["task"]["steps"] = Value::Array(steps);
        config["task"]["images"] = json!({ "list": self.layout.train, "setting": "overlapped" });
        config["task"]["val"] = json!(self.layout.val);
        config["task"]["offline"] = json!(false);
        config["train"]["base_checkpoint"] = json!(whole(&base.dir)?);
        config["train"]["pretrained"] = Value::Null;
        toml::to_string_pretty(&without_nulls(config)).map_err(|e| unknown(e.to_string()))
    }
}

/// TOML has no null: what is not set is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()),
        other => other,
    }
}
