//! The real program in an address space that is too small for a whole batch.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{SMALL, demo_config, small_data};

mod common;

/// One iteration whose activations take hundreds of MiB, and its images three.
const LARGE: [&str; 8] = [
    "task.offline=true",
    "model.dim=128",
    "model.patch_px=4",
    "image.crop_px=64",
    "image.width_px=64",
    "train.batch=64",
    "train.base.epochs=1",
    "train.workers=1",
];
/// What is taken from the memory that a run needs, in KiB.
const TOO_LITTLE: u64 = 200 << 10;

/// The program through a shell that limits its address space in KiB.
fn program(folder: &Path, out: &str, more: &str, limit: Option<u64>) -> Command {
    let limit = limit.map_or("unlimited".to_owned(), |kib| kib.to_string());
    let root = format!("data.root={}", folder.join("data").display());
    let settings = SMALL.iter().chain(&LARGE).copied().chain([root.as_str(), more]).flat_map(|setting| ["--set", setting]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {limit}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_amis-train"), "run"]).arg(demo_config());
    command.args(settings).args(["--device", "cpu", "--out"]).arg(folder.join(out)).stdout(Stdio::null()).stderr(Stdio::piped());
    // Threads reserve address space that they do not use.
    command.env("OMP_NUM_THREADS", "1").env("RAYON_NUM_THREADS", "1").env("MALLOC_ARENA_MAX", "1");
    command
}

/// Largest address space in KiB of a run without limit.
fn needed(folder: &Path) -> u64 {
    let mut child = program(folder, "whole", "train.batch_auto=false", None).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let found = status.lines().find_map(|line| line.strip_prefix("VmPeak:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = found.unwrap_or(0).max(peak);
    }
    peak
}

#[test]
fn out_of_memory_says_for_what_or_cuts_the_batch_into_parts() {
    let folder = tempfile::tempdir().unwrap();
    small_data(folder.path());
    let limit = needed(folder.path()) - TOO_LITTLE;
    let run = |out: &str, more: &str| -> Output { program(folder.path(), out, more, Some(limit)).output().unwrap() };

    let refused = run("refused", "train.batch_auto=false");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{text}");
    assert!(text.contains("out of memory while training on 64 images of 64x64 pixels at once: ") && text.contains("train.batch_auto=true"), "{text}");
    assert!(!text.contains("panicked"), "{text}");

    let cut = run("cut", "train.batch_auto=true");
    let text = String::from_utf8_lossy(&cut.stderr);
    assert!(cut.status.success() && text.contains("parts from now on"), "{text}");
    let log = fs::read_to_string(folder.path().join("cut/log.jsonl")).unwrap();
    assert!(log.contains("\"event\":\"split\"") && log.contains("\"event\":\"finished\""), "{log}");
}
