//! The folder of a device that takes updates, usually `/var/lib/amis`.
//!
//! ```text
//! update.toml          where updates come from, see `Config`
//! state.json           the one truth, see `State`
//! releases/<version>/  unpacked bundles, with what was measured of them (`choice.json`)
//! current, previous    links to releases, for people and scripts; made after state.json
//! tuf/                 what is known of the repository: root.json comes with the device
//! downloads/           files on their way, kept to go on with
//! staging/             a release on its way, removed if something ends it
//! reserve              room, given up when state.json must be written to a full disk
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use amis_artifacts::files;

use super::state::{Event, FORMAT_VERSION, State};
use super::{Error, Result};

/// Size of `reserve`: many times that of state.json.
const RESERVE_BYTES: usize = 1 << 20;

/// A device's folder.
#[derive(Debug, Clone)]
pub struct Device {
    root: PathBuf,
}

/// Held by the one who fetches and installs; another one is refused.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

impl Device {
    /// Opens the folder and makes what is missing in it. Links that a loss of power has left behind are made anew.
    ///
    /// # Errors
    /// The folder cannot be written, or its state cannot be read.
    pub fn open(root: &Path) -> Result<Self> {
        let device = Self { root: root.to_owned() };
        for folder in [device.root.clone(), device.path("releases"), device.path("tuf"), device.path("downloads")] {
            fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        }
        let _lock = device.lock()?;
        device.keep_reserve();
        device.link(&device.state()?)?;
        Ok(device)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A place in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where a version's release lies.
    pub fn release(&self, version: u64) -> PathBuf {
        self.path("releases").join(version.to_string())
    }

    /// Folder for the control socket of the run on this device.
    pub fn run_folder(&self) -> PathBuf {
        self.path("run")
    }

    /// Where the device stands.
    ///
    /// # Errors
    /// `state.json` cannot be read, or is not of this version.
    pub fn state(&self) -> Result<State> {
        let path = self.path("state.json");
        if !path.exists() {
            return Ok(State::default());
        }
        let state: State = files::read_json(&path, "state of a device")?;
        if state.format_version != FORMAT_VERSION {
            let reason = format!("format version {}, this tool reads {FORMAT_VERSION}", state.format_version);
            return Err(amis_artifacts::Error::Malformed { what: "state of a device", path, reason }.into());
        }
        Ok(state)
    }

    /// Lets something happen, and keeps the state after it.
    ///
    /// # Errors
    /// [`Error::Refused`] if it cannot happen now; the disk. The state is unchanged then.
    pub fn happen(&self, event: Event) -> Result<State> {
        self.change(|state| state.after(event))
    }

    /// Changes the state while nobody else does.
    pub(super) fn change(&self, change: impl FnOnce(&State) -> std::result::Result<State, String>) -> Result<State> {
        let _lock = self.lock()?;
        let old = self.state()?;
        let new = change(&old).map_err(|reason| Error::Refused { reason })?;
        if new != old {
            self.save(&new)?;
            self.link(&new)?;
        }
        Ok(new)
    }

    /// Takes the turn to fetch and install, and clears what an interrupted one has left.
    ///
    /// # Errors
    /// [`Error::Busy`]; the disk.
    pub fn turn(&self) -> Result<Turn> {
        let path = self.path("update.lock");
        let lock = files::try_lock(&path).map_err(|e| Error::io("lock", &path, e))?;
        let lock = lock.ok_or_else(|| Error::Busy { root: self.root.clone() })?;
        self.happen(Event::GaveUp)?;
        remove(&self.path("staging")).map_err(|e| Error::io("remove", &self.path("staging"), e))?;
        for folder in [self.root.clone(), self.path("tuf"), self.path("downloads")] {
            files::remove_temporaries(&folder);
        }
        self.prune()?;
        Ok(Turn { _lock: lock })
    }

    /// Removes releases that are neither current nor previous.
    pub(super) fn prune(&self) -> Result<()> {
        let _lock = self.lock()?;
        let state = self.state()?;
        let kept: Vec<PathBuf> = [state.current, state.previous].iter().flatten().map(|&version| self.release(version)).collect();
        let releases = self.path("releases");
        for entry in fs::read_dir(&releases).map_err(|e| Error::io("list", &releases, e))?.flatten() {
            if !kept.contains(&entry.path()) {
                tracing::info!("{} is removed", entry.path().display());
                remove(&entry.path()).map_err(|e| Error::io("remove", &entry.path(), e))?;
            }
        }
        Ok(())
    }

    /// Waits for a lock.
    fn lock(&self) -> Result<File> {
        let path = self.path("state.lock");
        let locked = File::options().create(true).truncate(false).write(true).open(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|e| Error::io("lock", &path, e))
    }

    /// Writes the state; on a full disk with the room of the reserve.
    fn save(&self, state: &State) -> Result<()> {
        let path = self.path("state.json");
        match files::write_json(&path, state) {
            Err(amis_artifacts::Error::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                tracing::warn!("the disk is full: the reserve is given up for the state");
                let _ = fs::remove_file(self.path("reserve"));
                Ok(files::write_json(&path, state)?)
            }
            written => Ok(written?),
        }
    }

    /// Without it there is less safety, and nothing else is wrong.
    fn keep_reserve(&self) {
        let path = self.path("reserve");
        let there = fs::metadata(&path).is_ok_and(|m| m.len() == RESERVE_BYTES as u64);
        let write = || File::create(&path).and_then(|mut f| f.write_all(&[0xA5; RESERVE_BYTES]).and_then(|()| f.sync_all()));
        if !there && let Err(error) = write() {
            tracing::warn!("no room is reserved for the state: {error}");
            let _ = fs::remove_file(&path);
        }
    }

    /// Lets the links follow the state.
    fn link(&self, state: &State) -> Result<()> {
        for (name, version) in [("current", state.current), ("previous", state.previous)] {
            let path = self.path(name);
            let target = version.map(|v| PathBuf::from("releases").join(v.to_string()));
            if fs::read_link(&path).ok() == target {
                continue;
            }
            let made = match &target {
                None => fs::remove_file(&path),
                Some(target) => {
                    let new = self.path(&format!(".{name}.new"));
                    let _ = fs::remove_file(&new);
                    symlink(target, &new).and_then(|()| fs::rename(&new, &path))
                }
            };
            made.map_err(|e| Error::io("link", &path, e))?;
        }
        Ok(())
    }
}

/// Removes a file or folder, if it is there.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Makes what a folder lists survive a loss of power.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path).and_then(|f| f.sync_all())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::update::state::{Bad, Phase};

