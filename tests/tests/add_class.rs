//! One command from images of a new class to a published release, on a tiny network.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A program of the toolkit, in `dir`.
fn start(dir: &Path, program: &str, arguments: &str) -> Output {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().skip(1).take(2).find(|f| f.join("amis").is_file()).unwrap_or_else(|| panic!("build all programs first: make build"));
    let mut command = Command::new(folder.join(program));
    command.current_dir(dir).args(arguments.split_whitespace()).env("AMIS_PASSPHRASE", "snakeoil").env("OMP_NUM_THREADS", "1");
    command.output().unwrap()
}

fn json(dir: &Path, program: &str, arguments: &str) -> Value {
    let output = start(dir, program, &format!("{arguments} --json"));
    assert!(output.status.success(), "{program} {arguments}:\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Overrides of `configs/demo.toml` for seconds of training.
const TINY: &str = "--set data.root=data --set model.dim=16 --set model.depth=1 --set model.heads=2 --set model.decoder_heads=2 --set image.crop_px=32 \
     --set image.height_px=32 --set image.width_px=48 --set train.batch=4 --set train.base.epochs=2 --set train.increment.epochs=2 --set train.eval_every=1";

/// Data, a model of two steps, and a repository that has it.
fn prepare(dir: &Path) {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/demo.toml");
    std::fs::copy(demo, dir.join("demo.toml")).unwrap();
    json(dir, "amis-train", "synth data --images 8,3,5 --val 3 --width 48 --height 32");
    let steps = r#"task.steps=[["road","pavement","building","car"],["tree"]]"#;
    json(dir, "amis-train", &format!("run demo.toml {TINY} --set {steps} --out run --device cpu"));
    json(dir, "amis-export", "onnx --checkpoint run/step-1 --out first.onnx");
    json(dir, "amis-export", "verify --checkpoint run/step-1 --onnx first.onnx --out first.json");
    json(dir, "amis-export", "bundle --checkpoint run/step-1 --graph cpu:fp32:first.onnx --verification first.json --name yard --version 1");
    json(dir, "amis-export", "repo init site --keys keys");
    json(dir, "amis-export", "repo add site yard-1.amis --channel stable");
    json(dir, "amis-export", "repo publish site --keys keys");
}

#[test]
fn a_class_is_added_with_one_command_that_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare(dir);
    let command = "add-class --from run/step-1 --images data --name person --publish site --keys keys --max-old-drop 100";

    let planned = start(dir, "amis", &format!("{command} --dry-run"));
    let lines = String::from_utf8(planned.stderr).unwrap();
    assert!(lines.contains("amis-train run add-class-person/step.toml") && lines.contains("amis-export repo publish site --keys keys"), "{lines}");
    assert!(!dir.join("add-class-person").exists());

    // Without keys it ends with a staged release.
    let staged = json(dir, "amis", &command.replace(" --keys keys", ""));
    assert_eq!((staged["release"].as_str(), staged["stations"].as_array().unwrap().len()), (Some("yard-2"), 7));
    let done = json(dir, "amis", command);
    let stations: Vec<(&str, bool)> =
        done["stations"].as_array().unwrap().iter().map(|s| (s["station"].as_str().unwrap(), s["was_done"].as_bool().unwrap())).collect();
    let expected = ["train", "export", "calibrate", "quantize cpu:int8", "verify", "bundle", "gate"].map(|name| (name, true));
    assert_eq!(stations, [&expected[..], &[("publish", false)]].concat());

    let status = json(dir, "amis-export", "repo status site");
    let releases: Vec<u64> = status["releases"].as_array().unwrap().iter().map(|r| r["version"].as_u64().unwrap()).collect();
    assert_eq!((releases, status["staged"].as_bool()), (vec![1, 2], Some(false)));
    let manifest = json(dir, "amis-export", "inspect add-class-person/yard-2.amis");
    assert!(manifest.to_string().contains("person"), "{manifest}");

    // What was changed is made again, with all behind it.
    std::fs::write(dir.join("add-class-person/calibration.json"), "{}").unwrap();
    let again = json(dir, "amis", command);
    let made: Vec<&str> = again["stations"].as_array().unwrap().iter().filter(|s| s["was_done"] == false).map(|s| s["station"].as_str().unwrap()).collect();
    assert_eq!(made, ["calibrate"], "and the table came out as it was");

    let known = start(dir, "amis", "add-class --from run/step-1 --images data --name tree --publish site");
    assert_eq!(known.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&known.stderr).contains("knows \"tree\" already"));
}

#[test]
fn the_front_passes_everything_through() {
    let dir = tempfile::tempdir().unwrap();
    let help = start(dir.path(), "amis", "train --help");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("amis-train"));
    assert_eq!(start(dir.path(), "amis", "export inspect nothing").status.code(), Some(3));
    assert_eq!(start(dir.path(), "amis", "run --no-such-option").status.code(), Some(2));
}
