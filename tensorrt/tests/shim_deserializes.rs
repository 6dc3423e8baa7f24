//! The running half of the shim at the real TensorRT-RTX. Without a GPU that ends where CUDA is asked for, as an error and not as
//! a crash; with one, tensors and layers of the engine are seen.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

mod common;

use std::path::Path;
use std::process::Command;

use amis_tensorrt::{BuildOptions, Gpu};

#[test]
fn a_plan_reaches_the_real_library() {
    let (Some(folder), Some(library)) = (common::rtx_folder(), common::rtx()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let plan = library.build(&common::onnx::linear_block("Softmax"), &BuildOptions::default(), &|_| {}).unwrap().plan;
    std::fs::write(dir.path().join("x.plan"), plan).unwrap();
    let (sources, shim) = (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("AMIS_TRT_SHIM_FOLDER")));
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I"]).arg(sources.join("shim")).arg(sources.join("tests/harness/deserialize.cpp"));
    compiler.arg(shim.join("libamis_trt_rtx.so")).arg(format!("-Wl,-rpath,{}", shim.display())).arg("-o").arg(dir.path().join("harness"));
    assert!(compiler.status().unwrap().success(), "{compiler:?}");

    let mut harness = Command::new(dir.path().join("harness"));
    let output = harness.arg(folder).args(["libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"]).arg(dir.path().join("x.plan")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("open 0\n"), "{}: {text}", output.status);
    // AMIS_TRT_PLAN, and TensorRT's own words.
    let refusals = text.matches("fail TensorRT gave no engine for the plan\ndeserialize 9\n").count();
    if Gpu::first().is_ok() {
        assert!(refusals == 2 && text.contains("tensor x input 1 type 0 rank 3") && text.contains("inspected {"), "{text}");
    } else {
        assert!(refusals == 3 && text.matches("log ").count() >= 3, "{text}");
    }
}
