//! The demo shows the point: what fine-tuning forgets, AMIS keeps, and it learns the new classes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use amis_tests::demo::{self, StepSummary};

#[test]
fn the_whole_road_works_and_amis_keeps_what_finetuning_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo-out");
    let summary = demo::run(&out).unwrap();

    let (amis, finetune) = (summary.steps.last().unwrap(), summary.finetune.last().unwrap());
    let old = |step: &StepSummary| step.miou_old.unwrap();
    assert!(old(amis) >= old(finetune) + 0.1, "old classes: amis {:.3}, finetune {:.3}", old(amis), old(finetune));
    for (step, class) in [(1, "tree"), (2, "person")] {
        let iou = summary.steps[step].iou[class].unwrap();
        assert!(iou > 0.3, "{class} after its step: {iou:.3}");
    }
    assert!(summary.verification.max_abs_diff < 1e-3 && summary.verification.argmax_agreement > 0.999, "{:?}", summary.verification);
    assert_eq!(summary.run.dropped, 0);
    assert_eq!(summary.update.classes, [6, 7]);
    check_outputs(&out, summary.steps.len());
}

#[test]
fn a_folder_that_holds_no_demo_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("demo.toml"), "mine").unwrap();
    assert!(demo::run(folder.path()).unwrap_err().to_string().contains("holds no demo"));
    assert_eq!(fs::read(folder.path().join("demo.toml")).unwrap(), b"mine");
}

/// Everything that the README promises lies there and is what it says.
fn check_outputs(out: &Path, steps: usize) {
    for step in 0..steps {
        assert!(out.join(format!("step-{step}/model.cpu-fp32.onnx")).is_file());
        let manifest = amis_artifacts::bundle::read_manifest(&out.join(format!("demo-{}.amis", step + 1))).unwrap();
        assert_eq!(manifest.classes.len(), 5 + step);
    }
    let overlays: Vec<_> = fs::read_dir(out.join("overlays")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(overlays.len(), 150);
    assert!(image::open(&overlays[0]).unwrap().height() >= 480);
    let video = fs::read(out.join("run.avi")).unwrap();
    assert!(video.starts_with(b"RIFF") && video.len() > 100_000);
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("person") && report.contains("demo v3 took over from demo v2") && report.contains("<svg") && report.contains("data:image/"));
    assert!(!report.contains("src=\"http"));
}
