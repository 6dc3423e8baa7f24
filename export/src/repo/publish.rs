use std::collections::HashMap;
use std::num::NonZeroU64;

use amis_artifacts::release::SIGNED_AT_KEY;
use jiff::Timestamp;
use serde::Serialize;
use tough::schema::{self, Metafile, RoleType};

use super::keys::KeyRing;
use super::sign::{SPEC_VERSION, encode, expiry, is_due, lifetime_days, next, require, sign};
use super::store::{Repository, releases};
use crate::Result;

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What is staged, and everything that is due.
    Staged,
    /// Nothing new: what is staged stays so.
    Renewal,
}

/// What a publication did.
#[derive(Debug, Serialize)]
pub struct Published {
    /// Version of `timestamp.json`.
    pub timestamp: u64,
    /// When devices stop to believe it, unless it is renewed.
    pub expires: Timestamp,
    /// Roles that were signed.
    pub signed: Vec<String>,
    /// Releases that are new, or in other channels than before.
    pub released: Vec<String>,
    /// Releases that are gone.
    pub withdrawn: Vec<String>,
    /// Roles that should be signed soon, whose keys were not at hand.
    pub due: Vec<String>,
}

/// Signs what is staged and renews the timestamp, which then holds for `timestamp_days`. Other roles are signed as well when two thirds of their time are over and their
/// keys are at hand.
///
/// # Errors
/// A key that is needed is missing or does not open, or the disk. Devices see the old repository then.
pub fn publish(repository: &mut Repository, ring: &mut KeyRing, what: What, timestamp_days: i64, now: Timestamp) -> Result<Published> {
    let root = repository.root.signed.clone();
    let changed = repository.staged.is_some() && what == What::Staged;
    let (mut signed, mut due) = (Vec::new(), Vec::new());
    let mut renew = |role: RoleType, expires: Timestamp| {
        let wanted = is_due(role, expires, now);
        let able = wanted && ring.can_sign(&root, role);
        if wanted && !able {
            due.push(role.to_string());
        }
        able
    };
    let new_root = renew(RoleType::Root, root.expires);
    // Whoever signs a list of files has to sign the snapshot that names it.
    let new_targets = changed || (renew(RoleType::Targets, repository.targets.signed.expires) && ring.can_sign(&root, RoleType::Snapshot));
    let new_snapshot = new_targets || renew(RoleType::Snapshot, repository.snapshot.signed.expires);
    // All keys are opened before the first file is written.
    let root_keys = if new_root { Some(ring.enough(&root, RoleType::Root)?) } else { None };
    let targets_keys = if new_targets { Some(ring.enough(&root, RoleType::Targets)?) } else { None };
    let snapshot_keys = if new_snapshot { Some(ring.enough(&root, RoleType::Snapshot)?) } else { None };
    let timestamp_keys = ring.enough(&root, RoleType::Timestamp)?;

    let before = repository.targets.signed.clone();
    if let Some(keys) = targets_keys {
        let mut targets = if changed { repository.wanted().clone() } else { before.clone() };
        targets.version = next(before.version);
        targets.expires = expiry(now, lifetime_days(RoleType::Targets));
        repository.targets = sign(targets, &keys)?;
        require(&root, &repository.targets)?;
        repository.write(&format!("{}.targets.json", repository.targets.signed.version), &encode(&repository.targets)?.0)?;
        signed.push(RoleType::Targets.to_string());
    }
    if let Some(keys) = snapshot_keys {
        let mut snapshot = repository.snapshot.signed.clone();
        snapshot.version = next(snapshot.version);
        snapshot.expires = expiry(now, lifetime_days(RoleType::Snapshot));
        if new_targets {
            snapshot.meta.insert("targets.json".into(), encode(&repository.targets)?.1);
        }
        repository.snapshot = sign(snapshot, &keys)?;
        require(&root, &repository.snapshot)?;
        repository.write(&format!("{}.snapshot.json", repository.snapshot.signed.version), &encode(&repository.snapshot)?.0)?;
        signed.push(RoleType::Snapshot.to_string());
    }
    if let Some(keys) = root_keys {
        let mut renewed = root.clone();
        renewed.version = next(root.version);
        renewed.expires = expiry(now, lifetime_days(RoleType::Root));
        repository.root = sign(renewed, &keys)?;
        require(&root, &repository.root)?;
        repository.write(&format!("{}.root.json", repository.root.signed.version), &encode(&repository.root)?.0)?;
        signed.push(RoleType::Root.to_string());
    }
    let meta = if new_snapshot {
        encode(&repository.snapshot)?.1
    } else {
        // The file is as it was, byte for byte, which writing it again need not be.
        repository.timestamp.signed.meta["snapshot.json"].clone()
    };
    let timestamp = timestamp_for(next(repository.timestamp.signed.version), meta, now, timestamp_days);
    repository.timestamp = sign(timestamp, &timestamp_keys)?;
    require(&root, &repository.timestamp)?;
    repository.write("timestamp.json", &encode(&repository.timestamp)?.0)?;
    signed.push(RoleType::Timestamp.to_string());
    let (old, new) = (releases(&before), releases(&repository.targets.signed));
    if what == What::Staged {
        repository.tidy(&before)?;
    }
    let name = |(name, version): &(String, u64)| format!("{name}-{version}");
    Ok(Published {
        timestamp: repository.timestamp.signed.version.get(),
        expires: repository.timestamp.signed.expires,
        signed,
        released: new.iter().filter(|(key, release)| old.get(*key) != Some(*release)).map(|(key, _)| name(key)).collect(),
        withdrawn: old.keys().filter(|key| !new.contains_key(*key)).map(name).collect(),
        due,
    })
}

/// `timestamp.json` for a snapshot. It says when it was signed, which devices without a clock take as the least that the time can be.
pub(super) fn timestamp_for(version: NonZeroU64, snapshot: Metafile, now: Timestamp, days: i64) -> schema::Timestamp {
    let mut timestamp = schema::Timestamp::new(SPEC_VERSION.into(), version, expiry(now, days));
    timestamp.meta = HashMap::from([("snapshot.json".to_owned(), snapshot)]);
    timestamp._extra.insert(SIGNED_AT_KEY.into(), now.as_second().into());
    timestamp
}
