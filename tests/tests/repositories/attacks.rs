//! What an attacker who holds the server or the line can send, one folder each.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;
use tough::schema::RoleType;

use super::{Forge, bytes, in_days, key, meta, sign, version};

/// What has to catch an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// Signatures of the metadata.
    Signatures,
    /// Versions that the device has seen.
    Rollback,
    /// Dates in the metadata.
    Expired,
    /// Hashes by which parts of the metadata name each other.
    Mixed,
    /// Limits on the metadata.
    TooLarge,
    /// The reader of the metadata.
    Malformed,
    /// A file of the metadata does not come.
    Missing,
    /// Hash and length of the bundle.
    Bundle,
    /// The bundle does not come, or not whole.
    MissingBundle,
}

/// An attack in a folder of its own.
#[derive(Debug)]
pub struct Attack {
    /// Name of the attack and of its folder.
    pub name: &'static str,
    /// The root that the device trusts at the start.
    pub root: PathBuf,
    /// A sound repository, without releases, that the device saw before; `metadata/` and `targets/`.
    pub before: Option<PathBuf>,
    /// What it gets now. The release in it must not be installed.
    pub now: PathBuf,
    /// What catches it.
    pub caught: Caught,
    /// A part of what `tough` says then, its causes included.
    pub says: &'static str,
}

/// Folders of one attack while it is made.
struct Folder {
    dir: PathBuf,
}

impl Folder {
    fn before(&self) -> PathBuf {
        self.dir.join("before")
    }

    fn now(&self) -> PathBuf {
        self.dir.join("now")
    }

    fn metadata(&self, name: &str) -> PathBuf {
        self.now().join("metadata").join(name)
    }

    /// Writes the repository as the device saw it before, without releases, and goes on to the next version of each role.
    fn write_before(&self, forge: &mut Forge) {
        let releases = std::mem::take(&mut forge.targets.targets);
        forge.write(&self.before());
        forge.targets.targets = releases;
    }
}

/// Writes all attacks below `dir`. Each tries to make a device take `bundle`, which has to be newer than what it runs.
pub fn write_all(dir: &Path, bundle: &Path) -> Vec<Attack> {
    use Caught::{Bundle, Expired, Malformed, Missing, MissingBundle, Mixed, Rollback, Signatures, TooLarge};
    type Make = fn(&Folder, &mut Forge);
    let all: [(&'static str, Make, Caught, &'static str); 29] = [
        ("wrong-key", wrong_key, Signatures, "Signature threshold of 1 not met for role timestamp"),
        ("wrong-key-under-the-right-id", wrong_key_right_id, Signatures, "Signature threshold of 1 not met for role timestamp"),
        ("missing-signature", missing_signature, Signatures, "Signature threshold of 1 not met for role targets"),
        ("signed-twice-by-one-key", signed_twice, Signatures, "Duplicate key ID"),
        ("root-threshold-not-met", threshold_not_met, Signatures, "Signature threshold of 2 not met for role root"),
        ("root-signed-by-new-keys-alone", foreign_root, Signatures, "Signature threshold of 2 not met for role root"),
        ("expired-root", |f, r| expired(f, r, RoleType::Root), Expired, "root metadata is expired"),
        ("expired-timestamp", |f, r| expired(f, r, RoleType::Timestamp), Expired, "timestamp metadata is expired"),
        ("expired-snapshot", |f, r| expired(f, r, RoleType::Snapshot), Expired, "snapshot metadata is expired"),
        ("expired-targets", |f, r| expired(f, r, RoleType::Targets), Expired, "targets metadata is expired"),
        ("rollback-of-root", rollback_root, Signatures, "Signature threshold of 1 not met for role timestamp"),
        (
            "rollback-of-timestamp",
            |f, r| rollback(f, r, (2, 2, 2), (2, 2, 1)),
            Rollback,
            "Found version 1 of timestamp metadata when we had previously fetched version 2",
        ),
        ("rollback-of-snapshot", |f, r| rollback(f, r, (2, 2, 2), (2, 1, 3)), Rollback, "Snapshot version 1 in timestamp 3 is less than 2 in timestamp 2"),
        (
            "rollback-of-targets",
            |f, r| rollback(f, r, (2, 2, 2), (1, 3, 3)),
            Rollback,
            "Role targets.json version 2 in snapshot 2 is greater than version 1 in snapshot 3",
        ),
        ("freeze", freeze, Expired, "timestamp metadata is expired"),
        ("mix-and-match-of-snapshot", mix_snapshot, Mixed, "Hash mismatch"),
        ("mix-and-match-of-targets", mix_targets, Mixed, "Hash mismatch"),
        ("endless-timestamp", |f, r| endless(f, r, "timestamp.json"), TooLarge, "(specified by max_timestamp_size argument) exceeded"),
        ("endless-root", |f, r| endless(f, r, "2.root.json"), TooLarge, "(specified by max_root_size argument) exceeded"),
        ("oversized-timestamp", oversized_timestamp, TooLarge, "(specified by max_timestamp_size argument) exceeded"),
        ("oversized-snapshot", oversized_snapshot, TooLarge, "(specified by timestamp.json) exceeded"),
        ("deep-json", deep_json, Malformed, "recursion limit"),
        ("huge-version", huge_version, Malformed, "expected a nonzero u64"),
        ("no-timestamp", |f, r| missing(&f.metadata("timestamp.json"), f, r), Missing, "No such file"),
        ("flipped-byte", flipped_byte, Bundle, "Hash mismatch"),
        ("truncated-bundle", truncated, MissingBundle, "Hash mismatch"),
        ("endless-bundle", endless_bundle, Bundle, "(specified by targets.json) exceeded"),
        ("missing-bundle", |f, r| missing(&bundle_path(f, r), f, r), MissingBundle, "No such file"),
        ("other-bundle-under-the-name", other_bundle, Bundle, "Hash mismatch"),
    ];
    all.into_iter()
        .map(|(name, make, caught, says)| {
            let folder = Folder { dir: dir.join(name) };
            let mut forge = Forge::new(bundle);
            fs::create_dir_all(&folder.dir).unwrap();
            let root = folder.dir.join("root.json");
            fs::write(&root, bytes(&sign(forge.root.clone(), &forge.signers[&RoleType::Root]))).unwrap();
            make(&folder, &mut forge);
            if name == "expired-root" {
                // The device got this root when it still held.
                fs::copy(folder.metadata("1.root.json"), &root).unwrap();
            }
            let before = folder.before();
            Attack { name, root, before: before.exists().then_some(before), now: folder.now(), caught, says }
        })
        .collect()
}

