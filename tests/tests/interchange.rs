//! A checkpoint of the reference code goes the road of our own: imported, exported as a graph, verified.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn run(program: &str, arguments: &[&str]) -> Value {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().skip(1).take(2).map(|folder| folder.join(program)).find(|path| path.is_file()).unwrap();
    let output = Command::new(path).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_reference_checkpoint_is_imported_and_its_graph_verified() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).display().to_string();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/segmenter_forward.safetensors").display().to_string();
    let names = "background,road,pavement,building,car,tree";
    run("amis-train", &["import", &golden, "--out", &text("step"), "--classes", names, "--heads", "2", "--height", "96", "--width", "128", "--gab"]);
    run("amis-export", &["onnx", "--checkpoint", &text("step"), "--out", &text("model.onnx")]);
    let verified = run("amis-export", &["verify", "--checkpoint", &text("step"), "--onnx", &text("model.onnx")]);
    assert!(verified["max_abs_diff"].as_f64().unwrap() < 1e-3, "{verified}");
}
