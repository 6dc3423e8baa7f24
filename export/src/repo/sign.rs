//! Roles: how long they hold, and how they are signed.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::Path;

use amis_artifacts::files;
use jiff::Timestamp;
use tough::schema::{Hashes, Metafile, Role, RoleType, Root, Signature, Signed};

use super::keys::SigningKey;
use crate::{Error, Result};

/// Version of the TUF specification that the files follow.
pub(super) const SPEC_VERSION: &str = "1.0.0";

/// How many days a role holds after it was signed.
pub(super) fn lifetime_days(role: RoleType) -> i64 {
    match role {
        RoleType::Root => 365,
        RoleType::Targets | RoleType::DelegatedTargets => 90,
        RoleType::Snapshot => 30,
        RoleType::Timestamp => 14,
    }
}

/// When something signed now expires, in whole seconds.
pub(super) fn expiry(now: Timestamp, days: i64) -> Timestamp {
    Timestamp::from_second(now.as_second() + 24 * 3600 * days).unwrap_or(Timestamp::MAX)
}

/// Whether a role should be signed again when its key is at hand: a third of its time is left.
pub(super) fn is_due(role: RoleType, expires: Timestamp, now: Timestamp) -> bool {
    expires < expiry(now, lifetime_days(role) / 3)
}

/// The version after this one.
pub(super) fn next(version: NonZeroU64) -> NonZeroU64 {
    version.saturating_add(1)
}

/// Signs a role with each key once. Whether they are enough is for the caller to check.
pub(super) fn sign<T: Role>(role: T, keys: &[SigningKey]) -> Result<Signed<T>> {
    let message = role.canonical_form().map_err(|e| damaged(Path::new(&role.filename(true)), e))?;
    let mut signatures: Vec<Signature> = Vec::new();
    for key in keys {
        if !signatures.iter().any(|s| s.keyid == key.id) {
            signatures.push(Signature { keyid: key.id.clone(), sig: key.pair.sign(&message).as_ref().to_vec().into() });
        }
    }
    Ok(Signed { signed: role, signatures })
}

/// The bytes of a signed role's file, and its entry in the role that vouches for it.
pub(super) fn encode<T: Role>(role: &Signed<T>) -> Result<(Vec<u8>, Metafile)> {
    let mut bytes = serde_json::to_vec_pretty(role).map_err(|e| damaged(Path::new(&role.signed.filename(true)), e))?;
    bytes.push(b'\n');
    let meta =
        Metafile { length: Some(bytes.len() as u64), hashes: Some(hashes(&files::sha256(&bytes))?), version: role.signed.version(), _extra: HashMap::new() };
    Ok((bytes, meta))
}

/// A SHA-256 as TUF writes it.
pub(super) fn hashes(sha256: &str) -> Result<Hashes> {
    Ok(Hashes { sha256: sha256.parse().map_err(|e| damaged(Path::new(sha256), e))?, _extra: HashMap::new() })
}

/// Whether a root accepts a role as signed.
pub(super) fn require<T: Role>(root: &Root, role: &Signed<T>) -> Result<()> {
    root.verify_role(role).map_err(|e| damaged(Path::new(&role.signed.filename(true)), e))
}

/// Something that is not as the TUF specification wants it.
pub(super) fn damaged(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Repository { path: path.into(), source: source.into() }
}
