//! A ViT-tiny Segmenter through the real TensorRT-RTX: its ONNX parser and its ahead-of-time builder, no GPU.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../tensorrt/tests/common/fake.rs"]
#[allow(dead_code)]
mod fake;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::onnx::{self, BUILDER_KEY, Builder, ModelProto, StringStringEntryProto};
use amis_artifacts::weights::Weights;
use amis_export::graph::{self, Batch, Output};
use amis_export::inspect::inspect;
use common::{build_rtx, manifest, random_weights};
use rustix::process::{Pid, Signal, kill_process};

fn rtx_present() -> bool {
    let present = std::env::var_os("AMIS_TENSORRT_RTX_LIB").is_some();
    if !present {
        // Not `eprintln!`, which the test harness swallows when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: TensorRT-RTX libraries not there (set AMIS_TENSORRT_RTX_LIB)");
    }
    present
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_amis-export"))
}

/// Not square, and another grid than the stored one.
fn vit_tiny(output: Output, depth: u32) -> (ModelProto, Weights) {
    let model = ModelSpec { patch_px: 16, dim: 192, depth, heads: 3, decoder_depth: 2, decoder_heads: 3, gab: true };
    let manifest = manifest(model, Groups(vec![1, 15, 5]), [384, 512], [14, 14]);
    let weights = random_weights(&manifest, 1);
    (graph::segmenter(&manifest, &weights, "", output).unwrap(), weights)
}

#[test]
fn a_graph_with_a_dynamic_batch_says_how_large_it_may_be() {
    if !rtx_present() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("model.onnx"), dir.path().join("model.engine"));
    let model = ModelSpec { patch_px: 16, dim: 64, depth: 1, heads: 2, decoder_depth: 1, decoder_heads: 1, gab: true };
    let manifest = manifest(model, Groups(vec![1, 3]), [64, 64], [4, 4]);
    let model = graph::segmenter_batch(&manifest, &random_weights(&manifest, 1), "", Output::Logits, Batch::Dynamic(4)).unwrap();
    onnx::write(&path, &model).unwrap();
    assert_eq!(build_rtx(&path, &out).unwrap().header.key.options["max_batch"], "4");
}

#[test]
fn a_vit_tiny_segmenter_becomes_an_engine() {
    if !rtx_present() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("model.onnx"), dir.path().join("model.engine"));
    // The upsampling is the same behind one block and behind twelve.
    for (output, depth) in [(Output::Masks, 12), (Output::Logits, 1)] {
        let (model, weights) = vit_tiny(output, depth);
        onnx::write(&path, &model).unwrap();
        let report = build_rtx(&path, &out).unwrap();
        let (header, plan) = amis_artifacts::engine::read(&out).unwrap();
        assert_eq!((&header, plan.len() as u64), (&report.header, report.plan_bytes));
        assert_eq!(header.key.graph_sha256, amis_artifacts::files::sha256_file(&path).unwrap());
        assert_eq!((header.key.precision.as_str(), header.key.built_for.to_string().as_str()), ("fp32", "compute capability 8.6"));
        assert!(inspect(&out).unwrap().to_string().contains("engine of TensorRT-RTX 1."));
        let nodes = model.graph.unwrap().node.len();
        assert!(header.layers as usize >= nodes / 2, "{} layers for {nodes} nodes", header.layers);
        let parameter_bytes: usize = weights.values().map(|t| 4 * t.data.len()).sum();
        assert!(report.plan_bytes as usize > parameter_bytes / 4, "{} bytes of plan hold {parameter_bytes} bytes of weights", report.plan_bytes);
        let _ = writeln!(std::io::stderr(), "{output:?}: {} layers, {} bytes, {:.1} s", header.layers, report.plan_bytes, report.seconds);
    }
}

/// `amis-export engine` in `dir`, and the process that builds for it, once TensorRT is loaded there.
fn start_building(dir: &Path) -> (Child, u32) {
    let (model, _) = vit_tiny(Output::Masks, 12);
    onnx::write(&dir.join("model.onnx"), &model).unwrap();
    let arguments = ["engine", "--onnx", "model.onnx", "--compute-capability", "8.6", "--out", "model.engine"];
    let mut parent = program().args(arguments).current_dir(dir).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline && parent.try_wait().unwrap().is_none(), "no builder has begun");
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", parent.id())).unwrap();
        let builder = children.split_whitespace().next().map(|id| id.parse::<u32>().unwrap());
        let is_building = |id: &u32| std::fs::read_to_string(format!("/proc/{id}/maps")).is_ok_and(|maps| maps.contains("libtensorrt_onnxparser_rtx"));
        if let Some(id) = builder.filter(is_building) {
            return (parent, id);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_builder_that_is_killed_or_crashes_is_told_and_leaves_nothing() {
    if !rtx_present() {
        return;
    }
    for (signal, code, words) in [(Signal::KILL, 4, "was ended by SIGKILL"), (Signal::SEGV, 1, "crashed with SIGSEGV")] {
        let dir = tempfile::tempdir().unwrap();
        let (mut parent, builder) = start_building(dir.path());
        assert_eq!(std::fs::read_to_string(format!("/proc/{builder}/oom_score_adj")).unwrap().trim(), "1000");
        // Rust's own handler takes the first SIGSEGV and waits for the fault to come again: ours has to be sent again.
        while parent.try_wait().unwrap().is_none() {
            let _ = kill_process(Pid::from_raw(builder.cast_signed()).unwrap(), signal);
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = parent.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words) && text.contains("nothing was written"), "{text}");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["model.onnx"]);
    }
}

