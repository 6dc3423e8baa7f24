use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use amis_artifacts::files;
use jiff::Timestamp;
use serde::Serialize;
use tough::schema::{RoleKeys, RoleType, Root, Snapshot, Targets};

use super::keys::{KeyRing, SigningKey, file_name};
use super::publish::timestamp_for;
use super::sign::{SPEC_VERSION, encode, expiry, lifetime_days, require, sign};
use super::store::lock;
use crate::{Error, Result};

/// How many root keys there are and how many of them have to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots {
    /// Keys made.
    pub keys: u64,
    /// Signatures needed.
    pub threshold: u64,
}

/// A repository that was made.
#[derive(Debug, Serialize)]
pub struct Created {
    /// Its folder.
    pub path: PathBuf,
    /// The file that devices get once, by a trusted way.
    pub root: PathBuf,
    /// Files of the root keys, to be kept offline.
    pub root_keys: Vec<String>,
    /// Files of the keys that sign publications.
    pub keys: Vec<String>,
}

/// Makes keys and an empty repository, signed.
///
/// # Errors
/// The folder holds something, the threshold cannot be met, no passphrase, or the disk.
pub fn init(dir: &Path, ring: &mut KeyRing, roots: Roots, now: Timestamp) -> Result<Created> {
    let impossible = |reason: String| Error::RootKeys { reason };
    let threshold = NonZeroU64::new(roots.threshold).ok_or_else(|| impossible("0 signatures would be enough".into()))?;
    if roots.keys < roots.threshold || roots.keys > 16 {
        return Err(impossible(format!("{} keys for a threshold of {}, expected at least as many keys and at most 16", roots.keys, roots.threshold)));
    }
    let io = |source| amis_artifacts::Error::Io { action: "create", path: dir.into(), source };
    if dir.join("metadata").exists() || dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::FolderInUse { path: dir.into() });
    }
    let passphrase = ring.new_passphrase("the root keys")?;
    let root_keys = (0..roots.keys).map(|_| ring.create(RoleType::Root, &passphrase)).collect::<Result<Vec<_>>>()?;
    let passphrase = ring.new_passphrase("the keys of targets, snapshot and timestamp")?;
    let [targets_key, snapshot_key, timestamp_key] =
        [RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp].map(|role| ring.create(role, &passphrase).map(|key| vec![key]));
    let (targets_key, snapshot_key, timestamp_key) = (targets_key?, snapshot_key?, timestamp_key?);

    let all = [
        (RoleType::Root, &root_keys, threshold),
        (RoleType::Targets, &targets_key, NonZeroU64::MIN),
        (RoleType::Snapshot, &snapshot_key, NonZeroU64::MIN),
        (RoleType::Timestamp, &timestamp_key, NonZeroU64::MIN),
    ];
    let role_keys = |keys: &[SigningKey], threshold| RoleKeys { keyids: keys.iter().map(|k| k.id.clone()).collect(), threshold, _extra: HashMap::new() };
    let root = Root {
        spec_version: SPEC_VERSION.into(),
        consistent_snapshot: true,
        version: NonZeroU64::MIN,
        expires: expiry(now, lifetime_days(RoleType::Root)),
        keys: all.iter().flat_map(|(_, keys, _)| keys.iter()).map(|k| (k.id.clone(), k.public.clone())).collect(),
        roles: all.iter().map(|(role, keys, threshold)| (*role, role_keys(keys, *threshold))).collect(),
        _extra: HashMap::new(),
    };
    let root = sign(root, &root_keys)?;
    require(&root.signed, &root)?;
    let mut targets = Targets::new(SPEC_VERSION.into(), NonZeroU64::MIN, expiry(now, lifetime_days(RoleType::Targets)));
    targets.delegations = None;
    let (targets, meta) = encode(&sign(targets, &targets_key)?)?;
    let mut snapshot = Snapshot::new(SPEC_VERSION.into(), NonZeroU64::MIN, expiry(now, lifetime_days(RoleType::Snapshot)));
    snapshot.meta.insert("targets.json".into(), meta);
    let (snapshot, meta) = encode(&sign(snapshot, &snapshot_key)?)?;
    let timestamp = timestamp_for(NonZeroU64::MIN, meta, now, lifetime_days(RoleType::Timestamp));
    let (timestamp, _) = encode(&sign(timestamp, &timestamp_key)?)?;

    fs::create_dir_all(dir.join("targets")).map_err(io)?;
    let _lock = lock(dir)?;
    // The root comes last: a folder without it is no repository.
    for (name, bytes) in [("1.targets.json", targets), ("1.snapshot.json", snapshot), ("timestamp.json", timestamp), ("1.root.json", encode(&root)?.0)] {
        files::write_atomic(&dir.join("metadata").join(name), &bytes)?;
    }
    let names = |role: RoleType, keys: &[SigningKey]| keys.iter().map(|k| file_name(role, &k.id)).collect::<Vec<_>>();
    Ok(Created {
        path: dir.into(),
        root: dir.join("metadata/1.root.json"),
        root_keys: names(RoleType::Root, &root_keys),
        keys: all[1..].iter().flat_map(|(role, keys, _)| names(*role, keys)).collect(),
    })
}
