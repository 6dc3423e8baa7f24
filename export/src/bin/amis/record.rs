use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use amis_artifacts::files;
use amis_export::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was done in a working folder, so that an interrupted command goes on where it was.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version that the bundle gets; chosen once.
    pub(crate) version: Option<u64>,
    done: BTreeMap<String, Done>,
}

/// A station that was passed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Hash of the command and of what it read.
    key: String,
    /// Hashes of what it wrote, by path.
    outputs: BTreeMap<PathBuf, String>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What the program printed.
    pub(crate) result: Value,
}

impl Record {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path.exists() { Ok(files::read_json(path, "record of amis add-class")?) } else { Ok(Self::default()) }
    }

    /// A station's result, if it was passed with this key and what it wrote is still as it was.
    pub(crate) fn find(&self, station: &str, key: &str) -> Option<&Done> {
        let done = self.done.get(station).filter(|done| done.key == key)?;
        done.outputs.iter().all(|(path, hash)| files::sha256_file(path).is_ok_and(|found| found == *hash)).then_some(done)
    }

    pub(crate) fn add(&mut self, station: &str, key: String, outputs: &[PathBuf], seconds: f64, result: Value) -> Result<()> {
        let outputs = outputs.iter().map(|path| Ok((path.clone(), files::sha256_file(path)?))).collect::<Result<_>>()?;
        self.done.insert(station.to_owned(), Done { key, outputs, seconds, result });
        Ok(())
    }
}

/// Hash of a command and of the files and folders that it reads: of files the content, of folders names, sizes and times.
pub(crate) fn key(command: &str, inputs: &[PathBuf]) -> Result<String> {
    let mut text = command.to_owned();
    for input in inputs {
        if input.is_dir() {
            list(input, &mut text)?;
        } else {
            text.push_str(&files::sha256_file(input)?);
        }
    }
    Ok(files::sha256(text.as_bytes()))
}

fn list(folder: &Path, text: &mut String) -> Result<()> {
    let io = |source| amis_artifacts::Error::Io { action: "read", path: folder.into(), source };
    let mut paths = fs::read_dir(folder).map_err(io)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>().map_err(io)?;
    paths.sort();
    // Hidden files are what programs keep for themselves.
    for path in paths.iter().filter(|p| !p.file_name().unwrap_or_default().to_string_lossy().starts_with('.')) {
        let about = fs::metadata(path).map_err(io)?;
        if about.is_dir() {
            list(path, text)?;
        } else {
            let time = about.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            text.push_str(&format!("\n{} {} {}", path.display(), about.len(), time.as_nanos()));
        }
    }
    Ok(())
}
