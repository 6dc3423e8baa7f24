//! The program as a user starts it.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use amis_artifacts::bundle;
use common::{golden_checkpoint, golden_manifest, random_weights, write};
use serde_json::Value;

/// Exit code, stdout and stderr of `amis-export` in `dir`.
fn run(dir: &Path, arguments: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_amis-export")).current_dir(dir).args(arguments.split(' ')).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// JSON result of a command that succeeds.
fn json(dir: &Path, arguments: &str) -> Value {
    let (code, out, err) = run(dir, &format!("{arguments} --json"));
    assert_eq!(code, 0, "{arguments}: {err}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn from_checkpoint_to_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    golden_checkpoint(&dir.join("step-1"));
    let written = json(dir, "onnx --checkpoint step-1");
    assert_eq!(written["outputs"][0], "masks Float [1, 6, 4, 4]");
    let verified = json(dir, "verify --checkpoint step-1 --onnx model.cpu-fp32.onnx");
    assert!(verified["max_abs_diff"].as_f64().unwrap() < 1e-4 && verified["images"] == 2, "{verified}");
    let packed = json(dir, "bundle --checkpoint step-1 --graph cpu:fp32:model.cpu-fp32.onnx --name yard --version 3");
    assert_eq!(packed["path"], "./yard-3.amis");
    let manifest = bundle::unpack(&dir.join("yard-3.amis"), &dir.join("unpacked")).unwrap();
    assert_eq!(manifest.graph("cpu", "fp32").unwrap().entry.file, "model.cpu-fp32.onnx");
    assert_eq!(std::fs::read(dir.join("unpacked/model.cpu-fp32.onnx")).unwrap(), std::fs::read(dir.join("model.cpu-fp32.onnx")).unwrap());

    assert_eq!(json(dir, "inspect yard-3.amis")["manifest"]["version"], 3);
    assert_eq!(json(dir, "inspect step-1")["manifest"]["groups"], serde_json::json!([1, 3, 2]));
    let pictures = bundle::verify_folder(&dir.join("unpacked")).unwrap().self_test.unwrap().frames.len();
    assert_eq!((pictures, &json(dir, "inspect unpacked")["manifest"]), (2, &json(dir, "inspect yard-3.amis")["manifest"]));
    let onnx = json(dir, "inspect model.cpu-fp32.onnx");
    assert_eq!((&onnx["kind"], &onnx["operators"]["LayerNormalization"]), (&"onnx".into(), &12.into()));
    json(dir, "onnx --checkpoint step-1 --batch 1..2 --out batches.onnx");
    assert_eq!(json(dir, "verify --checkpoint step-1 --onnx batches.onnx")["images"], 2);
    assert_eq!(json(dir, "inspect batches.onnx")["inputs"][0], "image Float [batch, 3, 64, 64]");
    json(dir, "bundle --checkpoint step-1 --graph cpu:fp32:batches.onnx --name yard --version 4");
    json(dir, "onnx --checkpoint step-1 --batch 2 --out two.onnx");
    let (code, _, err) = run(dir, "bundle --checkpoint step-1 --graph cpu:fp32:two.onnx --name yard --version 5");
    assert!(code == 3 && err.contains("its input is [2, 3, 64, 64], expected [1, 3, 64, 64]"), "{err}");
    for path in ["yard-3.amis", "step-1", "model.cpu-fp32.onnx"] {
        let (code, out, err) = run(dir, &format!("inspect {path}"));
        assert!(code == 0 && out.contains("class 5"), "{out}{err}");
    }
}

#[test]
fn a_bundle_that_devices_would_refuse_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    golden_checkpoint(&dir.join("step-1"));
    json(dir, "onnx --checkpoint step-1");
    json(dir, "quantize --onnx model.cpu-fp32.onnx --target rtx --precision fp16");
    let both = "--graph cpu:fp32:model.cpu-fp32.onnx --graph rtx:fp16:model.rtx-fp16.onnx";
    json(dir, &format!("bundle --checkpoint step-1 {both} --name yard --version 3 --licence MIT --notes first"));
    let packed = json(dir, &format!("bundle --checkpoint step-1 {both} --name yard --version 4 --parent yard-3.amis --max-latency-ms 40"));
    let parent = &packed["manifest"]["parent"];
    assert_eq!((&parent["version"], &parent["manifest_sha256"]), (&3.into(), &bundle::manifest_sha256(&dir.join("yard-3.amis")).unwrap().into()));
    let (_, out, _) = run(dir, "inspect yard-3.amis");
    assert!(out.contains("licence    MIT") && out.contains("notes      first") && out.contains("self-test  2 frames, 95 %"), "{out}");

    let mut manifest = golden_manifest();
    manifest.classes = amis_artifacts::classes::ClassList::from_names(&["background", "a", "b", "c", "d", "e"]).unwrap();
    let weights = random_weights(&manifest, 5);
    write(&dir.join("other"), manifest, &weights, &amis_artifacts::weights::read(&dir.join("step-1/samples.safetensors")).unwrap());
    json(dir, "onnx --checkpoint other --out other.onnx");
    let float = "--graph cpu:fp32:model.cpu-fp32.onnx";
    for (arguments, expected, says) in [
        (format!("--checkpoint step-1 {both} --name garden --version 4 --parent yard-3.amis"), 3, "its name is yard, the new one's garden"),
        (format!("--checkpoint step-1 {both} --name yard --version 3 --parent yard-3.amis"), 3, "expected a higher one"),
        (format!("--checkpoint step-1 {float} --name yard --version 4 --parent yard-3.amis"), 3, "it has a graph for rtx, the new one has none"),
        ("--checkpoint other --graph cpu:fp32:other.onnx --name yard --version 4 --parent yard-3.amis".into(), 3, "id 1 was class 1"),
        (format!("--checkpoint step-1 {} --name yard --version 4", &both[float.len() + 1..]), 2, "needs the float32 graph"),
        (format!("--checkpoint step-1 {float} --name yard --version 4 --min-agreement 2"), 3, "min_agreement of its self-test is 2"),
    ] {
        let (code, _, err) = run(dir, &format!("bundle {arguments}"));
        assert!(code == expected && err.contains(says), "{arguments}: exit code {code}, expected {expected}\n{err}");
    }
    json(dir, "bundle --checkpoint step-1 --graph rtx:fp16:model.rtx-fp16.onnx --reference model.cpu-fp32.onnx --name tree --version 1");
}

#[test]
fn a_graph_of_another_checkpoint_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let checkpoint = golden_checkpoint(&dir.join("step-1"));
    let mut manifest = golden_manifest();
    manifest.parent_sha256 = Some("00".into());
    write(&dir.join("other"), manifest, &checkpoint.weights().unwrap(), &Default::default());
    json(dir, "onnx --checkpoint other");
    let (code, out, err) = run(dir, "bundle --checkpoint step-1 --graph cpu:fp32:model.cpu-fp32.onnx --name yard --version 1 --json");
    assert!(code == 3 && err.contains("model.cpu-fp32.onnx does not fit the checkpoint: it was exported from the checkpoint with SHA-256"), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["error"]["code"], "amis::input::graph_mismatch");

    let mut manifest = golden_manifest();
    manifest.image_spec.height_px = 32;
    let weights = random_weights(&manifest, 2);
    write(&dir.join("lower"), manifest, &weights, &Default::default());
    json(dir, "onnx --checkpoint lower --out lower.onnx");
    let (code, _, err) = run(dir, "bundle --checkpoint step-1 --graph cpu:fp32:lower.onnx --name yard --version 1");
    assert!(code == 3 && err.contains("its input is [1, 3, 32, 64], expected [1, 3, 64, 64]"), "{err}");
    assert!(!dir.join("yard-1.amis").exists());
}