fn expired(folder: &Folder, forge: &mut Forge, role: RoleType) {
    let expires = match role {
        RoleType::Root => &mut forge.root.expires,
        RoleType::Snapshot => &mut forge.snapshot.expires,
        RoleType::Timestamp => &mut forge.timestamp.expires,
        _ => &mut forge.targets.expires,
    };
    *expires = in_days(-1);
    forge.write(&folder.now());
}

fn missing(path: &Path, folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    fs::remove_file(path).unwrap();
}

fn wrong_key(folder: &Folder, forge: &mut Forge) {
    forge.signers.insert(RoleType::Timestamp, vec![key()]);
    forge.write(&folder.now());
}

fn wrong_key_right_id(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let id = &forge.root.roles[&RoleType::Timestamp].keyids[0];
    let mut timestamp = sign(forge.timestamp.clone(), &[key()]);
    timestamp.signatures[0].keyid = id.clone();
    fs::write(folder.metadata("timestamp.json"), bytes(&timestamp)).unwrap();
}

fn missing_signature(folder: &Folder, forge: &mut Forge) {
    forge.signers.insert(RoleType::Targets, Vec::new());
    forge.write(&folder.now());
}

fn signed_twice(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let mut timestamp = sign(forge.timestamp.clone(), &forge.signers[&RoleType::Timestamp]);
    timestamp.signatures.push(timestamp.signatures[0].clone());
    fs::write(folder.metadata("timestamp.json"), bytes(&timestamp)).unwrap();
}

/// A second root with the attacker's timestamp key, signed by one of both root keys.
fn threshold_not_met(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    forge.signers.insert(RoleType::Timestamp, vec![key()]);
    forge.root.version = version(2);
    forge.trust();
    forge.signers.get_mut(&RoleType::Root).unwrap().pop();
    forge.write(&folder.now());
}

/// A second root with nothing but the attacker's keys.
fn foreign_root(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    for keys in forge.signers.values_mut() {
        keys.iter_mut().for_each(|k| *k = key());
    }
    forge.root.version = version(2);
    forge.trust();
    forge.write(&folder.now());
}

