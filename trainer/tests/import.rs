//! Reference checkpoints in, weights for other programs out.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::Fit;
use amis_artifacts::model_spec::Groups;
use amis_artifacts::weights::Weights;
use amis_trainer::Error;
use amis_trainer::foreign;
use amis_trainer::import::{ImportOptions, export_weights, import};
use amis_trainer::model::Segmenter;
use common::{Golden, distance, run_small, small_config, small_data};
use tch::{Device, Tensor};

const NAMES: [&str; 6] = ["background", "road", "pavement", "building", "car", "tree"];

fn options() -> ImportOptions {
    ImportOptions {
        classes: ClassList::from_names(&NAMES).unwrap(),
        heads: Some(2),
        decoder_heads: None,
        size_px: None,
        fit: Fit::Crop,
        crop_px: None,
        gab: false,
        as_base: false,
    }
}

/// The golden network as a training checkpoint of the reference code.
fn reference(folder: &Path, change: impl Fn(&mut Weights)) -> PathBuf {
    let golden = Golden::read("segmenter_forward.safetensors").weights("model.");
    let mut weights: Weights = golden.into_iter().map(|(name, t)| (format!("model_state.module.{name}"), t)).collect();
    change(&mut weights);
    let path = folder.join("reference.pth");
    foreign::write(&path, &weights).unwrap();
    path
}

fn logits(checkpoint: &Checkpoint) -> Tensor {
    let m = &checkpoint.manifest;
    let network = Segmenter::new(&m.model, &m.groups, m.position_grid, &checkpoint.weights().unwrap(), Device::Cpu, false).unwrap();
    network.logits(&Golden::read("segmenter_forward.safetensors").get("input"))
}

#[test]
fn a_reference_checkpoint_computes_what_the_reference_computes() {
    let folder = tempfile::tempdir().unwrap();
    let file = reference(folder.path(), |_| {});
    let (out, golden) = (folder.path().join("imported"), Golden::read("segmenter_forward.safetensors"));
    let (_, report) = import(&file, &out, &options()).unwrap();
    assert_eq!(report.left_in_file, ["model_state.module.encoder.head.bias", "model_state.module.encoder.head.weight"]);
    assert!(report.left_in_network.is_empty() && report.resized.is_empty());
    let checkpoint = Checkpoint::open(&out).unwrap();
    let manifest = &checkpoint.manifest;
    assert_eq!((manifest.step, &manifest.groups, manifest.position_grid), (1, &Groups(vec![1, 3, 2]), [4, 4]));
    assert_eq!((manifest.model.depth, manifest.model.decoder_heads, manifest.image_spec.height_px), (3, 1, 64));
    assert_eq!(manifest.config["imported"]["sha256"], report.sha256.as_str());
    assert!(distance(&logits(&checkpoint), &golden.get("output.logits")) < 1e-4);
    // What exports are verified with, and what the report reads.
    let samples = checkpoint.samples().unwrap();
    assert!(samples.count == 2 && samples.logits.iter().all(|v| v.is_finite()));
    assert_eq!(checkpoint.metrics().unwrap().all.miou, None);
    assert!(import(&file, &out, &options()).unwrap_err().to_string().contains("holds a checkpoint already"));
}

#[test]
fn a_block_that_is_added_and_steps_that_are_joined_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = reference(folder.path(), |_| {});
    let (plain, _) = import(&file, &folder.path().join("plain"), &options()).unwrap();
    let (base, report) = import(&file, &folder.path().join("base"), &ImportOptions { gab: true, as_base: true, ..options() }).unwrap();
    assert_eq!((base.manifest.step, &base.manifest.groups), (0, &Groups(vec![1, 5])));
    assert!(report.left_in_network.iter().all(|name| name.starts_with("decoder.gab.")) && report.left_in_network.len() == 12);
    assert_eq!(distance(&logits(&plain), &logits(&base)), 0.0);
}

#[test]
fn an_imported_base_learns_more_classes_and_opens_its_gates() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    // The step's images are of 48 x 32 pixels; crops of 32 need another grid than the reference's 4 x 4.
    let options = ImportOptions { gab: true, as_base: true, crop_px: Some(32), size_px: Some([32, 48]), fit: Fit::Stretch, ..options() };
    let (_, report) = import(&reference(folder.path(), |_| {}), &base, &options).unwrap();
    assert_eq!((report.resized[0].from, report.resized[0].to), ([4, 4], [2, 2]));
    let key = format!("train.base_checkpoint={}", base.display());
    let sizes = ["model.patch_px=16", "model.dim=64", "model.depth=3", "model.heads=2", "model.decoder_heads=1", "train.increment.lr=1e-3"];
    let steps = "task.steps=[[\"road\",\"pavement\",\"building\",\"car\",\"tree\"],[\"person\"]]";
    let train = |rule: &str, more: &[&str]| {
        let rule_key = format!("optimizer.rule={rule}");
        let config = small_config(&small_data(folder.path()), &[&sizes[..], &[steps, key.as_str(), rule_key.as_str()], more].concat());
        let summary = run_small(&config, &folder.path().join(format!("run-{rule}-{}", more.len())))?;
        Ok::<_, Error>(Checkpoint::open(&summary.checkpoints[1]).unwrap())
    };
    for rule in ["sgd", "adamw"] {
        let taught = train(rule, &[]).unwrap();
        assert_eq!(taught.manifest.groups, Groups(vec![1, 5, 1]));
        let gamma = &taught.weights().unwrap()["decoder.gab.gamma"].data;
        assert!(gamma.iter().any(|&v| v != 0.0), "{rule}: the gates stayed closed");
    }
    let without = train("sgd", &["model.gab=false"]).unwrap_err();
    assert!(without.to_string().contains("its network is"), "{without}");
}

