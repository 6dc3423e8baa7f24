use std::path::Path;

use amis_artifacts::release::{Devices, RELEASE_KEY, Release, SIGNED_AT_KEY};
use amis_export::repo::{self, Channel, Gate, KeyRing, Repository, Roots, What};
use jiff::{SignedDuration, Timestamp};
use tough::TargetName;

use crate::bundles;
use crate::client::Client;

pub const STRICT: Gate = Gate { max_old_drop_points: 2.0, allow: Vec::new() };

/// Keys of a folder, with the passphrase of the tests.
pub fn ring(keys: &Path) -> KeyRing<'static> {
    KeyRing::new(vec![keys.into()], |_| Ok("snakeoil".into()))
}

pub fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// A folder with an empty repository in `site`, signed `age` days ago, and its keys in `keys`.
pub fn site(age: i64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots { keys: 2, threshold: 2 };
    repo::init(&dir.path().join("site"), &mut ring(&dir.path().join("keys")), roots, Timestamp::now() - days(age)).unwrap();
    dir
}

pub fn add(dir: &Path, version: u64, channel: Channel) {
    let bundle = bundles::good(dir, version);
    repo::add(&mut Repository::open_to_change(&dir.join("site")).unwrap(), &bundle, channel, Devices::default(), &STRICT).unwrap();
}

pub fn publish(dir: &Path, what: What) -> repo::Published {
    let mut repository = Repository::open_to_change(&dir.join("site")).unwrap();
    repo::publish(&mut repository, &mut ring(&dir.join("keys")), what, 14, Timestamp::now()).unwrap()
}

#[test]
fn a_release_goes_from_canary_to_stable_and_is_withdrawn() {
    let dir = site(0);
    let (dir, client) = (dir.path(), Client::new(&dir.path().join("site")));
    assert_eq!(client.releases(), []);
    add(dir, 1, Channel::Stable);
    add(dir, 2, Channel::Canary);
    assert_eq!(client.releases(), [], "staged is not published");
    let done = publish(dir, What::Staged);
    assert_eq!(done.released, ["yard-1", "yard-2"]);
    assert_eq!(done.signed, ["targets", "snapshot", "timestamp"]);
    let expected = |all: &[(&str, &str)]| all.iter().map(|(r, c)| ((*r).to_owned(), (*c).to_owned())).collect::<Vec<_>>();
    assert_eq!(client.releases(), expected(&[("yard-1", "canary stable"), ("yard-2", "canary")]));

    repo::promote(&mut Repository::open_to_change(&dir.join("site")).unwrap(), "yard-2").unwrap();
    assert_eq!(publish(dir, What::Staged).released, ["yard-2"]);
    assert_eq!(client.releases(), expected(&[("yard-1", "canary stable"), ("yard-2", "canary stable")]));

    repo::remove(&mut Repository::open_to_change(&dir.join("site")).unwrap(), "yard-2").unwrap();
    let done = publish(dir, What::Staged);
    assert_eq!((done.released.len(), done.withdrawn), (0, vec!["yard-2".to_owned()]));
    assert_eq!(client.releases(), expected(&[("yard-1", "canary stable")]));
    assert_eq!(dir.join("site/targets").read_dir().unwrap().count(), 2, "devices that are fetching it finish");
    publish(dir, What::Staged);
    assert_eq!(dir.join("site/targets").read_dir().unwrap().count(), 1);
    let again = repo::add(&mut Repository::open_to_change(&dir.join("site")).unwrap(), &bundles::good(dir, 2), Channel::Canary, Devices::default(), &STRICT);
    assert!(again.unwrap_err().to_string().contains("version 2 of this name was already published"));
    let nothing = repo::promote(&mut Repository::open_to_change(&dir.join("site")).unwrap(), "yard-7").unwrap_err();
    assert!(nothing.to_string().contains("\"yard-7\"") && nothing.to_string().contains("yard-1"), "{nothing}");
}

