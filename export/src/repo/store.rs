//! The folder of a repository: opened, locked, written.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use amis_artifacts::files;
use amis_artifacts::release::{PATCH_KEY, Patch, RELEASE_KEY, Release};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tough::schema::{Root, Signed, Snapshot, Target, Targets, Timestamp};
use tough::{ExpirationEnforcement, FilesystemTransport, RepositoryLoader, TargetName};
use url::Url;

use super::sign::damaged;
use crate::{Error, Result};

/// Key in `targets.json` of the highest version that every name ever had: a version is never given again, even after it was withdrawn.
const HIGHEST_KEY: &str = "amis_highest";
/// Folders of work that is not finished start with this.
const SCRATCH: &str = ".scratch-";
/// Files that replace those of `metadata/` together; written by a rotation, see [`Pending`].
const PENDING: &str = "pending.json";

/// A repository on disk, with the metadata that devices see now.
#[derive(Debug)]
pub struct Repository {
    pub(super) dir: PathBuf,
    pub(super) root: Signed<Root>,
    pub(super) targets: Signed<Targets>,
    pub(super) snapshot: Signed<Snapshot>,
    pub(super) timestamp: Signed<Timestamp>,
    /// The list of files as the next publication signs it, if it is another one.
    pub(super) staged: Option<Targets>,
    /// Held by whoever changes something.
    _lock: Option<File>,
}

/// Several files of `metadata/` that change together. It is written whole before the first of them, so that whoever comes next finishes what was interrupted.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    /// Name and content, in the order of writing.
    files: Vec<(String, String)>,
}

impl Repository {
    /// Opens a repository for reading. Signatures, hashes and versions are checked as a device does; what has expired is accepted.
    ///
    /// # Errors
    /// No repository, a damaged one, or one whose rotation of keys was interrupted.
    pub fn open(dir: &Path) -> Result<Self> {
        if dir.join(PENDING).exists() {
            return Err(Error::Interrupted { path: dir.into() });
        }
        Self::load(dir, None)
    }

    /// Opens a repository to change it; nobody else can until this is dropped. A rotation that was interrupted is finished.
    ///
    /// # Errors
    /// No repository, a damaged one, or somebody else is changing it.
    pub fn open_to_change(dir: &Path) -> Result<Self> {
        if !dir.join("metadata").is_dir() {
            return Err(Error::NoRepository { path: dir.into() });
        }
        let held = lock(dir)?;
        let pending = dir.join(PENDING);
        if pending.exists() {
            write_pending(dir, &files::read_json(&pending, "interrupted rotation")?)?;
        }
        for folder in ["", "metadata", "targets"] {
            files::remove_temporaries(&dir.join(folder));
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.file_name().to_string_lossy().starts_with(SCRATCH)) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(|source| amis_artifacts::Error::Io { action: "remove", path, source })?;
        }
        Self::load(dir, Some(held))
    }

    fn load(dir: &Path, lock: Option<File>) -> Result<Self> {
        let first = dir.join("metadata/1.root.json");
        if !first.is_file() {
            return Err(Error::NoRepository { path: dir.into() });
        }
        let io = |source| amis_artifacts::Error::Io { action: "read", path: dir.into(), source };
        let whole = dir.canonicalize().map_err(io)?;
        let url = |folder: &str| Url::from_directory_path(whole.join(folder)).map_err(|()| damaged(dir, "its path cannot be written as an address"));
        let trusted = files::read_limited(&first, "root metadata", files::MAX_JSON_BYTES)?;
        let loader = RepositoryLoader::new(&trusted, url("metadata")?, url("targets")?)
            .transport(FilesystemTransport)
            .expiration_enforcement(ExpirationEnforcement::Unsafe);
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(io)?;
        let loaded = runtime.block_on(loader.load()).map_err(|e| damaged(dir, e))?;
        let staged = dir.join("staged.json");
        let staged: Option<Targets> = if staged.exists() { Some(files::read_json(&staged, "list of staged files")?) } else { None };
        let targets = loaded.targets().clone();
        Ok(Self {
            dir: dir.into(),
            root: loaded.root().clone(),
            // A publication that was killed after its last step leaves the list that it published.
            staged: staged.filter(|s| s.targets != targets.signed.targets || s._extra != targets.signed._extra),
            targets,
            snapshot: loaded.snapshot().clone(),
            timestamp: loaded.timestamp().clone(),
            _lock: lock,
        })
    }

    /// Names of all models that ever were in it, with the highest version each had, published or staged.
    pub fn models(&self) -> Vec<(String, u64)> {
        let all = self.wanted()._extra.get(HIGHEST_KEY).and_then(|all| all.as_object());
        all.into_iter().flatten().filter_map(|(name, version)| Some((name.clone(), version.as_u64()?))).collect()
    }

    /// The files of the next publication: what is staged, otherwise what is published.
    pub(super) fn wanted(&self) -> &Targets {
        self.staged.as_ref().unwrap_or(&self.targets.signed)
    }

    /// Keeps a list of files for the next publication.
    pub(super) fn stage(&mut self, targets: Targets) -> Result<()> {
        files::write_json(&self.dir.join("staged.json"), &targets)?;
        self.staged = Some(targets);
        Ok(())
    }

    /// A folder for work on this file system, gone with the value; what a killed process left is removed when the repository is opened to be changed.
    pub(super) fn scratch(&self) -> Result<TempDir> {
        let made = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&self.dir);
        Ok(made.map_err(|source| amis_artifacts::Error::Io { action: "write", path: self.dir.clone(), source })?)
    }

    /// Where the file of an entry lies.
    pub(super) fn target_path(&self, name: &TargetName, target: &Target) -> PathBuf {
        self.dir.join("targets").join(file_of(name, target))
    }

    /// Writes a file of `metadata/`.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(files::write_atomic(&self.dir.join("metadata").join(name), bytes)?)
    }

    /// Writes several files of `metadata/` as one change.
    pub(super) fn write_together(&self, contents: Vec<(String, Vec<u8>)>) -> Result<()> {
        let text = |(name, bytes): (String, Vec<u8>)| Ok((name, String::from_utf8(bytes).map_err(|e| damaged(&self.dir, e))?));
        let pending = Pending { files: contents.into_iter().map(text).collect::<Result<_>>()? };
        files::write_json(&self.dir.join(PENDING), &pending)?;
        write_pending(&self.dir, &pending)
    }

    /// After a publication: forgets the staged list and removes files that neither this publication nor `before`, the one before it, names. Devices that began
    /// to fetch before it can so finish.
    pub(super) fn tidy(&mut self, before: &Targets) -> Result<()> {
        let staged = self.dir.join("staged.json");
        if staged.exists() {
            fs::remove_file(&staged).map_err(|source| amis_artifacts::Error::Io { action: "remove", path: staged, source })?;
        }
        self.staged = None;
        let named: HashSet<String> = before.targets.iter().chain(&self.targets.signed.targets).map(|(name, target)| file_of(name, target)).collect();
        let folder = self.dir.join("targets");
        let io = |source| amis_artifacts::Error::Io { action: "read", path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.file_name().and_then(|n| n.to_str()).is_some_and(|n| !named.contains(n)) {
                fs::remove_file(&path).map_err(|source| amis_artifacts::Error::Io { action: "remove", path, source })?;
            }
        }
        Ok(())
    }
}

