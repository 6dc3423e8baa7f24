//! Whole runs on a handful of synthetic images: repeatable, resumable, and clear about what is missing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use amis_artifacts::metrics::StepMetrics;
use amis_data::synth::{self, SynthOptions};
use amis_trainer::config::Config;
use amis_trainer::train::{self, Observer};
use amis_trainer::{Error, Result};

/// Sets the stop flag after a number of iterations over all steps.
struct StopAfter<'a> {
    left: Option<usize>,
    flag: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn step_started(&mut self, _: usize, _: &[String], _: usize, _: usize, _: usize) {}
    fn iteration(&mut self, _: usize, _: Option<f64>) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            self.flag.store(*left == 0, Ordering::Relaxed);
        }
    }
    fn validated(&mut self, _: usize, _: f64, _: bool) {}
    fn step_finished(&mut self, _: &StepMetrics, _: bool) {}
}

fn config(data: &Path, more: &[&str]) -> Config {
    let root = format!("data.root={}", data.display());
    let small = ["model.dim=16", "model.depth=1", "model.heads=2", "model.decoder_heads=2", "image.crop_px=32", "image.height_px=32", "image.width_px=48"];
    let short = ["train.batch=4", "train.base.epochs=2", "train.increment.epochs=2", "train.eval_every=1"];
    let all = [root.as_str()].iter().chain(&small).chain(&short).chain(more).map(|s| s.to_string()).collect::<Vec<_>>();
    Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo.toml"), &all).unwrap()
}

fn data(folder: &Path) -> PathBuf {
    let dir = folder.join("data");
    synth::write(&dir, &SynthOptions { step_images: [8, 3, 5], val_images: 3, width_px: 48, height_px: 32, seed: 1 }).unwrap();
    dir
}

fn run(config: &Config, out: &Path, stop_after: Option<usize>) -> Result<train::RunSummary> {
    let flag = AtomicBool::new(false);
    train::run(config, out, &flag, &mut StopAfter { left: stop_after, flag: &flag })
}

fn weights(out: &Path, step: usize) -> Vec<u8> {
    fs::read(out.join(format!("step-{step}/model.safetensors"))).unwrap()
}

#[test]
fn a_run_stopped_at_any_iteration_ends_bit_equal_to_one_that_was_not() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let config = config(&data(folder.path()), &[]);
    let whole = folder.path().join("whole");
    // Step 1 has 3 images, fewer than a batch of 4.
    assert_eq!(run(&config, &whole, None).unwrap().steps.len(), 3);
    for stop_after in [1, 3, 4, 5, 6, 7] {
        let out = folder.path().join(format!("stopped-{stop_after}"));
        match run(&config, &out, Some(stop_after)) {
            Err(Error::Stopped { .. }) => {}
            other => panic!("expected a stop after {stop_after}, got {other:?}"),
        }
        run(&config, &out, None).unwrap();
        for step in 0..3 {
            assert_eq!(weights(&out, step), weights(&whole, step), "step {step} after a stop at {stop_after}");
        }
        assert!(!out.join("state.json").exists());
    }
}

#[test]
fn a_damaged_state_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (config(&data(folder.path()), &[]), folder.path().join("run"));
    run(&config, &out, Some(2)).unwrap_err();
    let state = fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "safetensors")).unwrap();
    let mut bytes = fs::read(&state).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&state, bytes).unwrap();
    assert!(run(&config, &out, None).unwrap_err().to_string().contains("does not match its manifest"));
}

#[test]
fn a_missing_or_foreign_parent_is_an_error_and_never_a_fresh_model() {
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    let base = folder.path().join("base");
    run(&config(&root, &[]), &base, Some(5)).unwrap_err();
    let with_base = |base: &Path, more: &[&str]| {
        let key = format!("train.base_checkpoint={}", base.display());
        let config = config(&root, &[&[key.as_str()], more].concat());
        run(&config, &tempfile::tempdir_in(folder.path()).unwrap().path().join("run"), None)
    };
    let nowhere = with_base(&folder.path().join("nowhere"), &[]).unwrap_err();
    assert!(nowhere.to_string().contains("checkpoint.json"), "{nowhere}");
    let other_sizes = with_base(&base.join("step-0"), &["model.dim=32"]).unwrap_err();
    assert!(matches!(other_sizes, Error::Parent { step: 1, .. }), "{other_sizes}");
    let other_classes = with_base(&base.join("step-0"), &["task.steps=[[\"road\",\"car\"],[\"tree\"],[\"person\"]]"]).unwrap_err();
    assert!(other_classes.to_string().contains("classes by step"), "{other_classes}");
    assert_eq!(with_base(&base.join("step-0"), &["train.preset=finetune", "model.gab=true"]).unwrap().steps.len(), 3);
}

#[test]
fn a_step_without_images_and_a_class_without_a_name_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    let unknown = run(&config(&root, &["task.steps=[[\"road\"],[\"tram\"]]"]), &folder.path().join("a"), None).unwrap_err();
    assert!(unknown.to_string().contains("no class tram"), "{unknown}");
    fs::write(root.join("ImageSets/Steps/4-1-1/1.txt"), "").unwrap();
    let empty = run(&config(&root, &[]), &folder.path().join("b"), None).unwrap_err();
    assert!(matches!(empty, Error::NoImages { step: 1, .. }), "{empty}");
}

#[test]
fn a_label_of_no_class_is_named_before_training_starts() {
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    let names = fs::read_to_string(root.join("ImageSets/Steps/4-1-1/2.txt")).unwrap();
    let label = root.join(format!("SegmentationClass/{}.png", names.lines().next().unwrap()));
    let mut values = vec![1; 48 * 32];
    values[48 + 5] = 77;
    image::GrayImage::from_raw(48, 32, values).unwrap().save(&label).unwrap();
    let error = run(&config(&root, &[]), &folder.path().join("run"), None).unwrap_err().to_string();
    assert!(error.contains(&label.display().to_string()) && error.contains("77") && error.contains('5'), "{error}");
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_folder_with_another_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    let out = folder.path().join("run");
    run(&config(&root, &[]), &out, Some(1)).unwrap_err();
    let other = run(&config(&root, &["train.seed=9"]), &out, None).unwrap_err();
    assert!(other.to_string().contains("train.seed is 1 there and 9 now"), "{other}");
}