#[test]
fn a_builder_ends_with_the_program_that_started_it() {
    if !rtx_present() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut parent, builder) = start_building(dir.path());
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    // Its entry may stay as a zombie until whoever adopted it asks; a zombie maps nothing.
    while std::fs::read_to_string(format!("/proc/{builder}/maps")).is_ok_and(|maps| !maps.is_empty()) {
        assert!(Instant::now() < deadline, "the builder goes on without anybody");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!dir.path().join("model.engine").exists());
}

#[test]
fn what_goes_wrong_in_the_builder_has_its_own_code_and_words() {
    if !rtx_present() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut model, _) = vit_tiny(Output::Masks, 1);
    let graph = model.graph.as_mut().unwrap();
    let node = graph.node.iter_mut().find(|node| node.op_type() == "Softmax").unwrap();
    node.op_type = Some("Flourish".into());
    let name = node.name().to_owned();
    let path = dir.path().join("odd.onnx");
    onnx::write(&path, &model).unwrap();
    let run = |more: &[&str]| {
        let output = program().args(["engine", "--onnx", "odd.onnx", "--out", "odd.engine"]).args(more).current_dir(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&[]);
    assert!(code == Some(3) && text.contains(&name) && text.contains("Flourish"), "{text}");
    let (code, text) = run(&["--dla-core", "0"]);
    assert!(code == Some(2) && text.contains("DLA core 0"), "{text}");
    let (code, text) = run(&["--timing-cache", "cache"]);
    assert!(code == Some(2) && text.contains("TensorRT-RTX keeps no timing cache") && !dir.path().join("cache").exists(), "{text}");
    assert!(!dir.path().join("odd.engine").exists());
}

#[test]
fn tensorrt_proper_builds_for_the_gpu_of_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    // The stand-in for the CUDA driver, where the loader of both processes looks; what it is asked to build with goes to its log.
    std::os::unix::fs::symlink(fake::shim(), dir.path().join("libcuda.so")).unwrap();
    for library in ["libnvinfer.so.10", "libnvonnxparser.so.10"] {
        std::fs::write(dir.path().join(library), "").unwrap();
    }
    let (mut model, _) = vit_tiny(Output::Masks, 1);
    let builder = Builder { flags: vec!["fp16".into()], float_nodes: vec!["decoder.softmax".into()] };
    let entry = StringStringEntryProto { key: Some(BUILDER_KEY.into()), value: Some(serde_json::to_string(&builder).unwrap()) };
    model.metadata_props.push(entry);
    onnx::write(&dir.path().join("model.onnx"), &model).unwrap();
    let run = |more: &[&str]| {
        let arguments = ["engine", "--onnx", "model.onnx", "--flavor", "enterprise", "--out", "model.engine", "--timing-cache", "cache"];
        let mut command = program();
        command.args(arguments).args(more).current_dir(dir.path()).env("LD_LIBRARY_PATH", dir.path());
        let output = command.env("AMIS_TRT_SHIM", fake::shim()).env("AMIS_TENSORRT_LIB", dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    let log = run(&["--dla-core", "1", "--max-batch", "2"]);
    assert!(log.contains("workspace 0 memory ") && log.contains(" batch 2 dla 1 flags 1 float decoder.softmax"), "{log}");
    let limit: u64 = log.split(" memory ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(limit > 1 << 25, "half of the machine's memory is {limit} bytes");
    assert_eq!(std::fs::read(dir.path().join("cache")).unwrap(), b"+");
    let (header, plan) = amis_artifacts::engine::read(&dir.path().join("model.engine")).unwrap();
    assert_eq!(plan, std::fs::read(dir.path().join("model.onnx")).unwrap());
    assert_eq!((header.key.tensorrt.as_str(), header.key.precision.as_str()), ("TensorRT 10.3.0", "fp16"));
    assert_eq!(header.key.built_for.to_string(), "Fake Orin, compute capability 8.7, 8 multiprocessors");
    assert_eq!(header.key.options.into_iter().collect::<Vec<_>>(), [("dla_core".into(), "1".into()), ("max_batch".into(), "2".into())]);

    let log = run(&["--workspace-mib", "3"]);
    assert!(log.contains("workspace 3145728 memory ") && log.contains(" batch 0 dla -1 "), "{log}");
    assert_eq!(std::fs::read(dir.path().join("cache")).unwrap(), b"++");
}
