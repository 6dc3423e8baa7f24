//! A ViT-tiny Segmenter through the real TensorRT-RTX: its ONNX parser and its ahead-of-time builder, no GPU.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::onnx;
use amis_export::engine;
use amis_export::graph::{self, Output};
use amis_export::inspect::inspect;
use amis_tensorrt::{BuildOptions, Flavor};
use common::{manifest, random_weights};

#[test]
fn a_vit_tiny_segmenter_becomes_an_engine() {
    if std::env::var_os("AMIS_TENSORRT_RTX_LIB").is_none() {
        // Not `eprintln!`, which the test harness swallows when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: TensorRT-RTX libraries not there (set AMIS_TENSORRT_RTX_LIB)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("model.onnx"), dir.path().join("model.engine"));
    // The upsampling is the same behind one block and behind twelve.
    for (output, depth) in [(Output::Masks, 12), (Output::Logits, 1)] {
        let model = ModelSpec { patch_px: 16, dim: 192, depth, heads: 3, decoder_depth: 2, decoder_heads: 3, gab: true };
        // Not square, and another grid than the stored one.
        let manifest = manifest(model, Groups(vec![1, 15, 5]), [384, 512], [14, 14]);
        let weights = random_weights(&manifest, 1);
        let model = graph::segmenter(&manifest, &weights, "", output).unwrap();
        onnx::write(&path, &model).unwrap();
        let options = BuildOptions { compute_capabilities: vec!["8.6".parse().unwrap()], ..BuildOptions::default() };
        let report = engine::build(&path, Flavor::Rtx, &options, &out).unwrap();
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
