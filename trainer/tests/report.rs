//! The page about a run: everything is in it, and nothing outside is needed.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use amis_artifacts::cli::{describe, exit_code};
use amis_artifacts::metrics::StepMetrics;
use amis_data::synth::{self, SynthOptions};
use amis_trainer::config::Config;
use amis_trainer::distributed::Ranks;
use amis_trainer::report;
use amis_trainer::train::{self, Observer, Place};
use tch::Device;

const CLASSES: [&str; 7] = ["background", "road", "pavement", "building", "car", "tree", "person"];
const TINY: [&str; 14] = [
    "image.height_px=32",
    "image.width_px=40",
    "image.crop_px=32",
    "model.dim=16",
    "model.depth=1",
    "model.heads=2",
    "model.decoder_depth=1",
    "train.batch=2",
    "train.base.epochs=3",
    "train.increment.epochs=2",
    "train.eval_every=1",
    "train.workers=1",
    "optimizer.warmup=1",
    "train.seed=7",
];

struct Silent;

impl Observer for Silent {
    fn step_started(&mut self, _: usize, _: &[String], _: usize, _: usize, _: usize) {}
    fn iteration(&mut self, _: usize, _: Option<f64>) {}
    fn validated(&mut self, _: usize, _: f64, _: bool) {}
    fn step_finished(&mut self, _: &StepMetrics, _: bool) {}
}

fn data(root: &Path) -> PathBuf {
    let options = SynthOptions { step_images: [4, 2, 2], val_images: 5, width_px: 64, height_px: 48, seed: 3 };
    synth::write(&root.join("data"), &options).unwrap();
    root.join("data")
}

fn config(data: &Path, settings: &[&str]) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo.toml");
    let root = format!("data.root={}", data.display());
    let settings: Vec<String> = TINY.iter().copied().chain([root.as_str()]).chain(settings.iter().copied()).map(str::to_owned).collect();
    Config::load(&path, &settings).unwrap()
}

