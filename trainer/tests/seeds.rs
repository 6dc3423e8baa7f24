//! `amis-train run` as a user starts it: several seeds, and devices that are not there.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use common::{SMALL, demo_config, small_data};

mod common;

fn run(folder: &Path, more: &[&str]) -> Output {
    let root = format!("data.root={}", folder.join("data").display());
    let settings = SMALL.iter().copied().chain([root.as_str()]).flat_map(|setting| ["--set", setting]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_amis-train"));
    command.arg("run").arg(demo_config()).args(settings).args(more).env("OMP_NUM_THREADS", "1").output().unwrap()
}

#[test]
fn several_seeds_give_mean_and_spread_and_are_resumed() {
    let folder = tempfile::tempdir().unwrap();
    small_data(folder.path());
    let out = folder.path().join("seeds");
    let arguments = ["--out", out.to_str().unwrap(), "--device", "cpu", "--seeds", "0,3"];
    // The first seed alone, as a run that was stopped after it would leave it.
    assert!(run(folder.path(), &["--out", out.to_str().unwrap(), "--device", "cpu", "--seeds", "0"]).status.success());
    let again = run(folder.path(), &[&arguments[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    let text = String::from_utf8_lossy(&again.stderr);
    assert_eq!(text.matches("(was finished)").count(), 3, "{text}");
    assert_eq!((json["seeds"][0]["seed"].as_u64(), json["seeds"][1]["seed"].as_u64()), (Some(0), Some(3)));
    assert!(out.join("seed-3/step-2/model.safetensors").is_file());
    let figures = json["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 7 + 4);
    let all = figures.iter().find(|figure| figure["name"] == "all").unwrap();
    let of = |seed: usize| json["seeds"][seed]["steps"][2]["all"]["miou"].as_f64().unwrap();
    let (mean, half) = ((of(0) + of(1)) / 2.0, (of(0) - of(1)).abs() / 2.0);
    assert!((all["mean"].as_f64().unwrap() - mean).abs() < 1e-12 && half > 0.0);
    assert!((all["std"].as_f64().unwrap() - half * 2f64.sqrt()).abs() < 1e-12);

    // Presets from the bases of their own seeds.
    let base = format!("train.base_checkpoint={}/seed-{{seed}}/step-0", out.display());
    let other = folder.path().join("other");
    let finetune =
        run(folder.path(), &["--set", "train.preset=finetune", "--set", "model.gab=true", "--set", &base, "--out", other.to_str().unwrap(), "--seeds", "0,3"]);
    let table = String::from_utf8_lossy(&finetune.stdout);
    assert!(finetune.status.success() && table.contains("mean") && table.contains("seed 3") && table.lines().count() == 12, "{table}");
    let parents: Vec<String> = ["seed-0", "seed-3"].map(|seed| std::fs::read_to_string(other.join(seed).join("config.json")).unwrap()).into();
    assert!(parents[0].contains("seed-0/step-0") && parents[1].contains("seed-3/step-0"));
}

#[test]
fn a_device_that_is_no_device_is_wrong_usage_and_one_that_is_not_there_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &["--device", "gpu"]).status.code(), Some(2));
    let missing = run(folder.path(), &["--device", "cuda:4096"]);
    let text = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(missing.status.code(), Some(4), "{text}");
    assert!(text.contains("no device cuda:4096") && text.contains("--device cpu"), "{text}");
}
