//! Runs side by side: what is grouped, which figures come out, and what is refused. The runs are made of files, not trained.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use amis_artifacts::checkpoint::{self, CheckpointManifest};
use amis_artifacts::classes::ClassList;
use amis_artifacts::cli::{describe, exit_code};
use amis_artifacts::metrics::{ConfusionMatrix, StepMetrics};
use amis_artifacts::model_spec::Groups;
use amis_artifacts::weights::Weights;
use amis_trainer::compare::Comparison;
use amis_trainer::config::Config;

/// IoU in percent of background, a, b, and c, which step 1 adds; one row a step.
type Ious<'a> = &'a [&'a [u32]];

const STEPS: &str = "task.steps=[[\"a\",\"b\"],[\"c\"]]";

fn run(root: &Path, name: &str, settings: &[&str], steps: Ious) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo.toml");
    let settings: Vec<String> = std::iter::once(&STEPS).chain(settings).map(|s| (*s).to_owned()).collect();
    let config = Config::load(&path, &settings).unwrap();
    let dir = root.join(name);
    let resolved = serde_json::to_value(&config).unwrap();
    amis_artifacts::files::write_json(&dir.join("config.json"), &resolved).unwrap();
    let sizes: Vec<usize> = config.task.steps.iter().map(Vec::len).collect();
    let names: Vec<&str> = std::iter::once("background").chain(config.task.steps.iter().flatten().map(String::as_str)).collect();
    for (step, ious) in steps.iter().enumerate() {
        let groups = Groups::from_steps(&sizes[..=step]);
        let classes = ClassList::from_names(&names[..groups.classes()]).unwrap();
        let metrics = StepMetrics::new(step, &classes, &groups, matrix(ious));
        let manifest = CheckpointManifest {
            format_version: checkpoint::FORMAT_VERSION,
            tool_version: String::new(),
            step,
            classes,
            groups,
            image_spec: config.image_spec(),
            model: config.model.clone(),
            position_grid: config.position_grid(),
            config: resolved.clone(),
            weights_sha256: String::new(),
            parent_sha256: None,
            image_lists: Vec::new(),
        };
        checkpoint::write(&dir.join(format!("step-{step}")), manifest, &Weights::new(), &Weights::new(), &metrics).unwrap();
    }
    dir
}

/// Of 100 pixels of each class, `ious[class]` are found; the others are taken for background.
fn matrix(ious: &[u32]) -> ConfusionMatrix {
    let mut matrix = ConfusionMatrix::new(ious.len());
    for (class, &found) in ious.iter().enumerate().skip(1) {
        let class = class as u8;
        matrix.add(&[class; 100], &[vec![class; found as usize], vec![0; 100 - found as usize]].concat());
    }
    // As much background as makes its IoU the given one, where it can.
    let taken: u32 = ious[1..].iter().map(|f| 100 - f).sum();
    let hits = taken * ious[0] / (100 - ious[0]);
    matrix.add(&vec![0; hits as usize], &vec![0; hits as usize]);
    matrix
}

fn close(found: Option<f64>, expected: f64) {
    assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}, expected {expected}");
}

