use jiff::Timestamp;
use serde::Serialize;
use tough::schema::RoleType;

use super::keys::{KeyRing, SigningKey, file_name, ids};
use super::publish::timestamp_for;
use super::sign::{encode, expiry, lifetime_days, next, require, sign};
use super::store::Repository;
use crate::{Error, Result};

/// What a rotation did.
#[derive(Debug, Serialize)]
pub struct Rotated {
    /// The role.
    pub role: String,
    /// Version of the root that names the new keys.
    pub root: u64,
    /// Files of the new keys.
    pub new_keys: Vec<String>,
    /// Files of the keys that count no more.
    pub old_keys: Vec<String>,
}

/// Replaces the keys of a role, or the one whose file is called `only`, and publishes that. The new root is signed by enough keys of the old one, and by its own.
///
/// Of another role than root, everything below is signed again, by the new keys and by those of the old ones that are at hand: so a device that reads meanwhile, and
/// has seen only one of both roots, goes on. Where an old key is lost such a device has to try again.
///
/// # Errors
/// Too few keys, one that does not open, no passphrase, or the disk.
pub fn rotate(repository: &mut Repository, ring: &mut KeyRing, role: RoleType, only: Option<&str>, now: Timestamp) -> Result<Rotated> {
    let old = repository.root.signed.clone();
    let names = |ids: &[_]| ids.iter().map(|id| file_name(role, id)).collect::<Vec<_>>();
    let known = ids(&old, role);
    let replaced: Vec<_> = known.iter().filter(|id| only.is_none_or(|name| name == file_name(role, id))).cloned().collect();
    if replaced.is_empty() {
        return Err(Error::NotAKey { key: only.unwrap_or_default().to_owned(), role: role.to_string(), known: names(known).join(", ") });
    }
    // Everything is opened before the first file is written.
    let mut root_keys = ring.enough(&old, RoleType::Root)?;
    let mut below = Vec::new();
    for signed in [RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp].into_iter().skip_while(|r| *r != role) {
        let keys = if signed == role { ring.at_hand(&old, role)? } else { ring.enough(&old, signed)? };
        below.push((signed, keys));
    }
    let passphrase = ring.new_passphrase(&format!("the new keys of {role}"))?;
    let new_keys = replaced.iter().map(|_| ring.create(role, &passphrase)).collect::<Result<Vec<SigningKey>>>()?;

    let mut root = old.clone();
    root.version = next(old.version);
    root.expires = expiry(now, lifetime_days(RoleType::Root));
    root.keys.retain(|id, _| !replaced.contains(id));
    root.keys.extend(new_keys.iter().map(|k| (k.id.clone(), k.public.clone())));
    if let Some(of_role) = root.roles.get_mut(&role) {
        of_role.keyids.retain(|id| !replaced.contains(id));
        of_role.keyids.extend(new_keys.iter().map(|k| k.id.clone()));
    }
    let done = Rotated {
        role: role.to_string(),
        root: root.version.get(),
        new_keys: new_keys.iter().map(|k| file_name(role, &k.id)).collect(),
        old_keys: names(&replaced),
    };
    match below.first_mut() {
        Some((_, keys)) => keys.extend(new_keys),
        None => root_keys.extend(new_keys),
    }
    let root = sign(root, &root_keys)?;
    require(&old, &root)?;
    require(&root.signed, &root)?;
    repository.root = root;

    let mut contents = Vec::new();
    for (signed, keys) in below {
        let expires = expiry(now, lifetime_days(signed));
        match signed {
            RoleType::Targets => {
                let mut targets = repository.targets.signed.clone();
                (targets.version, targets.expires) = (next(targets.version), expires);
                repository.targets = sign(targets, &keys)?;
                require(&repository.root.signed, &repository.targets)?;
                let (bytes, meta) = encode(&repository.targets)?;
                contents.push((format!("{}.targets.json", repository.targets.signed.version), bytes));
                repository.snapshot.signed.meta.insert("targets.json".into(), meta);
            }
            RoleType::Snapshot => {
                let mut snapshot = repository.snapshot.signed.clone();
                (snapshot.version, snapshot.expires) = (next(snapshot.version), expires);
                repository.snapshot = sign(snapshot, &keys)?;
                require(&repository.root.signed, &repository.snapshot)?;
                let (bytes, meta) = encode(&repository.snapshot)?;
                contents.push((format!("{}.snapshot.json", repository.snapshot.signed.version), bytes));
                repository.timestamp.signed.meta.insert("snapshot.json".into(), meta);
            }
            _ => {
                let before = &repository.timestamp.signed;
                let mut timestamp = timestamp_for(next(before.version), before.meta["snapshot.json"].clone(), now, lifetime_days(signed));
                timestamp.expires = timestamp.expires.max(before.expires);
                repository.timestamp = sign(timestamp, &keys)?;
                require(&repository.root.signed, &repository.timestamp)?;
                contents.push(("timestamp.json".to_owned(), encode(&repository.timestamp)?.0));
            }
        }
    }
    contents.push((format!("{}.root.json", done.root), encode(&repository.root)?.0));
    repository.write_together(contents)?;
    Ok(done)
}
