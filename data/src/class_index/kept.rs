//! The class index kept on disk, so that label maps are read once and not at every start.
//!
//! An entry holds for a label map as long as its size, its time of modification and its time of change are the same. The last one cannot be set by
//! programs, so a file with other content has another stamp; a copied data set is scanned again. A file changed within two seconds before the scan
//! is not kept: it could change once more within the clock's step. Whatever is wrong with the kept index costs time, never correctness.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amis_artifacts::classes::{BACKGROUND, IGNORE};
use amis_artifacts::files;
use serde::{Deserialize, Serialize};

use crate::folder::DataFolder;
use crate::{Error, Result};

/// Raised whenever the file's form or the meaning of its entries changes.
const VERSION: u32 = 1;
/// A file changed shorter ago than this may change again without another stamp.
const UNSETTLED: Duration = Duration::from_secs(2);

/// What tells one state of a file from another: size in bytes, times of modification and of change in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp(u64, i64, i64);

impl Stamp {
    pub(super) fn of(path: &Path) -> Result<Self> {
        let of = fs::metadata(path).map_err(|source| amis_artifacts::Error::Io { action: "read", path: path.into(), source })?;
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Ok(Self(of.len(), ns(of.mtime(), of.mtime_nsec()), ns(of.ctime(), of.ctime_nsec())))
    }

    fn is_settled(self, now: SystemTime) -> bool {
        let limit = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(UNSETTLED);
        self.1.max(self.2) < i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// Class ids (sorted) of label maps, by image name.
pub(super) type Entries = BTreeMap<String, (Stamp, Vec<u8>)>;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// Of the entries as JSON: notices damage that leaves valid JSON.
    sha256: String,
    entries: Entries,
}

/// Where the index of a data set may lie: beside the label maps or, where nothing can be written there, in the user's cache folder.
pub(super) struct Kept {
    places: Vec<PathBuf>,
}

impl Kept {
    pub(super) fn of(folder: &DataFolder) -> Self {
        let labels = folder.label_dir();
        let beside = folder.root().join(format!(".amis-class-index/{}.json", folder.labels().replace('/', "-")));
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute()).or_else(home);
        let whole = labels.canonicalize().unwrap_or(labels);
        let key = files::sha256(whole.as_os_str().as_encoded_bytes());
        let elsewhere = cache.map(|dir| dir.join(format!("amis/class-index/{}.json", &key[..16])));
        Self { places: [beside].into_iter().chain(elsewhere).collect() }
    }

    /// All entries that are kept anywhere. A damaged file is left out, with a warning.
    pub(super) fn read(&self) -> Entries {
        let mut entries = Entries::new();
        for path in self.places.iter().filter(|p| p.exists()) {
            match read_file(path) {
                Ok(found) => entries.extend(found),
                Err(error) => tracing::warn!("the kept class index cannot be used, the label maps are read again: {error}"),
            }
        }
        entries
    }

    /// Keeps the entries that are settled, in the first place that can be written.
    pub(super) fn write(&self, mut entries: Entries, now: SystemTime) {
        entries.retain(|_, (stamp, _)| stamp.is_settled(now));
        if entries.is_empty() {
            return;
        }
        let file = File { version: VERSION, sha256: hash(&entries), entries };
        let Ok(bytes) = serde_json::to_vec(&file) else { return };
        let failed: Vec<String> = self.places.iter().map_while(|path| files::write_atomic(path, &bytes).err()).map(|e| e.to_string()).collect();
        if failed.len() == self.places.len() {
            tracing::warn!("the class index is not kept, the next start reads the label maps again: {}", failed.join("; "));
        }
    }
}

fn hash(entries: &Entries) -> String {
    files::sha256(&serde_json::to_vec(entries).unwrap_or_default())
}

fn read_file(path: &Path) -> Result<Entries> {
    let malformed = |reason: String| Error::from(amis_artifacts::Error::Malformed { what: "class index", path: path.into(), reason });
    let file: File = files::read_json(path, "class index")?;
    if file.version != VERSION {
        return Err(malformed(format!("version {}, expected {VERSION}", file.version)));
    }
    if hash(&file.entries) != file.sha256 {
        return Err(malformed("its content does not match its hash".into()));
    }
    let sound = |classes: &[u8]| classes.is_sorted_by(|a, b| a < b) && classes.iter().all(|&id| id != BACKGROUND && id != IGNORE);
    match file.entries.iter().find(|(_, (_, classes))| !sound(classes)) {
        Some((name, _)) => Err(malformed(format!("classes of {name}"))),
        None => Ok(file.entries),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entries() -> Entries {
        Entries::from([("a".to_owned(), (Stamp(10, 20, 30), vec![1, 4])), ("b".to_owned(), (Stamp(11, 21, 31), vec![]))])
    }

    #[test]
    fn a_damaged_index_is_left_out_and_a_sound_one_read() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept { places: vec![dir.path().join("index.json")] };
        kept.write(entries(), SystemTime::now());
        assert_eq!(kept.read(), entries());
        let whole = fs::read_to_string(&kept.places[0]).unwrap();
        for damaged in [&whole[..whole.len() / 2], "", "[]", &whole.replace("[1,4]", "[1,5]"), &whole.replace("\"version\":1", "\"version\":9")] {
            fs::write(&kept.places[0], damaged).unwrap();
            assert_eq!(kept.read(), Entries::new(), "{damaged}");
        }
        let wrong = Entries::from([("a".to_owned(), (Stamp(1, 2, 3), vec![255]))]);
        kept.write(wrong, SystemTime::now());
        assert_eq!(kept.read(), Entries::new());
    }

    #[test]
    fn what_changed_just_now_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept { places: vec![dir.path().join("index.json")] };
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let entries = Entries::from([("a".to_owned(), (Stamp::of(&path).unwrap(), vec![1]))]);
        kept.write(entries.clone(), SystemTime::now());
        assert!(!kept.places[0].exists());
        kept.write(entries.clone(), SystemTime::now() + Duration::from_secs(10));
        assert_eq!(kept.read(), entries);
    }

    #[test]
    fn the_second_place_serves_where_the_first_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let kept = Kept { places: vec![dir.path().join("file/index.json"), dir.path().join("cache/index.json")] };
        kept.write(entries(), SystemTime::now());
        assert_eq!(kept.read(), entries());
    }
}
