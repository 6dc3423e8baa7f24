//! What a run leaves in its folder (`--state`) for those who ask about it: `run.json`, which outlives it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use amis_artifacts::files;
use amis_runtime::{Error, Result};
use serde::{Deserialize, Serialize};

/// A run and how it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: u32,
    pub(crate) started_unix_ms: u64,
    /// None while it runs, and if it never came to write it.
    pub(crate) end: Option<End>,
    /// How the one before ended.
    pub(crate) previous_end: Option<End>,
}

/// The end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) unix_ms: u64,
    pub(crate) reason: String,
}

/// The folder of the run that this process is.
#[derive(Debug, Clone)]
pub(crate) struct State {
    folder: PathBuf,
    record: Record,
}

impl State {
    /// Notes that a run begins. A folder whose run still answers is left alone.
    pub(crate) fn begin(folder: &Path) -> Result<Self> {
        if UnixStream::connect(socket(folder)).is_ok() {
            return Err(Error::Listen { address: socket(folder).display().to_string(), reason: "another run answers there".into() });
        }
        let previous_end = read(folder).map(|old| old.end.unwrap_or_else(|| End::now("it ended without a word: killed, crashed, or the power was cut")));
        let record = Record { pid: std::process::id(), started_unix_ms: unix_ms(), end: None, previous_end };
        let state = Self { folder: folder.to_owned(), record };
        files::write_json(&file(folder), &state.record)?;
        Ok(state)
    }

    /// Notes why the run ends.
    pub(crate) fn end(&self, reason: &str) {
        let record = Record { end: Some(End::now(reason)), ..self.record.clone() };
        if let Err(error) = files::write_json(&file(&self.folder), &record) {
            tracing::warn!("{error}");
        }
    }

    /// Where the run can be asked.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }
}

impl End {
    fn now(reason: &str) -> Self {
        Self { unix_ms: unix_ms(), reason: reason.to_owned() }
    }
}

/// The record in a folder, if there is one.
pub(crate) fn read(folder: &Path) -> Option<Record> {
    files::read_json(&file(folder), "record of a run").ok()
}

/// Where the run of a folder can be asked.
pub(crate) fn socket(folder: &Path) -> PathBuf {
    folder.join("control")
}

fn file(folder: &Path) -> PathBuf {
    folder.join("run.json")
}

/// Now, in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