#[test]
fn seeds_are_grouped_and_ablations_stand_apart() {
    let dir = tempfile::tempdir().unwrap();
    let amis = |name: &str, settings: &[&str], steps: Ious| run(dir.path(), name, settings, steps);
    let dirs = [
        amis("amis-1", &["train.seed=1"], &[&[50, 80, 40], &[50, 70, 50, 30]]),
        amis("amis-0", &["train.seed=0", "data.root=elsewhere"], &[&[50, 60, 40], &[50, 30, 20, 10]]),
        amis("no-gab", &["train.seed=0", "model.gab=false", "method.pod_factor=0.5"], &[&[50, 60, 60], &[50, 60, 60, 20]]),
        amis("finetune", &["train.preset=finetune", "model.gab=true", "train.base_checkpoint=BASE"], &[&[50, 60, 40], &[50, 0, 0, 40]]),
    ];
    let base = format!("{}", dirs[1].join("step-0").display());
    let config = dirs[3].join("config.json");
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap().replace("BASE", &base)).unwrap();

    let comparison = Comparison::of(&dirs).unwrap();
    assert!(comparison.skipped.is_empty() && comparison.repeated_seeds().is_empty());
    let runs: Vec<&str> = comparison.runs.iter().map(|r| r.run.as_str()).collect();
    assert_eq!(runs, ["amis-0", "amis-1", "no-gab", "finetune"]);
    assert_eq!(comparison.runs[0].base_sha256, comparison.runs[3].base_sha256);
    let group = |g: &amis_trainer::compare::Group| (g.preset.clone(), g.variant.clone(), g.seeds.clone());
    let groups: Vec<_> = comparison.groups.iter().map(group).collect();
    let expected = [("amis", "", vec![0, 1]), ("amis", "method.pod_factor=0.5, model.gab=false", vec![0]), ("finetune", "", vec![1])];
    assert_eq!(groups, expected.map(|(preset, variant, seeds)| (preset.to_owned(), variant.to_owned(), seeds)));

    let amis = &comparison.groups[0];
    // Seed 0: base (60 + 40) / 2, old (30 + 20) / 2, kept a half. Seed 1: 60, 60, all of it.
    close(amis.base_miou.mean, 0.55);
    close(amis.miou_old.mean, 0.425);
    close(amis.miou_old.std, 0.06125f64.sqrt());
    close(amis.miou_new.mean, 0.2);
    close(amis.miou_all.mean, (0.5 + 0.3 + 0.2 + 0.1 + 0.5 + 0.7 + 0.5 + 0.3) / 8.0);
    close(amis.retention.mean, 0.75);
    close(amis.retention.std, 0.125f64.sqrt());
    close(amis.classes[1].own_step_iou.mean, 0.7);
    close(amis.classes[1].iou.mean, 0.5);
    close(amis.classes[3].own_step_iou.mean, 0.2);
    close(amis.steps[0].miou_old, 0.55);
    assert_eq!(amis.steps[0].miou_new, None);
    let finetune = &comparison.groups[2];
    assert_eq!((finetune.retention.mean, finetune.retention.std), (Some(0.0), None));

    let page = comparison.page();
    for text in
        ["method.pod_factor=0.5, model.gab=false", "<td>42.5 ± 24.7</td>", "right after their own step", "<svg class=\"dots\"", "Old classes</figcaption>"]
    {
        assert!(page.contains(text), "{text} in {page}");
    }
    for outside in ["http", "<script", "<link", "url(", "@import", " src="] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    let plot = comparison.plot();
    assert_eq!(plot.matches("class=\"run\"").count(), 5 * 4, "a ring for each run in each panel");
    assert_eq!(plot.matches("class=\"spread\"").count(), 5, "one group has two seeds");
    assert!(plot.starts_with("<svg") && plot.contains("xmlns=") && plot.contains("method.pod_factor=0.5, model.gab") && !plot.contains("var("), "{plot}");

    let table = comparison.table();
    for line in [
        "Order 4-1-1: old classes a, b; new classes c.",
        "| amis     |                                        | 0 1   | 55.0 ± 7.1 | 42.5 ± 24.7 | 20.0 ± 14.1 | 38.8 ± 15.9 | 75.0 ± 35.4 |",
        "| finetune |                                        | 1     |       50.0 |         0.0 |        40.0 |        22.5 |         0.0 |",
    ] {
        assert!(table.contains(line), "{line} in\n{table}");
    }
}