/// Locks a repository's folder for the life of the value.
pub(super) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let lock = files::try_lock(&path).map_err(|source| amis_artifacts::Error::Io { action: "lock", path, source })?;
    lock.ok_or_else(|| Error::Locked { path: dir.into() })
}

fn write_pending(dir: &Path, pending: &Pending) -> Result<()> {
    for (name, content) in &pending.files {
        files::write_atomic(&dir.join("metadata").join(name), content.as_bytes())?;
    }
    let path = dir.join(PENDING);
    Ok(fs::remove_file(&path).map_err(|source| amis_artifacts::Error::Io { action: "remove", path, source })?)
}

/// Name of a file in `targets/`: its hash, then its name.
pub(super) fn file_of(name: &TargetName, target: &Target) -> String {
    let hash: String = target.hashes.sha256.iter().map(|b| format!("{b:02x}")).collect();
    format!("{hash}.{}", name.resolved())
}

/// Releases in a list of files, by name and version.
pub(super) fn releases(targets: &Targets) -> BTreeMap<(String, u64), Release> {
    let read = |target: &Target| serde_json::from_value::<Release>(target.custom.get(RELEASE_KEY)?.clone()).ok();
    targets.targets.values().filter_map(read).map(|r| ((r.name.clone(), r.version), r)).collect()
}

/// Patches in a list of files, with the names of their files.
pub(super) fn patches(targets: &Targets) -> Vec<(TargetName, Patch)> {
    let read = |(name, target): (&TargetName, &Target)| Some((name.clone(), serde_json::from_value(target.custom.get(PATCH_KEY)?.clone()).ok()?));
    targets.targets.iter().filter_map(read).collect()
}

/// The highest version that a name ever had in this repository, 0 if none.
pub(super) fn highest(targets: &Targets, name: &str) -> u64 {
    targets._extra.get(HIGHEST_KEY).and_then(|all| all.get(name)?.as_u64()).unwrap_or(0)
}

/// Notes the highest version of a name.
pub(super) fn set_highest(targets: &mut Targets, name: &str, version: u64) {
    let all = targets._extra.entry(HIGHEST_KEY.to_owned()).or_insert_with(|| serde_json::json!({}));
    all[name] = version.into();
}