/// The device knows root 2, which took the timestamp's key away; the attacker has that key, and hides root 2.
fn rollback_root(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    fs::create_dir_all(folder.before().join("metadata")).unwrap();
    fs::copy(folder.metadata("1.root.json"), folder.before().join("metadata/1.root.json")).unwrap();
    let stolen = forge.signers.insert(RoleType::Timestamp, vec![key()]).unwrap();
    let first = forge.root.clone();
    forge.root.version = version(2);
    forge.trust();
    folder.write_before(forge);
    forge.signers.insert(RoleType::Timestamp, stolen);
    forge.root = first;
    forge.versions(2, 2, 2);
    forge.write(&folder.now());
}

fn rollback(folder: &Folder, forge: &mut Forge, before: (u64, u64, u64), now: (u64, u64, u64)) {
    forge.versions(before.0, before.1, before.2);
    folder.write_before(forge);
    forge.versions(now.0, now.1, now.2);
    forge.write(&folder.now());
}

/// An old publication is sent for ever. A device whose clock stands at 1970 knows from the one before what time it is at least.
fn freeze(folder: &Folder, forge: &mut Forge) {
    folder.write_before(forge);
    forge.versions(2, 2, 2);
    forge.timestamp.expires = in_days(-1);
    forge.timestamp._extra.insert(amis_artifacts::release::SIGNED_AT_KEY.into(), (Timestamp::now().as_second() - 15 * 24 * 3600).into());
    forge.write(&folder.now());
}

/// Snapshot and targets of two publications, each correctly signed.
fn mix_snapshot(folder: &Folder, forge: &mut Forge) {
    let timestamp = folder.metadata("timestamp.json");
    forge.write(&folder.now());
    let first = fs::read(&timestamp).unwrap();
    forge.snapshot.expires = in_days(20);
    forge.write(&folder.now());
    fs::write(timestamp, first).unwrap();
}

fn mix_targets(folder: &Folder, forge: &mut Forge) {
    let targets = folder.metadata("1.targets.json");
    forge.write(&folder.now());
    let first = fs::read(&targets).unwrap();
    forge.targets.expires = in_days(70);
    forge.write(&folder.now());
    fs::write(targets, first).unwrap();
}

fn endless(folder: &Folder, forge: &mut Forge, name: &str) {
    forge.write(&folder.now());
    let path = folder.metadata(name);
    let _ = fs::remove_file(&path);
    symlink("/dev/zero", path).unwrap();
}

/// Correctly signed, and larger than any timestamp has to be.
fn oversized_timestamp(folder: &Folder, forge: &mut Forge) {
    forge.timestamp._extra.insert("padding".into(), "x".repeat(2 << 20).into());
    forge.write(&folder.now());
}

/// A snapshot that is larger than the timestamp says.
fn oversized_snapshot(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let path = folder.metadata("1.snapshot.json");
    let mut content = fs::read(&path).unwrap();
    content.extend(vec![b' '; 3 << 20]);
    fs::write(path, content).unwrap();
}

fn deep_json(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let path = folder.metadata("timestamp.json");
    let sound = fs::read_to_string(&path).unwrap();
    fs::write(path, sound.replacen("\"version\"", &format!("\"deep\":{},\"version\"", "[".repeat(30_000)), 1)).unwrap();
}

/// A version that no integer holds, correctly hashed by the role above.
fn huge_version(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let path = folder.metadata("1.snapshot.json");
    let mut snapshot: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    snapshot["signed"]["version"] = json!(1e30);
    let content = serde_json::to_vec(&snapshot).unwrap();
    fs::write(path, &content).unwrap();
    forge.timestamp.meta.insert("snapshot.json".into(), meta(&content, version(1)));
    fs::write(folder.metadata("timestamp.json"), bytes(&sign(forge.timestamp.clone(), &forge.signers[&RoleType::Timestamp]))).unwrap();
}

fn bundle_path(folder: &Folder, forge: &Forge) -> PathBuf {
    folder.now().join("targets").join(forge.bundle_file())
}

fn flipped_byte(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let path = bundle_path(folder, forge);
    let mut content = fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content).unwrap();
}

fn truncated(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let path = bundle_path(folder, forge);
    let content = fs::read(&path).unwrap();
    fs::write(path, &content[..content.len() - 1]).unwrap();
}

fn endless_bundle(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let path = bundle_path(folder, forge);
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", path).unwrap();
}

fn other_bundle(folder: &Folder, forge: &mut Forge) {
    forge.write(&folder.now());
    let path = bundle_path(folder, forge);
    let same_length = vec![7; fs::metadata(&path).unwrap().len() as usize];
    fs::write(path, same_length).unwrap();
}
