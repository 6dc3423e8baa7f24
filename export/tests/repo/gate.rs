use std::path::{Path, PathBuf};

use amis_artifacts::classes::ClassList;
use amis_artifacts::release::Devices;
use amis_export::Error;
use amis_export::repo::{self, Added, Channel, Gate, Repository};

use crate::bundles::{good, manifest, write};
use crate::flow::{STRICT, add, site};

fn try_add(dir: &Path, bundle: PathBuf, gate: &Gate) -> Result<Added, Error> {
    repo::add(&mut Repository::open_to_change(&dir.join("site")).unwrap(), &bundle, Channel::Canary, Devices::default(), gate)
}

#[test]
fn a_bundle_that_forgot_is_refused_until_a_person_names_it() {
    let dir = site(0);
    let dir = dir.path();
    add(dir, 1, Channel::Stable);
    add(dir, 2, Channel::Stable);
    // Old classes are road and car: (80 + 80) / 2 -> (79 + 77) / 2 = 78, exactly two points.
    let just = try_add(dir, write(dir, manifest(3, &[Some(0.8), Some(0.79), Some(0.77), Some(0.1)])), &STRICT).unwrap();
    assert_eq!(just.parent.as_deref(), Some("yard-2"));
    let comparison = &just.comparisons[0];
    assert!((comparison.lost_points - 2.0).abs() < 1e-9 && comparison.worst_class == "car", "{comparison:?}");
    assert_eq!(comparison.to_string(), "cpu fp32: mean IoU of old classes 80.0 (cpu fp32) -> 78.0, -2.0 points; worst is car, -3.0");

    let bad = || write(dir, manifest(4, &[Some(0.8), Some(0.7), Some(0.7), Some(0.1), Some(0.9)]));
    let refused = try_add(dir, bad(), &STRICT).unwrap_err().to_string();
    assert!(refused.contains("yard-4 is not published"), "{refused}");
    assert!(refused.contains("more than the 2 points allowed"), "{refused}");
    let other = Gate { allow: vec!["yard-3".into()], ..STRICT };
    assert!(matches!(try_add(dir, bad(), &other), Err(Error::Gate { .. })));
    try_add(dir, bad(), &Gate { allow: vec!["yard-4".into()], ..STRICT }).unwrap();
}

#[test]
fn a_bundle_without_measured_quality_is_refused() {
    let dir = site(0);
    let dir = dir.path();
    let refused = try_add(dir, write(dir, manifest(1, &[])), &STRICT).unwrap_err().to_string();
    assert!(refused.contains("its graph cpu fp32 was not measured on labelled images"), "{refused}");
    try_add(dir, write(dir, manifest(1, &[])), &Gate { allow: vec!["yard-1".into()], ..STRICT }).unwrap();
    let refused = try_add(dir, good(dir, 2), &STRICT).unwrap_err().to_string();
    assert!(refused.contains("no graph of its parent yard-1.amis was measured"), "{refused}");
}

#[test]
fn classes_only_grow_and_versions_only_go_up() {
    let dir = site(0);
    let dir = dir.path();
    add(dir, 2, Channel::Stable);
    assert!(matches!(try_add(dir, good(dir, 1), &STRICT), Err(Error::Version { highest: 2, .. })));
    let mut swapped = manifest(3, &[Some(0.9); 4]);
    swapped.classes = ClassList::from_names(&["background", "car", "road", "tree"]).unwrap();
    let allow = Gate { allow: vec!["yard-3".into()], ..STRICT };
    assert!(try_add(dir, write(dir, swapped), &allow).unwrap_err().to_string().contains("class"));
}

#[test]
fn classes_extend_the_newest_release_as_well_as_the_parent() {
    let dir = site(0);
    let dir = dir.path();
    add(dir, 1, Channel::Stable);
    add(dir, 2, Channel::Stable);
    let mut fork = manifest(3, &[Some(0.9); 3]);
    fork.classes = ClassList::from_names(&["background", "road", "person"]).unwrap();
    fork.groups = amis_artifacts::model_spec::Groups(vec![1, 1, 1]);
    fork.lineage.parent_sha256 = Some("1".into());
    let error = try_add(dir, write(dir, fork), &STRICT).unwrap_err().to_string();
    assert!(error.contains("id 2 was car"), "{error}");
}

#[test]
fn the_same_bundle_may_come_again_for_other_devices() {
    let dir = site(0);
    let dir = dir.path();
    add(dir, 1, Channel::Canary);
    add(dir, 1, Channel::Stable);
    let other = write(dir, manifest(1, &[Some(0.7); 2]));
    assert!(matches!(try_add(dir, other, &STRICT), Err(Error::Version { highest: 1, .. })));
    crate::flow::publish(dir, repo::What::Staged);
    let releases = crate::client::Client::new(&dir.join("site")).releases();
    assert_eq!(releases, [("yard-1".to_owned(), "canary stable".to_owned())]);
}

#[test]
fn the_parent_is_the_bundle_that_it_was_trained_from() {
    let dir = site(0);
    let dir = dir.path();
    add(dir, 1, Channel::Stable);
    try_add(dir, write(dir, manifest(2, &[Some(0.2), Some(0.79), Some(0.1)])), &STRICT).unwrap();
    let mut child_of_1 = manifest(3, &[Some(0.8), Some(0.78), Some(0.6), Some(0.6)]);
    child_of_1.lineage.parent_sha256 = Some("1".into());
    assert_eq!(try_add(dir, write(dir, child_of_1), &STRICT).unwrap().parent.as_deref(), Some("yard-1"));
    let mut orphan = manifest(4, &[Some(0.8), Some(0.78), Some(0.6), Some(0.6), Some(0.6)]);
    orphan.lineage.parent_sha256 = None;
    assert_eq!(try_add(dir, write(dir, orphan), &STRICT).unwrap().parent.as_deref(), Some("yard-3"));
}

#[test]
fn a_damaged_bundle_is_refused() {
    let dir = site(0);
    let dir = dir.path();
    let bundle = good(dir, 1);
    let mut bytes = std::fs::read(&bundle).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    try_add(dir, bundle, &STRICT).unwrap_err();
    assert_eq!(dir.join("site/targets").read_dir().unwrap().count(), 0);
}