#[test]
fn failures_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    golden_checkpoint(&dir.join("step-1"));
    json(dir, "onnx --checkpoint step-1 --out good.onnx");
    let manifest = golden_manifest();
    let other = random_weights(&manifest, 5);
    let samples = amis_artifacts::weights::read(&dir.join("step-1/samples.safetensors")).unwrap();
    write(&dir.join("step-2"), manifest, &other, &samples);
    json(dir, "onnx --checkpoint step-2 --out other.onnx");
    std::fs::write(dir.join("broken.onnx"), b"no graph").unwrap();
    std::fs::write(dir.join("cut.engine"), amis_artifacts::engine::MAGIC).unwrap();
    let good_bundle = "bundle --checkpoint step-1 --name yard --version 1";
    for (arguments, expected, says) in [
        ("verify --checkpoint step-1 --onnx other.onnx", 1, "logits differ by up to"),
        ("onnx", 2, "--checkpoint"),
        (&format!("{good_bundle} --graph cpu:fp64:good.onnx"), 2, "expected one of fp32, fp16, int8"),
        ("engine --onnx good.onnx --out x.engine --compute-capability 8.x", 2, "8.x"),
        ("onnx --checkpoint nowhere", 3, "cannot read nowhere/checkpoint.json"),
        ("verify --checkpoint step-1 --onnx broken.onnx", 3, "broken.onnx"),
        ("engine --onnx broken.onnx --out x.engine", 3, "broken.onnx is not a valid ONNX model"),
        ("inspect cut.engine", 3, "cut.engine is not a valid engine: it has 8 bytes"),
        ("inspect broken.onnx", 3, "broken.onnx is not a valid ONNX model"),
        (&format!("{good_bundle} --graph cpu:fp32:good.onnx --graph cpu:fp32:good.onnx"), 2, "there is another graph for cpu fp32"),
    ] {
        let (code, _, err) = run(dir, arguments);
        assert!(code == expected && err.contains(says), "{arguments}: exit code {code}, expected {expected}\n{err}");
    }
}

