#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::classes::ClassList;
use crate::image_spec::{Fit, ImageSpec};
use crate::model_spec::Groups;
use crate::{Error, files};

/// A manifest whose files are those of [`contents`].
pub(crate) fn manifest() -> BundleManifest {
    let file = |name: &str| FileEntry { file: name.into(), ..FileEntry::default() };
    BundleManifest {
        format_version: FORMAT_VERSION,
        name: "yard".into(),
        version: 3,
        parent: Some(Parent { version: 2, manifest_sha256: files::sha256(b"parent") }),
        minimum_runtime: "0.1.0".into(),
        classes: ClassList::from_names(&["background", "road"]).unwrap(),
        groups: Groups(vec![1, 1]),
        image_spec: ImageSpec::imagenet(64, 64, Fit::Stretch),
        graphs: vec![GraphEntry { target: "cpu".into(), precision: "fp32".into(), entry: file("model.onnx"), quality: None }],
        calibration: Some(CalibrationSummary { method: "auto".into(), images: 200, key_sha256: files::sha256(b"key") }),
        self_test: Some(SelfTest {
            frames: vec![SelfTestFrame { image: file("frame.png"), map: file("map.png") }],
            min_agreement: 0.95,
            max_latency_ms: Some(40.0),
        }),
        lineage: Lineage {
            step: 0,
            checkpoint_sha256: files::sha256(b"checkpoint"),
            weights_sha256: files::sha256(b"weights"),
            parent_sha256: None,
            config_sha256: files::sha256(b"config"),
            trainer_version: "0.1.0".into(),
        },
        miou_all: Some(0.5),
        licence: Some("MIT".into()),
        notes: None,
    }
}

pub(crate) fn contents() -> BTreeMap<String, Vec<u8>> {
    [("model.onnx", "graph bytes"), ("frame.png", "a frame"), ("map.png", "its classes")].map(|(name, text)| (name.to_owned(), text.into())).into()
}

fn fault(result: crate::Result<BundleManifest>) -> Fault {
    match result.unwrap_err() {
        Error::Bundle { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn equal_inputs_give_equal_bytes_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.amis"), dir.path().join("b.amis"));
    let written = write(&a, manifest(), &contents()).unwrap();
    write(&b, manifest(), &contents()).unwrap();
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    assert_eq!((read_manifest(&a).unwrap(), written.unpacked_bytes()), (written.clone(), 29));
    let out = dir.path().join("out");
    assert_eq!(unpack(&a, &out).unwrap(), written);
    assert_eq!((read_folder(&out).unwrap(), verify_folder(&out).unwrap()), (written.clone(), written));
    contents().iter().for_each(|(name, bytes)| assert_eq!(&fs::read(out.join(name)).unwrap(), bytes));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 4);
    let manifest_sha256 = [&a, &out].map(|path| manifest_sha256(path).unwrap());
    assert!(manifest_sha256[0] == manifest_sha256[1] && manifest_sha256[0] == files::sha256_file(&out.join(MANIFEST)).unwrap());
}

#[test]
fn what_is_not_stated_is_not_written() {
    let mut bare = manifest();
    (bare.parent, bare.calibration, bare.self_test, bare.licence) = (None, None, None, None);
    let json = serde_json::to_string(&bare).unwrap();
    assert!(["parent\":", "calibration", "self_test", "licence", "quality", "notes"].iter().all(|field| !json.contains(field)), "{json}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.amis");
    let written = write(&path, bare, &BTreeMap::from([("model.onnx".to_owned(), vec![1])])).unwrap();
    assert_eq!(read_manifest(&path).unwrap(), written);
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("a.amis"), dir.path().join("out"));
    let written = write(&path, manifest(), &contents()).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        fs::write(&path, &good[..at]).unwrap();
        assert!(unpack(&path, &out).is_err(), "cut at {at}");
        let mut flipped = good.clone();
        flipped[at] ^= 0x55;
        fs::write(&path, &flipped).unwrap();
        if let Ok(manifest) = unpack(&path, &out) {
            assert_eq!(manifest, written, "flipped at {at}");
        }
    }
}

