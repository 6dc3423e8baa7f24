use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Fault, FileEntry};
use crate::files::{self, AtomicFile};
use crate::{Error, Result};

/// A file of a bundle on its way into a folder: counted and hashed while it is written, it gets its name when size and hash are right.
pub(crate) struct Incoming<'a> {
    /// Where it comes from, for messages.
    source: &'a Path,
    entry: &'a FileEntry,
    target: PathBuf,
    file: AtomicFile,
    hasher: Sha256,
    bytes: u64,
}

impl<'a> Incoming<'a> {
    /// Starts a file that the manifest of the bundle `source` names.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn create(source: &'a Path, entry: &'a FileEntry, dir: &Path) -> Result<Self> {
        let target = dir.join(&entry.file);
        Ok(Self { source, entry, file: AtomicFile::create(&target)?, target, hasher: Sha256::new(), bytes: 0 })
    }

    /// Takes the next bytes, never more than the manifest says.
    ///
    /// # Errors
    /// [`Fault::Size`], or the disk.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.entry.bytes {
            return Err(self.size());
        }
        self.hasher.update(piece);
        self.file.write_all(piece).map_err(|source| Error::Io { action: "write", path: self.target.clone(), source })
    }

    /// Checks what has come, syncs it and gives it its name.
    ///
    /// # Errors
    /// [`Fault::Size`], [`Fault::Hash`], or the disk.
    pub(crate) fn finish(self) -> Result<()> {
        if self.bytes != self.entry.bytes {
            return Err(self.size());
        }
        let found = files::hex(&self.hasher.finalize());
        if found != self.entry.sha256 {
            let fault = Fault::Hash { name: self.entry.file.clone(), found, expected: self.entry.sha256.clone() };
            return Err(Error::Bundle { path: self.source.into(), fault });
        }
        self.file.commit()
    }

    fn size(&self) -> Error {
        let FileEntry { file, bytes, .. } = self.entry;
        let fault = Fault::Size { name: file.clone(), found_bytes: self.bytes, expected_bytes: *bytes };
        Error::Bundle { path: self.source.into(), fault }
    }
}