#[test]
fn what_a_device_reads_of_a_release_is_signed_beside_it() {
    let dir = site(0);
    let (dir, client) = (dir.path(), Client::new(&dir.path().join("site")));
    let bundle = bundles::good(dir, 1);
    let devices = Devices { boards: vec!["orin-nano".into()], jetpacks: vec![6], tags: vec!["north".into()] };
    repo::add(&mut Repository::open_to_change(&dir.join("site")).unwrap(), &bundle, Channel::Canary, devices.clone(), &STRICT).unwrap();
    let before = Timestamp::now().as_second();
    publish(dir, What::Staged);
    let repository = client.load().unwrap();
    let name = TargetName::new("yard-1.amis").unwrap();
    let release: Release = serde_json::from_value(repository.targets().signed.targets[&name].custom[RELEASE_KEY].clone()).unwrap();
    let unpacked = tempfile::tempdir().unwrap();
    amis_artifacts::bundle::unpack(&bundle, unpacked.path()).unwrap();
    assert_eq!((release.devices, release.unpacked_bytes), (devices, std::fs::metadata(unpacked.path().join("model.cpu-fp32.onnx")).unwrap().len()));
    assert_eq!(crate::client::fetch(&repository, &name), std::fs::read(bundle).unwrap());
    let signed_at = repository.timestamp().signed._extra[SIGNED_AT_KEY].as_i64().unwrap();
    assert!((before..before + 60).contains(&signed_at), "{signed_at}");
}

#[test]
fn a_renewal_needs_the_timestamp_key_alone_and_leaves_what_is_staged() {
    let dir = site(13);
    let (dir, site) = (dir.path(), dir.path().join("site"));
    add(dir, 1, Channel::Stable);
    let alone = dir.join("timestamp-key");
    std::fs::create_dir(&alone).unwrap();
    for entry in dir.join("keys").read_dir().unwrap().flatten() {
        if entry.file_name().to_str().unwrap().starts_with("timestamp-") {
            std::fs::copy(entry.path(), alone.join(entry.file_name())).unwrap();
        }
    }
    let mut repository = Repository::open_to_change(&site).unwrap();
    let done = repo::publish(&mut repository, &mut ring(&alone), What::Renewal, 14, Timestamp::now()).unwrap();
    drop(repository);
    assert_eq!((done.timestamp, done.signed, done.released.len()), (2, vec!["timestamp".to_owned()], 0));
    let client = Client::new(&site);
    assert_eq!(client.releases(), []);
    let mut repository = Repository::open_to_change(&site).unwrap();
    let missing = repo::publish(&mut repository, &mut ring(&alone), What::Staged, 14, Timestamp::now()).unwrap_err().to_string();
    assert!(missing.contains("targets cannot be signed") && missing.contains("targets-"), "{missing}");
    drop(repository);
    publish(dir, What::Staged);
    assert_eq!(client.releases().len(), 1);
}

#[test]
fn roles_are_renewed_when_two_thirds_of_their_time_are_over() {
    for (age, signed) in [
        (9, &["timestamp"][..]),
        (21, &["snapshot", "timestamp"]),
        (61, &["targets", "snapshot", "timestamp"]),
        (300, &["targets", "snapshot", "root", "timestamp"]),
    ] {
        let dir = site(age);
        let done = publish(dir.path(), What::Staged);
        assert_eq!(done.signed, signed, "after {age} days");
        assert!(done.due.is_empty());
        Client::new(&dir.path().join("site")).load().unwrap();
    }
    let dir = site(300);
    let offline = dir.path().join("drawer");
    std::fs::create_dir(&offline).unwrap();
    for entry in dir.path().join("keys").read_dir().unwrap().flatten() {
        if entry.file_name().to_str().unwrap().starts_with("root-") {
            std::fs::rename(entry.path(), offline.join(entry.file_name())).unwrap();
        }
    }
    assert_eq!(publish(dir.path(), What::Staged).due, ["root"]);
}

#[test]
fn what_has_expired_is_refused_by_devices_and_can_be_renewed() {
    let dir = site(15);
    let (dir, client) = (dir.path(), Client::new(&dir.path().join("site")));
    let expired = client.load().unwrap_err().to_string();
    assert!(expired.to_lowercase().contains("expired"), "{expired}");
    publish(dir, What::Renewal);
    client.load().unwrap();
}

#[test]
fn two_publishers_do_not_interleave() {
    let dir = site(0);
    let site = dir.path().join("site");
    let first = Repository::open_to_change(&site).unwrap();
    assert!(Repository::open_to_change(&site).unwrap_err().to_string().contains("another amis-export"));
    Repository::open(&site).unwrap();
    drop(first);
    Repository::open_to_change(&site).unwrap();
}

#[test]
fn a_changed_file_is_refused_and_nothing_more_is_signed() {
    let dir = site(0);
    let site = dir.path().join("site");
    let path = site.join("metadata/1.targets.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(Repository::open_to_change(&site).unwrap_err().to_string().contains("cannot be used"));
    let other = tempfile::tempdir().unwrap();
    assert!(Repository::open(other.path()).unwrap_err().to_string().contains("is no repository"));
}