#[test]
fn the_program_writes_results_and_leaves_out_what_is_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    let whole = run(dir.path(), "whole", &["train.seed=3"], &[&[50, 80, 40], &[50, 60, 30, 30]]);
    let begun = run(dir.path(), "begun", &["train.seed=4"], &[&[50, 80, 40]]);
    let offline = run(dir.path(), "offline", &["task.steps=[[\"a\",\"b\",\"c\"]]"], &[&[50, 90, 60, 30]]);
    let alone = run(dir.path(), "alone", &["task.name=once", "task.steps=[[\"a\"]]"], &[&[50, 90]]);
    let results = dir.path().join("deep/4-1-1.json");
    let output =
        Command::new(env!("CARGO_BIN_EXE_amis-train")).arg("compare").args([&offline, &whole, &begun, &alone]).arg("--results").arg(&results).output().unwrap();
    let (out, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && log.contains("left out begun: step 1 of 2 is not finished"), "{log}");
    assert!(out.contains("Order 4-1-1: old classes a, b; new classes c.") && out.contains("Order once: old classes a.\n"), "{out}");

    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
    let (offline, whole) = (&json["runs"][0], &json["runs"][1]);
    let text = ["preset", "order", "variant", "run"].map(|key| whole[key].as_str().unwrap());
    assert_eq!((text, whole["seed"].as_u64()), (["amis", "4-1-1", "", "whole"], Some(3)));
    let must_be = |run: &serde_json::Value, figures: [Option<f64>; 5]| {
        for (key, expected) in ["base_miou", "miou_old", "miou_new", "miou_all", "retention"].into_iter().zip(figures) {
            match expected {
                Some(expected) => close(run[key].as_f64(), expected),
                None => assert!(run[key].is_null(), "{key}"),
            }
        }
    };
    must_be(whole, [Some(0.6), Some(0.45), Some(0.3), Some(0.425), Some(0.75)]);
    close(whole["classes"][3]["own_step_iou"].as_f64(), 0.3);
    // What is old and what is new, the runs with steps say; there is no base step to keep something of.
    assert_eq!(offline["preset"], "offline");
    must_be(offline, [None, Some(0.75), Some(0.3), Some(0.575), None]);
    assert_eq!(offline["classes"][3]["step"], 1);
    assert_eq!(json["skipped"][0]["run"], "begun");
    assert!(!std::fs::read_to_string(&results).unwrap().contains(&dir.path().display().to_string()), "no path of this machine");
}

#[test]
fn what_cannot_stand_side_by_side_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |dirs: &[PathBuf]| {
        let error = Comparison::of(dirs).unwrap_err();
        assert_eq!(exit_code(&error), 3);
        describe(&error)
    };
    let begun = run(dir.path(), "begun", &["train.base_checkpoint=base/step-0"], &[]);
    let message = refused(std::slice::from_ref(&begun));
    assert!(message.contains("step 0, 1 of 2 is not finished (the base step is to be in base/step-0), and no other run is finished"), "{message}");
    let whole = run(dir.path(), "whole", &[], &[&[50, 80, 40], &[50, 60, 30, 30]]);
    let message = refused(&[whole.clone(), begun, dir.path().join("./whole")]);
    assert!(message.contains("whole") && message.contains("named twice"), "{message}");
    let other = run(dir.path(), "other", &["task.steps=[[\"b\",\"a\"],[\"c\"]]"], &[]);
    let message = refused(&[whole.clone(), other]);
    assert!(message.contains("other") && message.contains("classes by step"), "{message}");
    assert!(refused(&[dir.path().join("nowhere")]).contains("no such folder"));

    // A folder of runs stands for them; equal names are told apart by what is before them.
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    run(&one, "seed-0", &[], &[&[50, 80, 40], &[50, 60, 30, 30]]);
    run(&one, "seed-1", &["train.seed=5"], &[&[50, 80, 40], &[50, 60, 30, 30]]);
    run(&two, "seed-0", &["train.preset=mbs"], &[&[50, 80, 40], &[50, 60, 30, 30]]);
    let both = Comparison::of(&[one, two]).unwrap();
    let all = Comparison::of(&[dir.path().to_owned()]).unwrap_err().to_string();
    assert!(all.contains("other") && all.contains("classes by step"), "the folder above finds them and the others: {all}");
    let names: Vec<&str> = both.runs.iter().map(|r| r.run.as_str()).collect();
    assert_eq!((names, both.groups.len()), (vec!["one/seed-0", "seed-1", "two/seed-0"], 2));

    let again = run(dir.path(), "again", &["data.root=copy"], &[&[50, 80, 40], &[50, 60, 30, 30]]);
    assert_eq!(Comparison::of(&[whole, again]).unwrap().repeated_seeds(), [["whole", "again"]]);
}