#[test]
fn help_has_an_example_for_every_command() {
    for command in ["onnx", "calibrate", "smooth", "sensitivity", "quantize", "lint", "verify", "engine", "bundle", "inspect"] {
        let (code, out, _) = run(Path::new("."), &format!("{command} --help"));
        assert!(code == 0 && out.contains(&format!("\n  amis-export {command} ")), "{out}");
    }
}

#[test]
fn a_plan_for_a_board_nobody_has_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    golden_checkpoint(&dir.join("step-1"));
    json(dir, "onnx --checkpoint step-1");
    let plan = json(dir, "plan --onnx model.cpu-fp32.onnx --device orin-nano");
    assert_eq!((&plan["device"], &plan["modes"][0]["mode"]), (&"orin-nano-8gb".into(), &"MAXN_SUPER".into()));
    let number = |value: &Value| value.as_f64().unwrap();
    let inspected = json(dir, "inspect model.cpu-fp32.onnx");
    assert!(plan["parameters"].as_u64() <= inspected["parameters"].as_u64() && number(&plan["parameters"]) > 3e5, "{plan}");
    // One kernel for the attention of each of five blocks, and the product of pixels and classes.
    assert_eq!(plan["parts"]["attention"]["kernels"], 5 + 1);
    assert!(plan["parts"]["normalization"]["kernels"].as_u64().unwrap() >= 12, "{plan}");
    assert!(number(&plan["expected"]["fp16_ms"]) > number(&plan["modes"][0]["fp16_ms"]));
    let (code, out, err) = run(dir, "plan --onnx model.cpu-fp32.onnx --device thor");
    assert!(code == 0 && out.contains("linear") && out.contains("nothing has been measured on this board"), "{out}{err}");
    let (code, _, err) = run(dir, "plan --onnx model.cpu-fp32.onnx --device jetson");
    assert!(code == 2 && err.contains("expected one of orin-nano-4gb"), "{code} {err}");
    json(dir, "quantize --onnx model.cpu-fp32.onnx --target rtx --precision fp16");
    let (code, _, err) = run(dir, "plan --onnx model.rtx-fp16.onnx --device thor");
    assert!(code == 3 && err.contains("model.rtx-fp16.onnx is fp16 already"), "{code} {err}");
}
