use serde::Serialize;
use tough::TargetName;

use super::add::Channel;
use super::sign::damaged;
use super::store::{Repository, patches, releases};
use crate::{Error, Result};
use amis_artifacts::release::{RELEASE_KEY, bundle_file};

/// A change that the next publication makes.
#[derive(Debug, Serialize)]
pub struct Staged {
    /// The release, `<name>-<version>`.
    pub release: String,
    /// Channels that it will be in; none if it is withdrawn.
    pub channels: Vec<String>,
}

/// Stages that a release of canary is in stable as well.
///
/// # Errors
/// No such release, or the disk.
pub fn promote(repository: &mut Repository, release: &str) -> Result<Staged> {
    let (name, mut found) = find(repository, release)?;
    found.channels = Channel::Stable.names();
    let mut wanted = repository.wanted().clone();
    let custom = serde_json::to_value(&found).map_err(|e| damaged(&repository.dir, e))?;
    if let Some(target) = wanted.targets.get_mut(&name) {
        target.custom.insert(RELEASE_KEY.into(), custom);
    }
    repository.stage(wanted)?;
    Ok(Staged { release: release.to_owned(), channels: found.channels })
}

/// Stages that a release is withdrawn, with the patches that make it. Its version is not given again.
///
/// # Errors
/// No such release, or the disk.
pub fn remove(repository: &mut Repository, release: &str) -> Result<Staged> {
    let (name, found) = find(repository, release)?;
    let mut wanted = repository.wanted().clone();
    wanted.targets.remove(&name);
    for (patch, of) in patches(&wanted) {
        if of.name == found.name && of.version == found.version {
            wanted.targets.remove(&patch);
        }
    }
    repository.stage(wanted)?;
    Ok(Staged { release: release.to_owned(), channels: Vec::new() })
}

/// A release by `<name>-<version>`, published or staged.
fn find(repository: &Repository, release: &str) -> Result<(TargetName, amis_artifacts::release::Release)> {
    let all = releases(repository.wanted());
    let found = all.iter().find(|((name, version), _)| format!("{name}-{version}") == release);
    let Some(((name, version), found)) = found else {
        let known = all.keys().map(|(name, version)| format!("{name}-{version}")).collect::<Vec<_>>();
        return Err(Error::NoRelease { release: release.to_owned(), known: if known.is_empty() { "it is empty".into() } else { known.join(", ") } });
    };
    let file = TargetName::new(bundle_file(name, *version)).map_err(|e| damaged(&repository.dir, e))?;
    Ok((file, found.clone()))
}