    fn committed(device: &Device, version: u64) {
        fs::create_dir_all(device.release(version)).unwrap();
        device.happen(Event::Install(version)).unwrap();
        device.happen(Event::Committed { name: "yard".into() }).unwrap();
        device.happen(Event::Healthy).unwrap();
    }

    #[test]
    fn links_follow_the_state_and_are_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::open(dir.path()).unwrap();
        committed(&device, 1);
        committed(&device, 2);
        assert_eq!(fs::read_link(dir.path().join("current")).unwrap(), Path::new("releases/2"));
        assert_eq!(fs::read_link(dir.path().join("previous")).unwrap(), Path::new("releases/1"));
        fs::remove_file(dir.path().join("current")).unwrap();
        symlink("releases/77", dir.path().join("current")).unwrap();
        Device::open(dir.path()).unwrap();
        assert_eq!(fs::read_link(dir.path().join("current")).unwrap(), Path::new("releases/2"));
        device.happen(Event::RolledBack(Bad { reason: "by hand".into(), unix_s: 0, log: vec![] })).unwrap();
        assert_eq!(fs::read_link(dir.path().join("current")).unwrap(), Path::new("releases/1"));
        assert!(!dir.path().join("previous").exists());
    }

    #[test]
    fn a_turn_clears_what_was_interrupted_and_there_is_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::open(dir.path()).unwrap();
        committed(&device, 1);
        device.happen(Event::Fetch(2)).unwrap();
        fs::create_dir_all(dir.path().join("staging/deep")).unwrap();
        fs::create_dir_all(device.release(9)).unwrap();
        fs::write(dir.path().join("downloads/yard-2.amis"), b"half").unwrap();
        let turn = device.turn().unwrap();
        assert_eq!(device.state().unwrap().phase, Phase::Idle);
        assert!(!dir.path().join("staging").exists() && !device.release(9).exists() && device.release(1).exists());
        assert!(dir.path().join("downloads/yard-2.amis").exists());
        assert!(matches!(device.turn().unwrap_err(), Error::Busy { .. }));
        drop(turn);
        device.turn().unwrap();
    }

    #[test]
    fn what_is_refused_changes_nothing_and_another_format_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::open(dir.path()).unwrap();
        assert!(matches!(device.happen(Event::Healthy).unwrap_err(), Error::Refused { .. }));
        assert!(!dir.path().join("state.json").exists());
        let mut state = State { format_version: 99, ..State::default() };
        state.current = Some(1);
        fs::write(dir.path().join("state.json"), serde_json::to_string(&state).unwrap()).unwrap();
        assert!(device.happen(Event::Started).unwrap_err().to_string().contains("format version 99"));
    }
}