#[test]
fn what_is_no_whole_reference_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = |change: &dyn Fn(&mut Weights), options: &ImportOptions| {
        let error = import(&reference(folder.path(), change), &folder.path().join("never"), options).unwrap_err();
        assert_eq!(amis_artifacts::cli::exit_code(&error), 3);
        amis_artifacts::cli::describe(&error)
    };
    let remove = |name: &'static str| move |w: &mut Weights| drop(w.remove(&format!("model_state.module.{name}")));
    let missing = message(&remove("decoder.proj_dec.bias"), &options());
    assert!(missing.contains("decoder.proj_dec.bias is missing, expected one of shape [64]"), "{missing}");
    let encoder = message(&|w| w.retain(|name, _| name.contains("encoder.")), &options());
    assert!(encoder.contains("no class embeddings") && encoder.contains("train.pretrained"), "{encoder}");
    let strange = message(&|w| drop(w.insert("model_state.module.decoder.extra".into(), w["model_state.module.decoder.proj_patch"].clone())), &options());
    assert!(strange.contains("tensors that ours has not: model_state.module.decoder.extra"), "{strange}");
    let few = message(&|_| {}, &ImportOptions { classes: ClassList::from_names(&NAMES[..4]).unwrap(), ..options() });
    assert!(few.contains("6 classes by step [1, 3, 2], 4 names are given"), "{few}");
    let heads = message(&|_| {}, &ImportOptions { heads: Some(3), ..options() });
    assert!(heads.contains("heads is 3, which does not divide"), "{heads}");
    let crop = message(&|_| {}, &ImportOptions { crop_px: Some(40), ..options() });
    assert!(crop.contains("a crop of 40 px, expected a multiple of its patch 16"), "{crop}");
    let size = message(&|_| {}, &ImportOptions { size_px: Some([60, 64]), ..options() });
    assert!(size.contains("height_px is 60"), "{size}");
    assert!(!folder.path().join("never").exists());
}

fn amis_train(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_amis-train")).args(arguments).output().unwrap()
}

#[test]
fn the_commands_go_there_and_back_again_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).display().to_string();
    let file = reference(folder.path(), |_| {}).display().to_string();
    let import = amis_train(&["--json", "import", &file, "--out", &text("a"), "--classes", &NAMES.join(","), "--heads", "2"]);
    let result: serde_json::Value = serde_json::from_slice(&import.stdout).unwrap();
    assert_eq!((&result["step"], &result["groups"]), (&1.into(), &serde_json::json!([1, 3, 2])), "{}", String::from_utf8_lossy(&import.stderr));
    for ending in ["pth", "safetensors"] {
        let (weights, again) = (text(&format!("w.{ending}")), text(&format!("b-{ending}")));
        assert!(amis_train(&["export-weights", &text("a"), "--out", &weights]).status.success());
        std::fs::write(text("names.txt"), NAMES.join("\n")).unwrap();
        let import = amis_train(&["import", &weights, "--out", &again, "--classes-file", &text("names.txt"), "--heads", "2"]);
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        assert_eq!(std::fs::read(text("a/model.safetensors")).unwrap(), std::fs::read(Path::new(&again).join("model.safetensors")).unwrap());
    }
    for (arguments, code) in [
        (vec!["export-weights", &text("a"), "--out", &text("w.onnx")], 2),
        (vec!["import", &file, "--out", &text("c")], 2),
        (vec!["import", &file, "--out", &text("c"), "--classes", "background,road"], 3),
        (vec!["import", &text("nowhere"), "--out", &text("c"), "--classes", "background,road"], 3),
    ] {
        assert_eq!(amis_train(&arguments).status.code(), Some(code), "{arguments:?}");
    }
}

/// The Python beside the libtorch that this test is linked with, if it has PyTorch's Python side.
fn python() -> Option<PathBuf> {
    let libtorch = PathBuf::from(std::env::var_os("LIBTORCH")?);
    let python = libtorch.ancestors().find(|folder| folder.join("bin/python").exists())?.join("bin/python");
    Command::new(&python).args(["-c", "import torch, safetensors"]).output().ok()?.status.success().then_some(python)
}

#[test]
fn torch_load_opens_what_we_write_with_equal_bits() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: no Python with torch and safetensors beside LIBTORCH; run `make setup`");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, _) = import(&reference(folder.path(), |_| {}), &folder.path().join("c"), &options()).unwrap();
    let out = folder.path().join("w.pth");
    assert_eq!(export_weights(&checkpoint.dir, &out).unwrap(), checkpoint.weights().unwrap().len());
    let program = "\
import sys, torch, safetensors.torch
ours = torch.load(sys.argv[1], weights_only=True)
same = safetensors.torch.load_file(sys.argv[2])
assert list(ours) == sorted(same), list(ours)
for name, tensor in same.items():
    assert ours[name].dtype == torch.float32 and ours[name].shape == tensor.shape, name
    assert torch.equal(ours[name].view(torch.int32), tensor.view(torch.int32)), name
mapped = torch.load(sys.argv[1], weights_only=True, mmap=True)
assert all(torch.equal(mapped[name], tensor) for name, tensor in same.items())
print(len(ours))
";
    let output = Command::new(python).args(["-c", program]).arg(&out).arg(checkpoint.weights_path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), checkpoint.weights().unwrap().len().to_string());
}
