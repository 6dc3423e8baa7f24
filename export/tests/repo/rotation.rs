use std::path::Path;

use amis_export::repo::{self, Channel, KeyRing, Repository, RoleType, Roots, Rotated, What};
use jiff::Timestamp;

use crate::client::Client;
use crate::flow::{add, publish, ring, site};

fn rotate(dir: &Path, role: RoleType, only: Option<&str>) -> Rotated {
    let mut repository = Repository::open_to_change(&dir.join("site")).unwrap();
    repo::rotate(&mut repository, &mut ring(&dir.join("keys")), role, only, Timestamp::now()).unwrap()
}

#[test]
fn a_device_follows_from_the_first_root_to_the_last() {
    let dir = site(0);
    let dir = dir.path();
    let (old, mut seen) = (Client::new(&dir.join("site")), 1);
    add(dir, 1, Channel::Stable);
    publish(dir, What::Staged);
    for role in [RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets, RoleType::Root, RoleType::Timestamp] {
        let done = rotate(dir, role, None);
        seen += 1;
        assert_eq!((done.root, done.new_keys.len()), (seen, done.old_keys.len()), "{role}");
        for name in done.old_keys {
            std::fs::remove_file(dir.join("keys").join(name)).unwrap();
        }
        // A device that was there all the time, and one that sees it for the first time.
        assert_eq!(old.load().unwrap().root().signed.version.get(), seen);
        assert_eq!(Client::new(&dir.join("site")).releases().len(), 1);
    }
    add(dir, 2, Channel::Stable);
    publish(dir, What::Staged);
    assert_eq!(old.releases().len(), 2);
}

#[test]
fn a_device_that_has_seen_only_one_of_both_roots_goes_on() {
    for role in [RoleType::Timestamp, RoleType::Targets] {
        let dir = site(0);
        let dir = dir.path();
        rotate(dir, role, None);
        let new_root = dir.join("site/metadata/2.root.json");
        let hidden = dir.join("2.root.json");
        std::fs::rename(&new_root, &hidden).unwrap();
        assert_eq!(Client::new(&dir.join("site")).load().unwrap().root().signed.version.get(), 1);
        std::fs::rename(&hidden, &new_root).unwrap();
        assert_eq!(Client::new(&dir.join("site")).load().unwrap().root().signed.version.get(), 2);
    }
}

#[test]
fn one_of_three_root_keys_may_be_lost_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (site, keys) = (dir.path().join("site"), dir.path().join("keys"));
    let made = repo::init(&site, &mut ring(&keys), Roots { keys: 3, threshold: 2 }, Timestamp::now()).unwrap();
    let client = Client::new(&site);
    let lost = &made.root_keys[1];
    std::fs::remove_file(keys.join(lost)).unwrap();
    let done = rotate(dir.path(), RoleType::Root, Some(lost));
    assert_eq!((&done.old_keys[..], done.new_keys.len()), (&made.root_keys[1..2], 1));
    assert_eq!(client.load().unwrap().root().signed.version.get(), 2);

    std::fs::remove_file(keys.join(&done.new_keys[0])).unwrap();
    std::fs::remove_file(keys.join(&made.root_keys[0])).unwrap();
    let mut repository = Repository::open_to_change(&site).unwrap();
    let refused = repo::rotate(&mut repository, &mut ring(&keys), RoleType::Timestamp, None, Timestamp::now()).unwrap_err().to_string();
    assert!(refused.contains("root cannot be signed: 1 of root-"), "{refused}");
    assert!(!site.join("metadata/3.root.json").exists());
    let foreign = repo::rotate(&mut repository, &mut ring(&keys), RoleType::Root, Some("root-00000000.pem"), Timestamp::now());
    assert!(foreign.unwrap_err().to_string().contains("root has no key \"root-00000000.pem\""));
}

#[test]
fn a_lost_timestamp_key_is_replaced_with_a_passphrase_of_its_own() {
    let dir = site(0);
    let dir = dir.path();
    let keys = dir.join("keys");
    let file = |role: &str| keys.read_dir().unwrap().flatten().map(|e| e.path()).find(|p| p.file_name().unwrap().to_str().unwrap().starts_with(role));
    std::fs::remove_file(file("timestamp-").unwrap()).unwrap();
    let passphrase = |wanted: repo::Ask| {
        Ok(match wanted {
            repo::Ask::New(_) => "another".to_owned(),
            repo::Ask::Existing(path) => if path.to_str().unwrap().contains("timestamp-") { "another" } else { "snakeoil" }.to_owned(),
        })
    };
    let mut repository = Repository::open_to_change(&dir.join("site")).unwrap();
    repo::rotate(&mut repository, &mut KeyRing::new(vec![keys.clone()], passphrase), RoleType::Timestamp, None, Timestamp::now()).unwrap();
    repo::publish(&mut repository, &mut KeyRing::new(vec![keys.clone()], passphrase), What::Staged, 14, Timestamp::now()).unwrap();
    assert_eq!(Client::new(&dir.join("site")).load().unwrap().timestamp().signed.version.get(), 3);
}
