//! What the repository offers this device, after all that TUF demands of it was checked.

use std::fs;
use std::path::Path;

use amis_artifacts::files;
use amis_artifacts::release::{DeviceTraits, PATCH_KEY, Patch, RELEASE_KEY, Release, SIGNED_AT_KEY};
use serde::de::DeserializeOwned;
use tough::error::Error as Tuf;
use tough::schema::{Root, Signed, Target};
use tough::{ExpirationEnforcement, Limits, Repository, RepositoryLoader, TargetName, TransportError};
use url::Url;

use super::clock::{self, Judged};
use super::config::Config;
use super::device::Device;
use super::download::{Backoff, Wanted};
use super::error::Attack;
use super::state::State;
use super::transport::Fetcher;
use super::{Error, Result};

/// What is remembered of a repository, in this order: whatever a loss of power leaves of it refuses nothing that is good.
const REMEMBERED: [&str; 4] = ["root.json", "targets.json", "snapshot.json", "timestamp.json"];
/// Sizes of metadata: ours has a few KiB.
const LIMITS: Limits =
    Limits { max_root_size: 256 << 10, max_targets_size: 4 << 20, max_timestamp_size: 64 << 10, max_snapshot_size: 256 << 10, max_root_updates: 256 };

/// A release for this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What is signed of it.
    pub release: Release,
    /// The whole bundle.
    pub bundle: Wanted,
    /// A patch that makes it from the release that serves.
    pub patch: Option<Wanted>,
}

/// What came of a look.
#[derive(Debug)]
pub struct Look {
    /// The best release that this device may take; none if it has it.
    pub offer: Option<Offer>,
    /// The clock that expiry dates were judged by.
    pub judged: Judged,
}

/// Fetches and checks the metadata of the repository, remembers it, and chooses.
///
/// # Errors
/// [`Error::NoRoot`], [`Error::Transport`], [`Error::Repository`]. Of a repository that is refused only new root keys are remembered, which are signed by those before.
pub(super) fn look(device: &Device, config: &Config, fetcher: &Fetcher, traits: &DeviceTraits) -> Result<Look> {
    let (metadata, targets) = config.urls().map_err(|reason| Error::Config { path: device.path("update.toml"), reason })?;
    let known = device.path("tuf");
    let root_path = known.join("root.json");
    if !root_path.exists() {
        return Err(Error::NoRoot { path: root_path });
    }
    let root = files::read_limited(&root_path, "root metadata", LIMITS.max_root_size)?;
    let state = device.state()?;

    // tough writes what it remembers in place, and refuses a clock that steps back: it works on a copy without its note of the time.
    let scratch = tempfile::tempdir_in(device.path("downloads")).map_err(|e| Error::io("create", &device.path("downloads"), e))?;
    for name in REMEMBERED {
        if known.join(name).exists() {
            fs::copy(known.join(name), scratch.path().join(name)).map_err(|e| Error::io("copy", &known.join(name), e))?;
        }
    }
    let loaded = load(fetcher, &root, &metadata, &targets, scratch.path());
    let keep = |names: &[&str]| -> Result<()> {
        for name in names {
            let new = files::read_limited(&scratch.path().join(name), "metadata", LIMITS.max_targets_size)?;
            if fs::read(known.join(name)).ok().as_deref() != Some(&new) {
                files::write_atomic(&known.join(name), &new)?;
            }
        }
        Ok(())
    };
    let repository = match loaded {
        Ok(repository) => repository,
        Err(error) => {
            // Also without the rest: keys that were revoked must not come back.
            if scratch.path().join(REMEMBERED[0]).exists() {
                keep(&REMEMBERED[..1])?;
            }
            return Err(error);
        }
    };
    let signed_at = repository.timestamp().signed._extra.get(SIGNED_AT_KEY).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let judged = clock::judge(clock::now_unix_s(), state.trusted_unix_s.max(signed_at));
    if let Some(reason) = expired(&repository, judged) {
        keep(&REMEMBERED[..1])?;
        return Err(Error::Repository { url: config.repository.clone(), kind: Attack::Expired, reason });
    }
    keep(&REMEMBERED)?;
    device.change(|state| Ok(State { trusted_unix_s: state.trusted_unix_s.max(signed_at), ..state.clone() }))?;
    let offer = choose(&repository, &state, config, traits, &targets, device)?;
    Ok(Look { offer, judged })
}

/// Loads with some patience for the link.
fn load(fetcher: &Fetcher, root: &[u8], metadata: &Url, targets: &Url, datastore: &Path) -> Result<Repository> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| Error::io("start a runtime for", datastore, e))?;
    let mut backoff = Backoff::default();
    loop {
        let loader = RepositoryLoader::new(&root, metadata.clone(), targets.clone())
            .transport(fetcher.clone())
            .limits(LIMITS)
            .datastore(datastore)
            // Dates are judged below, by a clock that cannot be behind.
            .expiration_enforcement(ExpirationEnforcement::Unsafe);
        let error = match runtime.block_on(loader.load()) {
            Ok(repository) => return Ok(repository),
            Err(error) => explained(metadata, &error),
        };
        match backoff.next().filter(|_| matches!(error, Error::Transport { .. })) {
            Some(wait) => {
                tracing::info!("{error}; again in {:.1} s", wait.as_secs_f32());
                std::thread::sleep(wait);
            }
            None => return Err(error),
        }
    }
}