fn train(config: &Config, dir: &Path) {
    train::run(config, Place { dir, ranks: &Ranks::alone(), device: Device::Cpu, stop: &AtomicBool::new(false) }, &mut Silent).unwrap();
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

/// IoU of a class after a step.
fn iou(run: &Path, step: usize, class: usize) -> f64 {
    let metrics: StepMetrics = serde_json::from_slice(&std::fs::read(run.join(format!("step-{step}/metrics.json"))).unwrap()).unwrap();
    metrics.classes[class].iou.unwrap()
}

fn must_stand_alone(page: &str) {
    for outside in ["http", "<script", "<link", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    assert_eq!(count(page, " src="), count(page, "src=\"data:image/"));
}

#[test]
fn the_page_of_a_run_holds_classes_steps_pictures_and_the_compared_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let (amis, finetune) = (dir.path().join("amis"), dir.path().join("finetune"));
    train(&config(&data, &[]), &amis);
    let base = format!("train.base_checkpoint={}", amis.join("step-0").display());
    train(&config(&data, &["train.preset=finetune", "model.gab=true", &base]), &finetune);

    let alone = amis.join("report.html");
    report::write(&amis, &[], None, &alone, &|_, _| {}).unwrap();
    let page = std::fs::read_to_string(&alone).unwrap();
    must_stand_alone(&page);
    for class in CLASSES {
        assert!(page.contains(&format!("</span>{class}</th>")), "a row for {class}");
    }
    for step in 0..3 {
        assert!(page.contains(&format!(">step {step}</th>")), "a column for step {step}");
        assert!(page.contains(&format!("<h3>Step {step} ")), "curves of step {step}");
    }
    // Four images: photograph, truth, old model, new model. The two worst and the two best of five: photograph, truth, prediction.
    assert_eq!((count(&page, "data:image/jpeg"), count(&page, "data:image/png")), (4 + 4, 12 + 8));
    assert!(page.contains("out of all 5 validation images"));
    let (then, now) = (iou(&amis, 0, 1), iou(&amis, 2, 1));
    let row = format!("<td>0</td><td>{:.1}</td><td>{:.1}</td>", 100.0 * then, 100.0 * now);
    assert!(page.contains(&row), "forgetting of road: {row}");
    assert_eq!(count(&page, "<svg "), 3 + 2 * 3, "three curves over the steps, losses and validation of each step");
    for text in
        ["Mean IoU", "MBS-compatible: mean of non-zero IoUs", "Forgetting", "Confusion matrix", "optimizer.warmup", "kept as checkpoint", "orthogonality"]
    {
        assert!(page.contains(text), "{text}");
    }
    let metrics: StepMetrics = serde_json::from_slice(&std::fs::read(amis.join("step-2/metrics.json")).unwrap()).unwrap();
    assert_eq!(count(&page, "<td class=\"loss"), 6, "background, four base classes and tree");
    let old = format!("<p class=\"big\">{:.1} <small>%", 100.0 * metrics.old.miou.unwrap());
    assert!(page.contains(&old), "{old}");
    let parent = amis_artifacts::files::sha256_file(&amis.join("step-1/checkpoint.json")).unwrap();
    assert!(page.contains(&format!("{parent} (step 1)")), "the parent of step 2");

    let both = dir.path().join("both.html");
    report::write(&amis, &[finetune], None, &both, &|_, _| {}).unwrap();
    let page = std::fs::read_to_string(&both).unwrap();
    must_stand_alone(&page);
    assert_eq!(count(&page, "data:image/png"), 16 + 8, "the compared run's last model too");
    assert!(page.contains("finetune (step 2)") && page.contains("class=\"differs\""));
    assert_eq!(count(&page, ">step 1</th>"), 2);
}

#[test]
fn an_unfinished_run_gives_a_page_of_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (data, run) = (data(dir.path()), dir.path().join("run"));
    // Stopped at once: one iteration is logged, no step is finished.
    train::run(&config(&data, &[]), Place { dir: &run, ranks: &Ranks::alone(), device: Device::Cpu, stop: &AtomicBool::new(true) }, &mut Silent).unwrap_err();
    let out = dir.path().join("page.html");
    report::write(&run, &[], None, &out, &|_, _| {}).unwrap();
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.contains("0 of 3 steps are finished") && page.contains("<h3>Step 0 ") && !page.contains("Confusion"), "{page}");

    // Without the last step and the data set: figures of the steps that are there, and a word about the pictures.
    train(&config(&data, &[]), &run);
    std::fs::remove_dir_all(run.join("step-2")).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    report::write(&run, &[], None, &out, &|_, _| {}).unwrap();
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.contains("2 of 3 steps are finished") && page.contains("After step 1"));
    assert!(page.contains("The validation images cannot be read") && !page.contains("data:image/"));
}

#[test]
fn what_is_no_run_or_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("page.html");
    let refused = |run: &Path, compare: &[PathBuf]| {
        let error = report::write(run, compare, None, &out, &|_, _| {}).unwrap_err();
        assert_eq!(exit_code(&error), 3);
        describe(&error)
    };
    let message = refused(dir.path(), &[]);
    assert!(message.contains("no config.json") && message.contains("amis::input::run") && message.contains(&dir.path().display().to_string()), "{message}");
    let message = refused(&dir.path().join("nowhere"), &[]);
    assert!(message.contains("no such folder") && message.contains("nowhere"), "{message}");

    let (run, other) = (dir.path().join("run"), dir.path().join("other"));
    let write = |dir: &Path, settings: &[&str]| {
        let json = serde_json::to_vec(&config(Path::new("nowhere"), settings)).unwrap();
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("config.json"), json).unwrap();
    };
    write(&run, &[]);
    write(&other, &["task.steps=[[\"road\"], [\"car\"]]"]);
    let message = refused(&run, &[other]);
    assert!(message.contains("other") && message.contains("classes by step") && message.contains("car"), "{message}");
    std::fs::write(run.join("config.json"), "{\"data\": 3}").unwrap();
    let message = refused(&run, &[]);
    assert!(message.contains("config.json is not a valid configuration of a run"), "{message}");
    assert!(!out.exists());
}
