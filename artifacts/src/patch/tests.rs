#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

use super::*;
use crate::Error;
use crate::bundle::tests::{contents, manifest};
use crate::bundle::{self, Fault};
use crate::onnx::{DataType, GraphProto, ModelProto, TensorProto};

/// A model with two weights; every number of the first differs a little from seed to seed, the second has `classes` rows.
fn model(seed: i16, classes: usize) -> Vec<u8> {
    let tensor = |name: &str, data_type: DataType, raw: Vec<u8>| TensorProto {
        name: Some(name.into()),
        data_type: Some(data_type.into()),
        dims: vec![raw.len() as i64],
        raw_data: Some(raw),
        ..TensorProto::default()
    };
    let value = |i: i16| i.wrapping_mul(7919).wrapping_add(seed * (i % 3)).to_le_bytes();
    let weight = (0..20_000i16).flat_map(value).collect();
    let rows = (0..classes).flat_map(|class| vec![class as u8; 100]).collect();
    let initializer = vec![tensor("weight", DataType::Float16, weight), tensor("rows", DataType::Int8, rows)];
    let graph = GraphProto { name: Some("g".repeat(classes)), initializer, ..GraphProto::default() };
    ModelProto { ir_version: Some(8), graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.bundle("old", 3, model(1, 5), "a frame");
        place.bundle("new", 4, model(2, 6), "a frame");
        place
    }

    fn bundle(&self, name: &str, version: u64, graph: Vec<u8>, frame: &str) {
        let files = BTreeMap::from([("model.onnx".to_owned(), graph), ("frame.png".to_owned(), frame.into())]);
        let files = contents().into_iter().chain(files).collect();
        bundle::write(&self.at("x.amis"), bundle::BundleManifest { version, ..manifest() }, &files).unwrap();
        bundle::unpack(&self.at("x.amis"), &self.at(name)).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn apply(&self, parent: &str) -> crate::Result<bundle::BundleManifest> {
        apply(&self.at(parent), &self.at("patch"), &self.at("made"))
    }
}

fn same(a: &Path, b: &Path) {
    let (a_manifest, b_manifest) = (bundle::verify_folder(a).unwrap(), bundle::verify_folder(b).unwrap());
    assert_eq!((a_manifest, fs::read(a.join("manifest.json")).unwrap()), (b_manifest, fs::read(b.join("manifest.json")).unwrap()));
}

#[test]
fn a_patch_makes_the_new_bundle_byte_for_byte_and_is_small() {
    let place = Place::new();
    let bytes = make(&place.at("old"), &place.at("new"), &place.at("patch")).unwrap();
    assert!(bytes < 2500, "{bytes} bytes for 20,000 numbers that differ by 0, 1 or 2");
    place.apply("old").unwrap();
    same(&place.at("made"), &place.at("new"));
    // The other way round the weights shrink.
    make(&place.at("new"), &place.at("old"), &place.at("patch")).unwrap();
    place.apply("new").unwrap();
    same(&place.at("made"), &place.at("old"));
}

#[test]
fn a_patch_for_another_parent_and_a_damaged_parent_are_refused() {
    let place = Place::new();
    make(&place.at("old"), &place.at("new"), &place.at("patch")).unwrap();
    assert!(matches!(place.apply("new").unwrap_err(), Error::ForeignPatch { .. }));
    let graph = place.at("old/model.onnx");
    let mut bytes = fs::read(&graph).unwrap();
    bytes[1000] ^= 1;
    fs::write(&graph, &bytes).unwrap();
    assert!(matches!(place.apply("old").unwrap_err(), Error::Bundle { fault: Fault::Hash { .. }, .. }));
    fs::write(&graph, &bytes[..1000]).unwrap();
    assert!(matches!(place.apply("old").unwrap_err(), Error::Io { .. }));
    assert!(!place.at("made/manifest.json").exists());
}

#[test]
fn every_cut_and_many_flips_are_refused_or_harmless() {
    let place = Place::new();
    make(&place.at("old"), &place.at("new"), &place.at("patch")).unwrap();
    let good = fs::read(place.at("patch")).unwrap();
    for at in (0..good.len()).step_by(7) {
        fs::write(place.at("patch"), &good[..at]).unwrap();
        assert!(place.apply("old").is_err(), "cut at {at}");
        let mut flipped = good.clone();
        flipped[at] ^= 0x55;
        fs::write(place.at("patch"), &flipped).unwrap();
        if place.apply("old").is_ok() {
            same(&place.at("made"), &place.at("new"));
        }
    }
}

/// A patch of these segments behind a true start.
fn forged(place: &Place, segments: &[u8]) -> Error {
    let json = fs::read(place.at("new/manifest.json")).unwrap();
    let parent = bundle::manifest_sha256(&place.at("old")).unwrap();
    let text = [MAGIC, parent.as_bytes(), &(json.len() as u32).to_le_bytes(), &json, segments].concat();
    fs::write(place.at("patch"), zstd::encode_all(&text[..], 3).unwrap()).unwrap();
    place.apply("old").unwrap_err()
}

#[test]
fn sizes_and_places_that_a_patch_states_are_not_trusted() {
    let place = Place::new();
    let number = |n: u64| n.to_le_bytes();
    let says = |segments: &[u8]| forged(&place, segments).to_string();
    assert!(says(&[&[0][..], &number(u64::MAX)].concat()).contains("is to have 18446744073709551615 bytes"));
    assert!(says(&[&[0][..], &number(0)].concat()).contains("is to have 0 bytes"));
    assert!(says(&[&[3][..], &number(3)].concat()).contains("of kind 3"));
    assert!(says(&[&[2][..], &number(3)].concat()).contains("3 bytes of kind 2"));
    assert!(says(&[&[1][..], &number(8), &[200, 0], &number(0)].concat()).contains("file 200 of the parent"));
    assert!(says(&[&[1][..], &number(8), &[0, 0], &number(u64::MAX)].concat()).contains("8 bytes at 18446744073709551615"));
    assert!(says(&[&[1][..], &number(8), &[0, 0], &number(41_000)].concat()).contains("which has less"));
}
