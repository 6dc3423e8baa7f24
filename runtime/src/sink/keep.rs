use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::Result;
use crate::uri::Uri;

/// Lets what a sink writes take so much room and get so old; the oldest files go first.
pub(super) struct Keep {
    pub(super) max_bytes: Option<u64>,
    max_age: Option<Duration>,
    /// Oldest first.
    files: VecDeque<Written>,
    bytes: u64,
    /// Room for the file that is being written and not counted yet.
    pub(super) reserve: u64,
}

struct Written {
    path: PathBuf,
    bytes: u64,
    at: SystemTime,
}

/// The settings, for messages.
pub(super) const SETTINGS: &str = "max_mib or max_hours";

impl Keep {
    /// Settings `max_mib` and `max_hours`; without them everything is kept.
    pub(super) fn from_uri(uri: &mut Uri<'_>) -> Result<Self> {
        let max_mib: Option<u64> = uri.number("max_mib", 1..=1 << 30)?;
        let max_hours: Option<f64> = uri.number("max_hours", 1e-4..=1e6)?;
        let (max_bytes, max_age) = (max_mib.map(|mib| mib << 20), max_hours.map(|hours| Duration::from_secs_f64(hours * 3600.0)));
        Ok(Self { max_bytes, max_age, files: VecDeque::new(), bytes: 0, reserve: 0 })
    }

    pub(super) fn limited(&self) -> bool {
        self.max_bytes.is_some() || self.max_age.is_some()
    }

    /// Counts files that earlier runs left in a folder; `ours` knows them by name.
    pub(super) fn adopt(&mut self, folder: &Path, ours: impl Fn(&str) -> bool) {
        if !self.limited() {
            return;
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let found = entries.filter(|entry| entry.file_name().to_str().is_some_and(&ours)).filter_map(|entry| {
            let about = entry.metadata().ok().filter(|about| about.is_file())?;
            Some(Written { path: entry.path(), bytes: about.len(), at: about.modified().ok()? })
        });
        let mut found: Vec<Written> = found.collect();
        found.sort_by_key(|file| file.at);
        self.bytes += found.iter().map(|file| file.bytes).sum::<u64>();
        self.files.extend(found);
        self.remove_old();
    }

    /// Counts a file that was just written, and removes what is too much now.
    pub(super) fn add(&mut self, path: PathBuf, bytes: u64) {
        if !self.limited() {
            return;
        }
        self.files.push_back(Written { path, bytes, at: SystemTime::now() });
        self.bytes += bytes;
        self.remove_old();
    }

    fn remove_old(&mut self) {
        let now = SystemTime::now();
        while let Some(oldest) = self.files.front() {
            let too_old = self.max_age.is_some_and(|age| now.duration_since(oldest.at).is_ok_and(|since| since > age));
            if !too_old && self.max_bytes.is_none_or(|max| self.bytes + self.reserve <= max) {
                return;
            }
            let Some(file) = self.files.pop_front() else { return };
            self.bytes -= file.bytes;
            // A later frame of the same name has taken its place; it is counted by itself.
            let replaced = self.files.iter().any(|later| later.path == file.path);
            if !replaced && let Err(error) = std::fs::remove_file(&file.path) {
                tracing::debug!("{}: {error}", file.path.display());
            }
        }
    }
}