/// The role that has expired, if one has.
fn expired(repository: &Repository, judged: Judged) -> Option<String> {
    let dates = [
        ("root", repository.root().signed.expires),
        ("timestamp", repository.timestamp().signed.expires),
        ("snapshot", repository.snapshot().signed.expires),
        ("targets", repository.targets().signed.expires),
    ];
    let clock = jiff::Timestamp::from_second(judged.unix_s as i64).unwrap_or(jiff::Timestamp::MAX);
    let (role, date) = dates.into_iter().find(|(_, date)| *date < clock)?;
    let whose = if judged.clock_trusted { "the clock of this device" } else { "the latest signature that this device has seen" };
    Some(format!("its {role} was good until {date}, and it is {clock} by {whose}"))
}

/// What tough found, by the protection that found it.
fn explained(metadata: &Url, error: &Tuf) -> Error {
    let refused = |kind| Error::Repository { url: metadata.to_string(), kind, reason: chain(error) };
    match error {
        Tuf::VerifyMetadata { .. } | Tuf::VerifyTrustedMetadata { .. } | Tuf::VerifyRoleMetadata { .. } | Tuf::NoRoleKeysinRoot { .. } => {
            refused(Attack::Signature)
        }
        Tuf::OlderMetadata { .. } | Tuf::OlderSnapshotInTimestamp { .. } | Tuf::SnapshotRoleRollback { .. } | Tuf::SnapshotRoleMissing { .. } => {
            refused(Attack::Rollback)
        }
        Tuf::VersionMismatch { .. } | Tuf::HashMismatch { .. } => refused(Attack::MixAndMatch),
        Tuf::MaxSizeExceeded { .. } | Tuf::MaxUpdatesExceeded { .. } => refused(Attack::TooLarge),
        Tuf::Transport { url, source, .. } => match inner(source) {
            Some(Tuf::HashMismatch { .. }) => refused(Attack::MixAndMatch),
            Some(Tuf::MaxSizeExceeded { .. }) => refused(Attack::TooLarge),
            _ => Error::Transport { url: url.to_string(), reason: source.to_string() },
        },
        _ => refused(Attack::Malformed),
    }
}

/// What tough itself has put into an error of the transport.
fn inner(error: &TransportError) -> Option<&Tuf> {
    std::error::Error::source(error)?.downcast_ref()
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The highest version that is newer than what serves, not bad, and meant for this device.
fn choose(repository: &Repository, state: &State, config: &Config, traits: &DeviceTraits, base: &Url, device: &Device) -> Result<Option<Offer>> {
    let targets = &repository.targets().signed.targets;
    let releases: Vec<(Release, &TargetName, &Target)> =
        targets.iter().filter_map(|(name, target)| Some((custom::<Release>(target, RELEASE_KEY)?, name, target))).collect();
    let wanted_name = match config.name.clone().or_else(|| state.name.clone()) {
        Some(name) => name,
        None => {
            let mut names: Vec<&str> = releases.iter().map(|(r, ..)| r.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            match names[..] {
                [] => return Ok(None),
                [name] => name.to_owned(),
                _ => {
                    let reason = format!("the repository has {}: say which with `name`", names.join(", "));
                    return Err(Error::Config { path: device.path("update.toml"), reason });
                }
            }
        }
    };
    let fits = |release: &Release| {
        release.name == wanted_name
            && release.version > state.current.unwrap_or(0)
            && !state.bad.contains_key(&release.version)
            && config.takes(&release.channels)
            && release.devices.includes(traits)
    };
    let Some((release, name, target)) = releases.into_iter().filter(|(r, ..)| fits(r)).max_by_key(|(r, ..)| r.version) else { return Ok(None) };
    let serving = state.current.map(|v| files::sha256_file(&device.release(v).join("manifest.json"))).transpose()?;
    let is_for = |patch: &Patch| patch.name == release.name && patch.version == release.version && Some(&patch.parent_manifest_sha256) == serving.as_ref();
    let patch = targets.iter().find(|(_, target)| custom::<Patch>(target, PATCH_KEY).is_some_and(|patch| is_for(&patch)));
    Ok(Some(Offer { bundle: wanted(base, name, target)?, patch: patch.map(|(name, target)| wanted(base, name, target)).transpose()?, release }))
}

fn custom<T: DeserializeOwned>(target: &Target, key: &str) -> Option<T> {
    serde_json::from_value(target.custom.get(key)?.clone()).ok()
}

/// With consistent snapshots, which our repositories have, a target's file begins with its hash.
fn wanted(base: &Url, name: &TargetName, target: &Target) -> Result<Wanted> {
    let sha256 = target.hashes.sha256.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let file = format!("{sha256}.{}", name.resolved());
    let url = base.join(&file).map_err(|e| Error::Repository { url: base.to_string(), kind: Attack::Malformed, reason: format!("target {file:?}: {e}") })?;
    Ok(Wanted { url, bytes: target.length, sha256 })
}

/// Puts a root of trust in place, for a device that has none.
///
/// # Errors
/// [`Error::Refused`] if there is another one; not a root that is signed by its own keys.
pub fn trust(device: &Device, root: &Path) -> Result<()> {
    // What root.json becomes with time has other bytes.
    let given = device.path("tuf").join("trusted.json");
    let bytes = files::read_limited(root, "root metadata", LIMITS.max_root_size)?;
    let malformed = |reason: String| amis_artifacts::Error::Malformed { what: "root metadata", path: root.to_owned(), reason };
    let parsed: Signed<Root> = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    parsed.signed.verify_role(&parsed).map_err(|e| malformed(chain(&e)))?;
    match fs::read(&given) {
        Ok(known) if known == bytes => Ok(()),
        Ok(_) => {
            let reason = format!("this device trusts another repository already; remove {} to trust this one", device.path("tuf").display());
            Err(Error::Refused { reason })
        }
        Err(_) => {
            files::write_atomic(&device.path("tuf").join("root.json"), &bytes)?;
            Ok(files::write_atomic(&given, &bytes)?)
        }
    }
}
