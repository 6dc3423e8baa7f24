//! Measuring a checkpoint again: the figures of its own validation come out, exactly, and what differs is what was asked for.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output};

use amis_artifacts::metrics::StepMetrics;

use common::{SMALL, demo_config, small_data};

mod common;

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_amis-train")).args(arguments).env("OMP_NUM_THREADS", "1").env("RUST_LOG", "warn").output().unwrap()
}

fn metrics(arguments: &[&str]) -> StepMetrics {
    let output = program(&[&["eval", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = program(&[&["eval"], arguments].concat());
    assert_eq!(output.status.code(), Some(3));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_checkpoint_gives_its_metrics_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (small_data(folder.path()), folder.path().join("run"));
    let root = format!("data.root={}", data.display());
    let settings: Vec<&str> = SMALL.iter().copied().chain([root.as_str(), "train.workers=1"]).flat_map(|s| ["--set", s]).collect();
    let config = demo_config();
    let trained = program(&[&["run", config.to_str().unwrap(), "--out", run.to_str().unwrap(), "--device", "cpu"], settings.as_slice()].concat());
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let step = |step: usize| run.join(format!("step-{step}")).display().to_string();
    let kept = |step: usize| -> StepMetrics { serde_json::from_slice(&fs::read(run.join(format!("step-{step}/metrics.json"))).unwrap()).unwrap() };
    for number in [1, 2] {
        assert_eq!(metrics(&[&step(number), "--device", "cpu"]), kept(number), "step {number}");
    }

    // After step 1, persons are not known yet: their pixels come in as background or not at all.
    let background = metrics(&[&step(1), "--future", "background"]);
    assert_ne!(background.classes[0].pixels, kept(1).classes[0].pixels);
    assert_eq!(background.classes[1].pixels, kept(1).classes[1].pixels);

    // Another place, another list, tables and pictures.
    let moved = folder.path().join("moved");
    fs::rename(&data, &moved).unwrap();
    assert!(refused(&[&step(2)]).contains(&data.display().to_string()));
    let names = fs::read_to_string(moved.join("ImageSets/Segmentation/val.txt")).unwrap();
    fs::write(moved.join("one.txt"), names.lines().next().unwrap()).unwrap();
    let (moved, overlays) = (moved.display().to_string(), folder.path().join("overlays"));
    let output = program(&["eval", &step(2), "--data", &moved, "--list", "one.txt", "--confusion", "--overlays", overlays.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["| person ", "| all classes, background ", "| truth "] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let pictures: Vec<_> = fs::read_dir(&overlays).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(pictures.len(), 1);
    assert_eq!(image::image_dimensions(&pictures[0]).unwrap(), (2 * 48, 32));
    assert!(pictures[0].ends_with(format!("{}.png", names.lines().next().unwrap())));

    // A configuration file in place of the checkpoint's own, of the same task and of another.
    let toml = fs::read_to_string(demo_config()).unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text.replace("demo-out/data", &moved)).unwrap();
        folder.path().join(name).display().to_string()
    };
    let same = write("same.toml", &toml);
    assert_eq!(metrics(&[&step(2), "--data", &same, "--device", "cpu"]), kept(2));
    let other = write("other.toml", &toml.replace("\"tree\"", "\"person\"").replace("[\"person\"]]", "[\"tree\"]]"));
    assert!(refused(&[&step(1), "--data", &other]).contains("the checkpoint has background, road, pavement, building, car, tree"));

    // A checkpoint that was imported knows no data set.
    let manifest = run.join("step-2/checkpoint.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    json["config"] = serde_json::json!({ "imported": {} });
    fs::write(&manifest, json.to_string()).unwrap();
    assert!(refused(&[&step(2)]).contains("name a configuration file by --data"));
    assert_eq!(metrics(&[&step(2), "--data", &same, "--device", "cpu"]), kept(2));
}
