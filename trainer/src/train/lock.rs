use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use amis_artifacts::Error as ArtifactError;

use crate::{Error, Result};

/// File that holds the number of the process that trains; the system locks it and lets go when that process ends, however it ends.
const FILE: &str = "run.lock";

/// The only process that works in a run folder, as long as this is not dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder, which is made if it is missing.
    ///
    /// # Errors
    /// Another process has it, or the folder is not writable.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let io = |source| ArtifactError::Io { action: "write", path: path.clone(), source };
        fs::create_dir_all(dir).map_err(io)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let _ = file.take(16).read_to_string(&mut process);
                return Err(Error::BusyRun { path: dir.into(), process: process.trim().to_owned() });
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => tracing::warn!("{} cannot be locked ({error}): see that no second process trains there", path.display()),
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
        Ok(Self { _file: file })
    }
}
