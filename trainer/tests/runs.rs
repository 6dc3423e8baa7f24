//! Whole runs on a handful of synthetic images: repeatable, resumable, and clear about what is missing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use amis_artifacts::metrics::StepMetrics;
use amis_trainer::config::Config;
use amis_trainer::distributed::Ranks;
use amis_trainer::train::{self, LogRecord, Observer, Place};
use amis_trainer::{Error, Result};
use tch::Device;

use common::{small_config as config, small_data as data};

mod common;

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

fn run(config: &Config, out: &Path, stop_after: Option<usize>) -> Result<train::RunSummary> {
    let flag = AtomicBool::new(false);
    train::run(config, Place { dir: out, ranks: &Ranks::alone(), device: Device::Cpu, stop: &flag }, &mut StopAfter { left: stop_after, flag: &flag })
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
        assert!(!out.join("state").exists());
    }
}

#[test]
fn the_same_seed_gives_the_same_losses_and_another_one_others() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    let losses = |name: &str, seed: &str| -> Vec<_> {
        let out = folder.path().join(name);
        run(&config(&root, &[seed]), &out, None).unwrap();
        let terms = |record| if let LogRecord::Losses { terms, .. } = record { Some(terms) } else { None };
        train::read_log(&out).unwrap().into_iter().filter_map(terms).collect()
    };
    let (first, second, other) = (losses("a", "train.seed=5"), losses("b", "train.seed=5"), losses("c", "train.seed=6"));
    assert!(first.len() > 3 && first == second, "{first:?} {second:?}");
    assert_ne!(first, other);
}

/// Changes the last byte.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_state_gives_way_to_the_one_before_and_two_are_an_error() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let config = config(&data(folder.path()), &["train.save_every_s=0"]);
    let whole = folder.path().join("whole");
    run(&config, &whole, None).unwrap();
    // What is lost in each case: bytes of the tensors, the end of the manifest, the tensors altogether.
    type Fault = fn(&Path);
    let faults: [(&str, Fault); 3] = [
        ("tensors", |state| damage(&state.join("0-3.safetensors"))),
        ("manifest", |state| fs::write(state.join("0-3.json"), "{\"step\": 0, ").unwrap()),
        ("file", |state| fs::remove_file(state.join("0-3.safetensors")).unwrap()),
    ];
    for (name, fault) in faults {
        let out = folder.path().join(name);
        run(&config, &out, Some(3)).unwrap_err();
        let state = out.join("state");
        let mut found: Vec<_> = fs::read_dir(&state).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, ["0-2.json", "0-2.safetensors", "0-3.json", "0-3.safetensors"]);
        fault(&state);
        run(&config, &out, None).unwrap();
        for step in 0..3 {
            assert_eq!(weights(&out, step), weights(&whole, step), "step {step} after damage to the {name}");
        }
    }
    let out = folder.path().join("both");
    run(&config, &out, Some(3)).unwrap_err();
    damage(&out.join("state/0-2.safetensors"));
    damage(&out.join("state/0-3.safetensors"));
    let error = run(&config, &out, None).unwrap_err();
    assert!(matches!(error, Error::State { step: 0, .. }) && error.to_string().matches("does not match its manifest").count() == 2, "{error}");
}

/// Weights after one update of step 1 with plain SGD, as one vector.
fn after_one_update(root: &Path, base: &Path, lr: &str, more: &[&str]) -> Vec<f32> {
    let (lr, base) = (format!("train.increment.lr={lr}"), format!("train.base_checkpoint={}", base.display()));
    let once =
        ["train.increment.epochs=1", "optimizer.rule=sgd", "optimizer.schedule=constant", "optimizer.warmup=0", "optimizer.weight_decay=0.0", &lr, &base];
    let out = tempfile::tempdir_in(root).unwrap();
    run(&config(root, &[&once, more].concat()), out.path(), None).unwrap();
    let file = amis_artifacts::weights::read(&out.path().join("step-1/model.safetensors")).unwrap();
    file.into_values().flat_map(|tensor| tensor.data).collect()
}

#[test]
fn gradients_of_micro_batches_are_those_of_the_batch() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    let base = folder.path().join("base");
    run(&config(&root, &[]), &base, Some(5)).unwrap_err();
    let after = |lr: &str, more: &[&str]| after_one_update(&root, &base.join("step-0"), lr, more);
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (f64::from(a - b)).powi(2)).sum::<f64>().sqrt();
    let (start, whole) = (after("1e-30", &[]), after("9.0", &[]));
    let update = distance(&start, &whole);
    assert!(update > 1.0, "{update}");
    for parts in ["train.accumulate=2", "train.accumulate=4"] {
        let difference = distance(&after("9.0", &[parts]), &whole);
        assert!(difference <= 1e-5 * update, "{parts}: {difference} of {update}");
    }
    // Clipped to a hundredth of nothing, hardly anything moves.
    let clipped = distance(&start, &after("9.0", &["optimizer.clip_norm=0.001"]));
    assert!((clipped - 9.0 * 1.9 * 0.001).abs() < 1e-4, "{clipped}");
}

