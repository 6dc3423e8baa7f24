//! Reading with limits, writing atomically, hashing.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Largest JSON document that is read, in bytes: manifests and tables stay far below.
pub const MAX_JSON_BYTES: u64 = 64 << 20;

/// How the temporary files of [`write_atomic`] are called.
const TEMPORARY: (&str, &str) = (".amis-", ".tmp");

/// Reads a whole file of at most `limit_bytes`.
///
/// # Errors
/// The file cannot be read, or is larger.
pub fn read_limited(path: &Path, what: &'static str, limit_bytes: u64) -> Result<Vec<u8>> {
    let io = |source| Error::Io { action: "read", path: path.into(), source };
    let file = File::open(path).map_err(io)?;
    let found_bytes = file.metadata().map_err(io)?.len();
    if found_bytes > limit_bytes {
        return Err(Error::TooLarge { what, path: path.into(), found_bytes, limit_bytes });
    }
    let mut bytes = Vec::with_capacity(found_bytes as usize);
    // The file may grow, or be a pipe that has no length: the limit holds for what arrives.
    file.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(Error::TooLarge { what, path: path.into(), found_bytes: bytes.len() as u64, limit_bytes });
    }
    Ok(bytes)
}

/// Reads a JSON document of at most [`MAX_JSON_BYTES`].
///
/// # Errors
/// Unreadable, too large, or not of this structure (the reason names line and field).
pub fn read_json<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T> {
    let bytes = read_limited(path, what, MAX_JSON_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Malformed { what, path: path.into(), reason: e.to_string() })
}

/// Writes a value as indented JSON, atomically.
///
/// # Errors
/// The folder is not writable or the disk is full.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::Malformed { what: "JSON document", path: path.into(), reason: e.to_string() })?;
    bytes.push(b'\n');
    write_atomic(path, &bytes)
}

/// Writes beside the target, syncs, then renames: a reader sees the old file or the new one, never a part.
///
/// # Errors
/// The folder cannot be made, is not writable, or the disk is full; the old file is untouched then.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| Error::Io { action: "write", path: path.into(), source })?;
    file.commit()
}

/// The same for what comes in pieces: a file that gets its name when all of it is there. Dropped before, it leaves nothing.
pub struct AtomicFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl AtomicFile {
    /// Starts the file; its folder is made if it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or is not writable.
    pub fn create(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { action: "write", path: path.into(), source };
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(io)?;
        let file = tempfile::Builder::new().prefix(TEMPORARY.0).suffix(TEMPORARY.1).tempfile_in(folder).map_err(io)?;
        Ok(Self { path: path.into(), file })
    }

    /// Syncs the file, gives it its name and syncs the folder.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn commit(self) -> Result<()> {
        let io = |source| Error::Io { action: "write", path: self.path.clone(), source };
        allow_reading(self.file.as_file()).map_err(io)?;
        self.file.as_file().sync_all().map_err(io)?;
        self.file.persist(&self.path).map_err(|e| io(e.error))?;
        // The rename itself must survive a power cut.
        File::open(folder_of(&self.path)).and_then(|f| f.sync_all()).map_err(io)
    }

    /// Bytes written so far.
    ///
    /// # Errors
    /// The disk fails.
    pub fn len_bytes(&self) -> Result<u64> {
        self.file.as_file().metadata().map(|m| m.len()).map_err(|source| Error::Io { action: "write", path: self.path.clone(), source })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes what writers that were killed have left in a folder; returns how many files that were.
///
/// Only for a folder in which nobody is writing.
pub fn remove_temporaries(folder: &Path) -> usize {
    let is_temporary = |path: &Path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1)
    };
    let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    found.filter(|path| is_temporary(path) && fs::remove_file(path).is_ok()).count()
}

/// Takes a lock that lasts as long as the file is open; none if another has it.
///
/// Patient for half a second: a process that is just being started has a copy of every open file until its program begins, and so holds a lock that was given back.
///
/// # Errors
/// The file cannot be made or locked.
pub fn try_lock(path: &Path) -> std::io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    for _ in 0..10 {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::Error(source)) => return Err(source),
        }
    }
    Ok(None)
}

/// Temporary files are private; results are for everybody who may read the folder.
fn allow_reading(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// SHA-256 of bytes, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's content, read in pieces.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let io = |source| Error::Io { action: "read", path: path.into(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(io)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&piece[..n]),
        }
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_atomic(&path, b"12345").unwrap();
        assert_eq!(read_limited(&path, "test", 5).unwrap(), b"12345");
        assert!(matches!(read_limited(&path, "test", 4), Err(Error::TooLarge { found_bytes: 5, .. })));
    }

    #[test]
    fn the_hash_is_the_standard_one() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn atomic_writing_leaves_nothing_else_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/x.json");
        write_json(&path, &[1, 2]).unwrap();
        write_json(&path, &[3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path, "test").unwrap(), [3]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_is_one_s_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
        assert!(try_lock(&dir.path().join("no/lock")).is_err());
    }

    #[test]
    fn only_left_over_temporary_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        write_atomic(&dir.path().join("x.tmp"), b"mine").unwrap();
        fs::write(dir.path().join(".amis-Ab12Cd.tmp"), b"half").unwrap();
        assert_eq!(remove_temporaries(dir.path()), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(remove_temporaries(&dir.path().join("nowhere")), 0);
    }
}
