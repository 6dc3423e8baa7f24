//! What unpacking and patching cost; docs/benchmarks.md has the figures. Run them alone, because memory is that of the process:
//!
//!     cargo test --release -p amis-artifacts --test costs -- --ignored --nocapture unpack
//!     AMIS_PARENT=old.amis AMIS_BUNDLE=new.amis cargo test --release -p amis-artifacts --test costs -- --ignored --nocapture patch
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use amis_artifacts::{bundle, patch};

/// Largest memory that this process has had, in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Forgets the peak so far.
fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[test]
#[ignore = "a measurement"]
fn unpack_100_mb() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.amis");
    {
        // Weights hardly compress: noise of which one byte in eight is known.
        let mut state = 1u64;
        let mut number = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 8) & 0x00ff_ffff_ffff_ffff
        };
        let graph: Vec<u8> = (0..100_000_000 / 8).flat_map(|_| number().to_le_bytes()).collect();
        let manifest = serde_json::from_slice(&fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifest.json")).unwrap()).unwrap();
        bundle::write(&path, manifest, &BTreeMap::from([("model.onnx".to_owned(), graph)])).unwrap();
    }
    println!("{} bytes packed", fs::metadata(&path).unwrap().len());
    for turn in 0..5 {
        let into = dir.path().join(turn.to_string());
        reset_peak();
        let before = peak_mib();
        let start = Instant::now();
        bundle::unpack(&path, &into).unwrap();
        let unpacked = start.elapsed();
        bundle::verify_folder(&into).unwrap();
        println!("unpack {unpacked:.2?}, verify {:.2?}, memory {before} MiB before, at most {} MiB", start.elapsed() - unpacked, peak_mib());
    }
}

#[test]
#[ignore = "a measurement"]
fn patch_of_two_bundles() {
    let named = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let bundle = named("AMIS_BUNDLE");
    bundle::unpack(&named("AMIS_PARENT"), &at("old")).unwrap();
    bundle::unpack(&bundle, &at("new")).unwrap();
    let start = Instant::now();
    let bytes = patch::make(&at("old"), &at("new"), &at("patch")).unwrap();
    let made = start.elapsed();
    reset_peak();
    let start = Instant::now();
    patch::apply(&at("old"), &at("patch"), &at("made")).unwrap();
    let full = fs::metadata(&bundle).unwrap().len();
    let part = 100.0 * bytes as f64 / full as f64;
    println!("{bytes} of {full} bytes, {part:.1} %; made in {made:.2?}, applied in {:.2?} with at most {} MiB", start.elapsed(), peak_mib());
}