#[test]
fn half_precision_trains_and_resumes_with_its_loss_scale() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    for precision in ["train.precision=bf16", "train.precision=fp16"] {
        let config = config(&root, &[precision]);
        let (whole, stopped) = (folder.path().join(format!("{precision}-whole")), folder.path().join(format!("{precision}-stopped")));
        run(&config, &whole, None).unwrap();
        run(&config, &stopped, Some(3)).unwrap_err();
        run(&config, &stopped, None).unwrap();
        assert_eq!(weights(&stopped, 2), weights(&whole, 2), "{precision}");
        let scales = train::read_log(&whole).unwrap().into_iter().filter_map(|r| if let LogRecord::Losses { loss_scale, .. } = r { loss_scale } else { None });
        assert_eq!(scales.count() > 0, precision.ends_with("fp16"));
    }
}

#[test]
fn only_one_process_trains_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (config(&data(folder.path()), &[]), folder.path().join("run"));
    fs::create_dir(&out).unwrap();
    let held = fs::File::create(out.join("run.lock")).unwrap();
    held.lock().unwrap();
    fs::write(out.join("run.lock"), "4711\n").unwrap();
    let error = run(&config, &out, None).unwrap_err();
    assert!(error.to_string().contains("process 4711 is training in"), "{error}");
    drop(held);
    assert!(matches!(run(&config, &out, Some(1)), Err(Error::Stopped { .. })));
}

#[test]
fn the_log_says_where_and_how_long_a_step_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (config(&data(folder.path()), &[]), folder.path().join("run"));
    run(&config, &out, Some(1)).unwrap_err();
    run(&config, &out, Some(4)).unwrap_err();
    let log = train::read_log(&out).unwrap();
    let starts: Vec<_> =
        log.iter().filter_map(|r| if let LogRecord::Started { iteration, device, .. } = r { Some((*iteration, device.as_str())) } else { None }).collect();
    assert_eq!(starts, [(0, "cpu"), (1, "cpu"), (0, "cpu")]);
    assert!(log.iter().any(|r| matches!(r, LogRecord::Finished { step: 0, iteration: 4, seconds } if *seconds > 0.0)), "{log:?}");
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
    let other_input = with_base(&base.join("step-0"), &["image.width_px=64"]).unwrap_err();
    assert!(other_input.to_string().contains("its input is"), "{other_input}");
    let other_classes = with_base(&base.join("step-0"), &["task.steps=[[\"road\",\"car\"],[\"tree\"],[\"person\"]]"]).unwrap_err();
    assert!(other_classes.to_string().contains("classes by step"), "{other_classes}");
    assert_eq!(with_base(&base.join("step-0"), &["train.preset=finetune", "model.gab=true"]).unwrap().steps.len(), 3);
}

#[test]
fn a_run_goes_on_from_any_step_and_ends_like_one_that_trained_all() {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let root = data(folder.path());
    let (whole, one_more) = (folder.path().join("whole"), folder.path().join("one-more"));
    run(&config(&root, &[]), &whole, None).unwrap();
    let base = format!("train.base_checkpoint={}", whole.join("step-1").display());
    // The images of steps that are not trained need not be there any more.
    for step in 0..2 {
        fs::remove_file(root.join(format!("ImageSets/Steps/4-1-1/{step}.txt"))).unwrap();
    }
    let summary = run(&config(&root, &[&base]), &one_more, None).unwrap();
    assert_eq!(summary.checkpoints, [whole.join("step-1"), one_more.join("step-2")]);
    assert_eq!(weights(&one_more, 2), weights(&whole, 2));
    let base = format!("train.base_checkpoint={}", whole.join("step-2").display());
    let fewer = config(&root, &[&base, "task.steps=[[\"road\",\"pavement\",\"building\",\"car\"],[\"tree\"]]"]);
    let error = run(&fewer, &folder.path().join("fewer"), None).unwrap_err().to_string();
    assert!(error.contains("it is step 2, and the configuration has 2 steps"), "{error}");
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

#[test]
fn offline_is_one_step_with_the_classes_and_images_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&data(folder.path()), &["task.offline=true"]);
    assert_eq!(config.task.steps.len(), 1);
    let plan = train::Plan::new(&config).unwrap();
    let images: std::collections::BTreeSet<&String> = plan.images[0].iter().collect();
    assert_eq!((plan.images.len(), plan.images[0].len(), images.len()), (1, 8 + 3 + 5, 8 + 3 + 5));
    assert_eq!(plan.groups(0).0, [1, 6]);
}
