//! Repositories made by hand, as an attacker would: every role can be signed by any key, or not at all. Nothing of the publisher's code is in it.
#![allow(dead_code, clippy::unwrap_used)]

pub mod attacks;

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;

use amis_artifacts::bundle;
use amis_artifacts::files::sha256;
use amis_artifacts::release::{RELEASE_KEY, Release, SIGNED_AT_KEY};
use aws_lc_rs::signature::Ed25519KeyPair;
use jiff::{SignedDuration, Timestamp};
use tough::TargetName;
use tough::schema::{self, Hashes, Metafile, Role, RoleKeys, RoleType, Root, Signature, Signed, Snapshot, Target, Targets};
use tough::sign::Sign;

/// A repository in memory: change what you like, then write it.
pub struct Forge {
    /// Keys that sign each role.
    pub signers: HashMap<RoleType, Vec<Ed25519KeyPair>>,
    pub root: Root,
    pub targets: Targets,
    pub snapshot: Snapshot,
    pub timestamp: schema::Timestamp,
    /// Content of the bundle.
    bundle: Vec<u8>,
    /// Its name in the repository.
    pub bundle_name: TargetName,
}

/// A time so many days from now.
pub fn in_days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

/// A version.
pub fn version(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

/// A new key.
pub fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::generate().unwrap()
}

/// A role with a signature of every key.
pub fn sign<T: Role>(role: T, keys: &[Ed25519KeyPair]) -> Signed<T> {
    let message = role.canonical_form().unwrap();
    let signature = |key: &Ed25519KeyPair| Signature { keyid: key.tuf_key().key_id().unwrap(), sig: key.sign(&message).as_ref().to_vec().into() };
    let signatures = keys.iter().map(signature).collect();
    Signed { signed: role, signatures }
}

/// Bytes of a signed role.
pub fn bytes<T: Role>(role: &Signed<T>) -> Vec<u8> {
    serde_json::to_vec(role).unwrap()
}

/// What one role says of the file of another.
pub fn meta(content: &[u8], version: NonZeroU64) -> Metafile {
    let hashes = Hashes { sha256: sha256(content).parse().unwrap(), _extra: HashMap::new() };
    Metafile { length: Some(content.len() as u64), hashes: Some(hashes), version, _extra: HashMap::new() }
}

impl Forge {
    /// A sound repository, everything in version 1, that releases a bundle to everybody. Two root keys, of which both have to sign.
    pub fn new(path: &Path) -> Self {
        let signers: HashMap<RoleType, Vec<Ed25519KeyPair>> = [(RoleType::Root, 2), (RoleType::Targets, 1), (RoleType::Snapshot, 1), (RoleType::Timestamp, 1)]
            .map(|(role, count)| (role, (0..count).map(|_| key()).collect()))
            .into();
        let spec = || "1.0.0".to_owned();
        let root = Root {
            spec_version: spec(),
            consistent_snapshot: true,
            version: version(1),
            expires: in_days(300),
            keys: HashMap::new(),
            roles: HashMap::new(),
            _extra: HashMap::new(),
        };
        let content = fs::read(path).unwrap();
        let manifest = bundle::read_manifest(path).unwrap();
        let bundle_name = TargetName::new(amis_artifacts::release::bundle_file(&manifest.name, manifest.version)).unwrap();
        let mut targets = Targets::new(spec(), version(1), in_days(80));
        targets.delegations = None;
        let hashes = Hashes { sha256: sha256(&content).parse().unwrap(), _extra: HashMap::new() };
        let target = Target { length: content.len() as u64, hashes, custom: HashMap::new(), _extra: HashMap::new() };
        targets.targets.insert(bundle_name.clone(), target);
        let mut timestamp = schema::Timestamp::new(spec(), version(1), in_days(13));
        timestamp._extra.insert(SIGNED_AT_KEY.into(), Timestamp::now().as_second().into());
        let snapshot = Snapshot::new(spec(), version(1), in_days(29));
        let mut forge = Self { signers, root, targets, snapshot, timestamp, bundle: content, bundle_name };
        forge.set_release(|_| {});
        forge.trust();
        let release = Release {
            name: manifest.name.clone(),
            version: manifest.version,
            manifest_sha256: bundle::manifest_sha256(path).unwrap(),
            unpacked_bytes: manifest.unpacked_bytes(),
            channels: vec!["canary".into(), "stable".into()],
            devices: Default::default(),
        };
        forge.set_release(|found| *found = serde_json::to_value(&release).unwrap());
        forge
    }

    /// Changes what is said of the release.
    pub fn set_release(&mut self, change: impl FnOnce(&mut serde_json::Value)) {
        let target = self.targets.targets.get_mut(&self.bundle_name).unwrap();
        change(target.custom.entry(RELEASE_KEY.into()).or_default());
    }

    /// Makes the root trust the keys that sign.
    pub fn trust(&mut self) {
        self.root.keys.clear();
        for (role, keys) in &self.signers {
            let ids: Vec<_> = keys.iter().map(|k| k.tuf_key().key_id().unwrap()).collect();
            self.root.keys.extend(keys.iter().map(|k| (k.tuf_key().key_id().unwrap(), k.tuf_key())));
            let threshold = version(ids.len() as u64);
            self.root.roles.insert(*role, RoleKeys { keyids: ids, threshold, _extra: HashMap::new() });
        }
    }

    /// All versions of the roles below root.
    pub fn versions(&mut self, targets: u64, snapshot: u64, timestamp: u64) {
        (self.targets.version, self.snapshot.version, self.timestamp.version) = (version(targets), version(snapshot), version(timestamp));
    }

    /// Writes what is consistent with itself into `dir`: `metadata/` and `targets/`.
    pub fn write(&mut self, dir: &Path) {
        let targets = bytes(&sign(self.targets.clone(), &self.signers[&RoleType::Targets]));
        self.snapshot.meta = HashMap::from([("targets.json".to_owned(), meta(&targets, self.targets.version))]);
        let snapshot = bytes(&sign(self.snapshot.clone(), &self.signers[&RoleType::Snapshot]));
        self.timestamp.meta = HashMap::from([("snapshot.json".to_owned(), meta(&snapshot, self.snapshot.version))]);
        let timestamp = bytes(&sign(self.timestamp.clone(), &self.signers[&RoleType::Timestamp]));
        let root = bytes(&sign(self.root.clone(), &self.signers[&RoleType::Root]));
        fs::create_dir_all(dir.join("metadata")).unwrap();
        fs::create_dir_all(dir.join("targets")).unwrap();
        let metadata = |name: String, content: Vec<u8>| fs::write(dir.join("metadata").join(name), content).unwrap();
        metadata(format!("{}.targets.json", self.targets.version), targets);
        metadata(format!("{}.snapshot.json", self.snapshot.version), snapshot);
        metadata(format!("{}.root.json", self.root.version), root);
        metadata("timestamp.json".into(), timestamp);
        fs::write(dir.join("targets").join(self.bundle_file()), &self.bundle).unwrap();
    }

    /// Name of the bundle in `targets/`.
    pub fn bundle_file(&self) -> String {
        format!("{}.{}", sha256(&self.bundle), self.bundle_name.resolved())
    }
}