#[test]
fn a_manifest_that_contradicts_itself_is_neither_written_nor_read() {
    type Change = fn(&mut BundleManifest);
    let changes: [(&str, Change); 18] = [
        ("name \"../x\"", |m| m.name = "../x".into()),
        ("version 18446744073709551615", |m| m.version = u64::MAX),
        ("parent has version 3", |m| m.parent.as_mut().unwrap().version = 3),
        ("parent's SHA-256", |m| m.parent.as_mut().unwrap().manifest_sha256 = "00".into()),
        ("minimum_runtime is \"1\"", |m| m.minimum_runtime = "1".into()),
        ("3 classes in groups, 2", |m| m.groups = Groups(vec![1, 2])),
        ("height_px is 4000000000", |m| m.image_spec.height_px = 4_000_000_000),
        ("no graph", |m| m.graphs.clear()),
        ("two graphs for cpu fp32", |m| m.graphs.push(m.graphs[0].clone())),
        ("file name \"../x\"", |m| m.graphs[0].entry.file = "../x".into()),
        ("file name \"/etc/x\"", |m| m.graphs[0].entry.file = "/etc/x".into()),
        ("file name \".hidden\"", |m| m.graphs[0].entry.file = ".hidden".into()),
        ("file name \"manifest.json\"", |m| m.graphs[0].entry.file = MANIFEST.into()),
        ("file name \"map.png\"", |m| m.self_test.as_mut().unwrap().frames[0].image.file = "map.png".into()),
        ("0 frames", |m| m.self_test.as_mut().unwrap().frames.clear()),
        ("min_agreement of its self-test is 2", |m| m.self_test.as_mut().unwrap().min_agreement = 2.0),
        ("max_latency_ms of its self-test is 0", |m| m.self_test.as_mut().unwrap().max_latency_ms = Some(0.0)),
        ("3 classes are measured of model.onnx, expected 2", |m| {
            m.graphs[0].quality = Some(Quality { images: 101, argmax_agreement: 0.99, miou: Some(0.5), iou: vec![None; 3] });
        }),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.amis");
    for (says, change) in changes {
        let mut good = manifest();
        good.files_mut().for_each(|entry| entry.sha256 = files::sha256(b""));
        good.validate().unwrap();
        change(&mut good);
        let found = good.validate().unwrap_err();
        assert!(matches!(&found, Fault::Manifest { reason } if reason.contains(says)), "{says}: {found}");
        assert_eq!(fault(BundleManifest::parse(&serde_json::to_vec(&good).unwrap(), &path)), found);
        let files = good.files().map(|f| (f.file.clone(), vec![1])).collect();
        assert!(write(&path, good, &files).is_err() && !path.exists(), "{says}");
    }
}

#[test]
fn sizes_whose_sum_overflows_are_too_large() {
    let mut huge = manifest();
    huge.files_mut().for_each(|entry| (entry.bytes, entry.sha256) = (u64::MAX, files::sha256(b"")));
    huge.self_test = None;
    assert_eq!(huge.validate(), Err(Fault::Large { found_bytes: u64::MAX }));
}

#[test]
fn another_format_and_unknown_fields_are_refused_by_name() {
    let path = Path::new("a.amis");
    let mut json = serde_json::to_value(manifest()).unwrap();
    let mut parse = |change: fn(&mut serde_json::Value)| {
        change(&mut json);
        fault(BundleManifest::parse(&serde_json::to_vec(&json).unwrap(), path))
    };
    let unknown = parse(|json| json["graphs"][0]["surprise"] = 1.into());
    assert!(matches!(&unknown, Fault::Manifest { reason } if reason.contains("surprise")), "{unknown}");
    // A version 1 had no minimum_runtime: that is not what is wrong with it.
    let old = parse(|json| *json = serde_json::json!({ "format_version": 1, "name": "yard" }));
    assert_eq!(old, Fault::Format { found: 1 });
    let message = Error::Bundle { path: path.into(), fault: old };
    assert_eq!(message.to_string(), "a.amis cannot be used as a bundle: its format is version 1, this tool reads version 2");
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(matches!(fault(BundleManifest::parse(&deep, path)), Fault::Manifest { .. }));
}

#[test]
fn a_runtime_that_is_too_old_is_told() {
    let (path, mut manifest) = (Path::new("a.amis"), manifest());
    manifest.minimum_runtime = "0.9.10".into();
    for (version, fits) in [("0.9.10", true), ("0.10.0", true), ("1.0.0", true), ("0.9.9", false), ("0.8.11", false)] {
        let found = manifest.require_runtime(path, version);
        assert_eq!(found.is_ok(), fits, "{version}");
    }
    let message = manifest.require_runtime(path, "0.9.9").unwrap_err().to_string();
    assert!(message.contains("needs version 0.9.10") && message.contains("this is 0.9.9"), "{message}");
}

#[test]
fn a_folder_is_held_to_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("a.amis"), dir.path().join("out"));
    write(&path, manifest(), &contents()).unwrap();
    unpack(&path, &out).unwrap();
    let graph = out.join("model.onnx");
    let name = || "model.onnx".to_owned();
    fs::write(&graph, "other bytes").unwrap();
    assert!(matches!(fault(verify_folder(&out)), Fault::Hash { .. }));
    fs::write(&graph, "graph").unwrap();
    assert_eq!(fault(verify_folder(&out)), Fault::Size { name: name(), found_bytes: 5, expected_bytes: 11 });
    fs::remove_file(&graph).unwrap();
    assert_eq!(fault(verify_folder(&out)), Fault::Missing { name: name() });
    std::os::unix::fs::symlink("map.png", &graph).unwrap();
    assert!(matches!(fault(verify_folder(&out)), Fault::Kind { .. }));
    // The link is replaced, not followed.
    unpack(&path, &out).unwrap();
    assert_eq!((verify_folder(&out).is_ok(), fs::read(out.join("map.png")).unwrap()), (true, b"its classes".to_vec()));
}

/// After a change: `AMIS_WRITE_SCHEMA=1 cargo test --release -p amis-artifacts --lib schema`.
#[test]
fn the_published_schema_is_that_of_this_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bundle-manifest.schema.json");
    let current = serde_json::to_string_pretty(&schemars::schema_for!(BundleManifest)).unwrap() + "\n";
    if std::env::var_os("AMIS_WRITE_SCHEMA").is_some() {
        fs::write(&path, &current).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == current, "docs/bundle-manifest.schema.json is not current");
}
