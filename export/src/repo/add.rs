use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use amis_artifacts::bundle::{self, BundleManifest};
use amis_artifacts::files;
use amis_artifacts::release::{Devices, RELEASE_KEY, Release, bundle_file};
use serde::Serialize;
use tough::TargetName;
use tough::schema::{Target, Targets};

use super::delta;
use super::gate::{Comparison, Gate};
use super::sign::{damaged, hashes};
use super::store::{Repository, highest, releases, set_highest};
use crate::{Error, Result};

/// Who gets a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The few that try it first.
    Canary,
    /// Everybody.
    Stable,
}

impl Channel {
    /// The channels that a release is in: what is stable is for those who try things first, too.
    pub(super) fn names(self) -> Vec<String> {
        let names: &[&str] = match self {
            Self::Canary => &["canary"],
            Self::Stable => &["canary", "stable"],
        };
        names.iter().map(|n| (*n).to_owned()).collect()
    }
}

/// A release that was staged.
#[derive(Debug, Serialize)]
pub struct Added {
    /// `<name>-<version>`.
    pub release: String,
    /// Size of the bundle.
    pub bytes: u64,
    /// Channels that it will be in.
    pub channels: Vec<String>,
    /// The release that it was compared with, if there is one.
    pub parent: Option<String>,
    /// Size of the patch that makes it from the parent, if one is worth it.
    pub patch_bytes: Option<u64>,
    /// Each graph beside the parent's.
    pub comparisons: Vec<Comparison>,
}

/// Checks a bundle and stages it for the next publication.
///
/// # Errors
/// A damaged bundle, a version that is not higher than every one before, the gate, or the disk.
pub fn add(repository: &mut Repository, path: &Path, channel: Channel, devices: Devices, gate: &Gate) -> Result<Added> {
    let manifest = bundle::read_manifest(path)?;
    let (name, version) = (manifest.name.clone(), manifest.version);
    let release = format!("{name}-{version}");
    let mut wanted = repository.wanted().clone();
    let file = TargetName::new(bundle_file(&name, version)).map_err(|e| damaged(path, e))?;
    let highest = highest(&wanted, &name);
    let sha256 = hashes(&files::sha256_file(path)?)?;
    // The very same bundle may come again: to change channel and devices, or because the first time was interrupted.
    let again = wanted.targets.remove(&file).is_some_and(|target| target.hashes == sha256);
    if version <= highest && !again {
        return Err(Error::Version { release, highest });
    }
    let parent = parent(repository, &wanted, &manifest)?;
    let comparisons = gate.check(&manifest, parent.as_ref().map(|(manifest, _)| manifest))?;
    // Reads it to the end: a bundle with a damaged file is refused here and not by a thousand devices.
    let scratch = repository.scratch()?;
    bundle::unpack(path, scratch.path())?;

    let entry = Release {
        name: name.clone(),
        version,
        manifest_sha256: bundle::manifest_sha256(scratch.path())?,
        unpacked_bytes: manifest.unpacked_bytes(),
        channels: channel.names(),
        devices,
    };
    let custom = serde_json::to_value(&entry).map_err(|e| damaged(path, e))?;
    let target = keep(repository, path, &file, HashMap::from([(RELEASE_KEY.to_owned(), custom)]))?;
    let bytes = target.length;
    wanted.targets.insert(file, target);
    let patch = parent.as_ref().map(|(parent, file)| delta::make(repository, (parent, file), (&manifest, scratch.path()), bytes)).transpose()?.flatten();
    let patch_bytes = patch.as_ref().map(|(_, target)| target.length);
    wanted.targets.extend(patch);
    set_highest(&mut wanted, &name, version.max(highest));
    repository.stage(wanted)?;
    let parent = parent.map(|(p, _)| format!("{}-{}", p.name, p.version));
    Ok(Added { release, bytes, channels: entry.channels, parent, patch_bytes, comparisons })
}

/// The release that a bundle comes from, with its file: the one that it names as its parent, or that of its parent checkpoint; if neither is here, the newest
/// of its name.
fn parent(repository: &Repository, wanted: &Targets, new: &BundleManifest) -> Result<Option<(BundleManifest, PathBuf)>> {
    let mut newest = None;
    for ((name, version), release) in releases(wanted).into_iter().rev().filter(|((name, _), _)| *name == new.name) {
        let file = TargetName::new(bundle_file(&name, version)).map_err(|e| damaged(&repository.dir, e))?;
        let path = repository.target_path(&file, &wanted.targets[&file]);
        let manifest = bundle::read_manifest(&path)?;
        if newest.is_none() {
            // That is what devices run, whatever the bundle was trained from.
            new.classes.must_extend(&manifest.classes)?;
        }
        let is_parent = match &new.parent {
            Some(parent) => parent.manifest_sha256 == release.manifest_sha256,
            None => new.lineage.parent_sha256.as_ref() == Some(&manifest.lineage.checkpoint_sha256),
        };
        if is_parent {
            return Ok(Some((manifest, path)));
        }
        newest.get_or_insert((manifest, path));
    }
    Ok(newest)
}

/// Copies a file into `targets/` under its hash, synced, and gives its entry.
pub(super) fn keep(repository: &Repository, path: &Path, name: &TargetName, custom: HashMap<String, serde_json::Value>) -> Result<Target> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| amis_artifacts::Error::Io { action, path, source }
    };
    let folder = repository.dir.join("targets");
    let mut copy = tempfile::Builder::new().prefix(".amis-").suffix(".tmp").tempfile_in(&folder).map_err(failed("write", &folder))?;
    let length = io::copy(&mut File::open(path).map_err(failed("read", path))?, &mut copy).map_err(failed("copy", path))?;
    // What was written is what is signed, whatever happens to the original meanwhile.
    let target = Target { length, hashes: hashes(&files::sha256_file(copy.path())?)?, custom, _extra: HashMap::new() };
    let place = repository.target_path(name, &target);
    {
        use std::os::unix::fs::PermissionsExt;
        copy.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed("write", &place))?;
    }
    copy.as_file().sync_all().map_err(failed("write", &place))?;
    copy.persist(&place).map_err(|e| failed("write", &place)(e.error))?;
    File::open(&folder).and_then(|f| f.sync_all()).map_err(failed("write", &folder))?;
    Ok(target)
}
