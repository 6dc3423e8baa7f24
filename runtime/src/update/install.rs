//! From a bundle to the release that serves: unpacked aside, tried, and made current by one rename.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use amis_artifacts::bundle::{self, BundleManifest};
use amis_artifacts::release::Release;
use amis_artifacts::{files, patch};

use super::clock::now_unix_s;
use super::device::{Device, remove, sync_folder};
use super::state::{Bad, Event, State};
use super::trial::{self, CHOICE_FILE};
use super::{Error, Result};

/// Room that stays free, beside what a release takes.
const SPARE_BYTES: u64 = 16 << 20;

/// What is to be installed.
pub(super) enum Package {
    /// A bundle.
    Bundle(PathBuf),
    /// A patch against the release that serves.
    Patch(PathBuf),
}

/// Installs what lies here; the device is in the phase `installing`. `signed` is what the repository says of it.
///
/// # Errors
/// Whatever is wrong; the device is idle then, and the version is bad if it was its fault ([`Error::Unfit`]).
pub(super) fn install(device: &Device, package: &Package, signed: Option<&Release>, program: &mut dyn FnMut() -> Command) -> Result<State> {
    let installed = stage(device, package, signed, program).and_then(|manifest| commit(device, &manifest));
    if let Err(error) = &installed {
        device.happen(match error {
            Error::Unfit { reason, .. } => Event::Failed(Bad { reason: reason.clone(), unix_s: now_unix_s(), log: vec![] }),
            _ => Event::GaveUp,
        })?;
        let _ = remove(&device.path("staging"));
    }
    installed
}

/// Unpacks into `staging/` and tries what is there.
fn stage(device: &Device, package: &Package, signed: Option<&Release>, program: &mut dyn FnMut() -> Command) -> Result<BundleManifest> {
    let staging = device.path("staging");
    remove(&staging).and_then(|()| fs::create_dir(&staging)).map_err(|e| Error::io("create", &staging, e))?;
    let current = device.state()?.current.map(|version| device.release(version));
    let manifest = match (package, &current) {
        (Package::Bundle(path), _) => bundle::unpack(path, &staging).map_err(|error| damaged(error, signed))?,
        (Package::Patch(path), Some(parent)) => patch::apply(parent, path, &staging)?,
        (Package::Patch(_), None) => return Err(Error::Refused { reason: "a patch needs the release that it starts from, and there is none".into() }),
    };
    let unfit = |reason: String| Error::Unfit { name: manifest.name.clone(), version: manifest.version, reason };
    if let Some(signed) = signed {
        let found = files::sha256_file(&staging.join("manifest.json"))?;
        if (&manifest.name, manifest.version, &found) != (&signed.name, signed.version, &signed.manifest_sha256) {
            return Err(unfit(format!(
                "its manifest is of {} version {} with SHA-256 {found}, signed is {}",
                manifest.name, manifest.version, signed.manifest_sha256
            )));
        }
    }
    manifest.require_runtime(&staging, env!("CARGO_PKG_VERSION")).map_err(|e| unfit(e.to_string()))?;
    if let Some(current) = &current {
        let serving = bundle::read_folder(current)?;
        if serving.name != manifest.name {
            return Err(unfit(format!("this device runs {}", serving.name)));
        }
        manifest.classes.must_extend(&serving.classes).map_err(|e| unfit(e.to_string()))?;
    }
    let choice = trial::choose(&staging, &manifest, program)?;
    files::write_json(&staging.join(CHOICE_FILE), &choice)?;
    Ok(manifest)
}

/// A damaged bundle that is the signed one was damaged when it was signed: no other try makes it better.
fn damaged(error: amis_artifacts::Error, signed: Option<&Release>) -> Error {
    match (&error, signed) {
        (amis_artifacts::Error::Io { .. }, _) | (_, None) => error.into(),
        (_, Some(signed)) => Error::Unfit { name: signed.name.clone(), version: signed.version, reason: error.to_string() },
    }
}

/// Gives the release its place, and then lets it be the current one.
fn commit(device: &Device, manifest: &BundleManifest) -> Result<State> {
    let (staging, release) = (device.path("staging"), device.release(manifest.version));
    let moved = remove(&release)
        .and_then(|()| fs::rename(&staging, &release))
        .and_then(|()| sync_folder(&device.path("releases")))
        .and_then(|()| sync_folder(device.root()));
    moved.map_err(|e| Error::io("move to", &release, e))?;
    device.happen(Event::Committed { name: manifest.name.clone() })
}

/// Whether the disk has room for so many bytes and a reserve.
///
/// # Errors
/// [`Error::NoSpace`]; the disk cannot be asked.
pub(super) fn need(path: &Path, bytes: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(path).map_err(|e| Error::io("ask the disk of", path, e.into()))?;
    let (free_bytes, needed_bytes) = (disk.f_bavail.saturating_mul(disk.f_frsize), bytes.saturating_add(SPARE_BYTES));
    if free_bytes < needed_bytes { Err(Error::NoSpace { path: path.to_owned(), free_bytes, needed_bytes }) } else { Ok(()) }
}
