//! Q/DQ and FP16 on a small Segmenter, run in ONNX Runtime and built by TensorRT-RTX.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::onnx::{self, BUILDER_KEY, Builder, DataType, ModelProto, NodeProto, linears};
use amis_artifacts::weights::Weights;
use amis_export::Error;
use amis_export::graph::{self, Batch, Output};
use amis_export::passes::lint::{self, Expected};
use amis_export::passes::target::Target;
use amis_export::passes::{Job, Precision, emulate, prepare};
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use common::{amax, build_rtx, golden_checkpoint, golden_manifest, golden_tensors, manifest, random_weights};

/// A graph for a target.
fn prepared(model: &ModelProto, target: &str, precision: Precision, ranges: &BTreeMap<String, f32>) -> ModelProto {
    let mut model = model.clone();
    prepare(&mut model, &Job { target: &Target::find(target).unwrap(), precision, ranges, keep: &BTreeSet::new(), parent: None }).unwrap();
    model
}

/// Outputs on some inputs, end to end, FP16 emulated.
fn run(model: &ModelProto, inputs: &[f32], dir: &Path) -> Vec<f32> {
    let path = dir.join("run.onnx");
    let mut model = model.clone();
    emulate(&mut model).unwrap();
    onnx::write(&path, &model).unwrap();
    let mut backend = OnnxRuntime::open(&path, &Options { threads: 1 }).unwrap();
    inputs.chunks_exact(backend.input_shape().iter().product()).flat_map(|i| backend.infer(i).unwrap().to_vec()).collect()
}

/// Mean squared difference in units of the variance of `a`.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let mean = a.iter().map(|&v| f64::from(v)).sum::<f64>() / a.len() as f64;
    let variance: f64 = a.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
    a.iter().zip(b).map(|(&a, &b)| f64::from(a - b).powi(2)).sum::<f64>() / variance
}

fn golden(dir: &Path) -> (ModelProto, Vec<f32>) {
    let checkpoint = golden_checkpoint(dir);
    let model = graph::segmenter(&checkpoint.manifest, &checkpoint.weights().unwrap(), "", Output::Masks).unwrap();
    (model, golden_tensors().remove("input").unwrap().data)
}

fn operators(model: &ModelProto, op: &str) -> usize {
    model.graph.iter().flat_map(|g| &g.node).filter(|n| n.op_type() == op).count()
}

#[test]
fn int8_and_fp16_stay_near_float32() {
    let dir = tempfile::tempdir().unwrap();
    let (model, inputs) = golden(dir.path());
    let ranges = amax(&model, &inputs, dir.path());
    let reference = run(&model, &inputs, dir.path());
    // Two to three times what was measured; a wrong scale or axis gives errors near 1.
    for (target, precision, most) in [
        ("cpu", Precision::Int8, 2e-3),
        ("rtx", Precision::Fp16, 2e-5),
        ("rtx", Precision::Int8, 2e-3),
        ("jetpack5", Precision::Fp32, 1e-9),
        ("jetpack5", Precision::Fp16, 2e-5),
        ("jetpack5", Precision::Int8, 2e-3),
        ("jetpack6", Precision::Int8, 2e-3),
        ("jetpack7", Precision::Fp16, 2e-5),
    ] {
        let error = relative_error(&reference, &run(&prepared(&model, target, precision, &ranges), &inputs, dir.path()));
        let _ = writeln!(std::io::stderr(), "{target} {precision}: {error:.2e}");
        assert!(error < most, "{target} {precision}: {error}");
        assert!(error > 0.0, "{target} {precision} changed nothing");
    }
}

#[test]
fn every_target_takes_a_dynamic_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (model, inputs) = golden(dir.path());
    let ranges = amax(&model, &inputs, dir.path());
    let checkpoint = golden_checkpoint(dir.path());
    let dynamic = graph::segmenter_batch(&checkpoint.manifest, &checkpoint.weights().unwrap(), "", Output::Masks, Batch::Dynamic(2)).unwrap();
    for target in Target::all().unwrap() {
        for &precision in &target.precisions {
            let alone = run(&prepared(&model, &target.name, precision, &ranges), &inputs, dir.path());
            let mut batched = prepared(&dynamic, &target.name, precision, &ranges);
            assert_eq!(Batch::of(&batched), Some(Batch::Dynamic(2)));
            emulate(&mut batched).unwrap();
            let path = dir.path().join("batched.onnx");
            onnx::write(&path, &batched).unwrap();
            let mut backend = OnnxRuntime::open_batch(&path, &Options { threads: 1 }, 2).unwrap();
            let error = relative_error(&alone, backend.infer(&inputs).unwrap());
            assert!(error < 1e-5, "{} {precision}: {error}", target.name);
        }
    }
}

/// Values of a float32 constant.
fn values(model: &ModelProto, name: &str) -> Vec<f32> {
    let tensor = model.graph.as_ref().unwrap().initializer.iter().find(|t| t.name() == name).unwrap();
    tensor.raw_data.as_ref().unwrap().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

#[test]
fn the_parents_scales_are_kept_where_the_weights_still_fit() {
    const WEIGHT: &str = "encoder.blocks.0.attn.qkv.weight";
    let dir = tempfile::tempdir().unwrap();
    let (model, inputs) = golden(dir.path());
    let ranges = amax(&model, &inputs, dir.path());
    let parent = prepared(&model, "cpu", Precision::Int8, &ranges);
    // Column 0 grows, column 1 becomes a little smaller, the others stay as they are.
    let mut child = model.clone();
    let weight = child.graph.as_mut().unwrap().initializer.iter_mut().find(|t| t.name() == WEIGHT).unwrap();
    let changed = values(&model, WEIGHT).into_iter().enumerate().map(|(i, v)| v * [1.5, 0.999].get(i % 192).unwrap_or(&1.0));
    weight.raw_data = Some(changed.flat_map(f32::to_le_bytes).collect());
    let own = prepared(&child, "cpu", Precision::Int8, &ranges);
    let target = Target::find("cpu").unwrap();
    let job = Job { target: &target, precision: Precision::Int8, ranges: &ranges, keep: &BTreeSet::new(), parent: Some(&parent) };
    let mut kept = child.clone();
    let found = prepare(&mut kept, &job).unwrap().scales_kept;
    let name = format!("{WEIGHT}.scale");
    let (parent, own, kept) = (values(&parent, &name), values(&own, &name), values(&kept, &name));
    assert!(kept[0] == own[0] && kept[0] > 1.4 * parent[0], "a column that grew has a scale of its own");
    assert!(kept[1..] == parent[1..] && kept[1] != own[1], "the others have the parent's");
    let half = prepared(&model, "jetpack6", Precision::Int8, &ranges);
    let job = Job { target: &Target::find("jetpack6").unwrap(), parent: Some(&half), ..job };
    assert_eq!(prepare(&mut child.clone(), &job).unwrap().scales_kept, found);
    assert_eq!(found, linears(model.graph.as_ref().unwrap()).iter().map(|l| channels_of(&model, l)).sum::<usize>() - 1);
}

/// Output channels of a Linear.
fn channels_of(model: &ModelProto, linear: &onnx::Linear) -> usize {
    let tensor = model.graph.as_ref().unwrap().initializer.iter().find(|t| t.name() == linear.weight).unwrap();
    tensor.dims[linear.out_axis] as usize
}

#[test]
fn every_linear_has_its_pairs_and_nothing_else_has() {
    let dir = tempfile::tempdir().unwrap();
    let (model, inputs) = golden(dir.path());
    let ranges = amax(&model, &inputs, dir.path());
    let int8 = prepared(&model, "cpu", Precision::Int8, &ranges);
    // 5 blocks of 4, the patch embedding and proj_dec: an input and a weight each.
    assert_eq!((operators(&int8, "QuantizeLinear"), operators(&int8, "DequantizeLinear")), (22, 44));
    assert_eq!(operators(&int8, "LayerNormalization"), operators(&model, "LayerNormalization"));
    let graph = int8.graph.as_ref().unwrap();
    let qkv = graph.initializer.iter().find(|t| t.name() == "encoder.blocks.0.attn.qkv.weight.quantized").unwrap();
    assert_eq!((qkv.data_type(), &qkv.dims[..]), (DataType::Int8 as i32, &[64, 192][..]));
    assert!(!graph.initializer.iter().any(|t| t.name() == "encoder.blocks.0.attn.qkv.weight"));
    // Every column uses the whole range: its largest magnitude is 127.
    let raw = qkv.raw_data.as_ref().unwrap();
    for column in 0..192 {
        assert_eq!((0..64).map(|row| (raw[row * 192 + column] as i8).unsigned_abs()).max(), Some(127));
    }
    let pair = prepared(&model, "jetpack5", Precision::Int8, &ranges);
    assert_eq!((operators(&pair, "QuantizeLinear"), operators(&pair, "DequantizeLinear"), operators(&pair, "LayerNormalization")), (44, 44, 0));
}

#[test]
fn a_tensor_with_two_consumers_gets_one_pair() {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, inputs) = golden(dir.path());
    // fc1 of the first block takes what qkv takes.
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let of = |nodes: &[NodeProto], name: &str| nodes.iter().position(|n| n.name() == name).unwrap();
    let shared = nodes[of(nodes, "encoder.blocks.0.attn.qkv")].input[0].clone();
    let fc1 = of(nodes, "encoder.blocks.0.mlp.fc1");
    nodes[fc1].input[0] = shared.clone();
    let int8 = prepared(&model, "cpu", Precision::Int8, &amax(&model, &inputs, dir.path()));
    assert_eq!(operators(&int8, "QuantizeLinear"), 21);
    let takers = int8.graph.iter().flat_map(|g| &g.node).filter(|n| n.input.first().is_some_and(|i| *i == format!("{shared}.dequantized")));
    assert_eq!(takers.map(NodeProto::name).collect::<Vec<_>>(), ["encoder.blocks.0.attn.qkv", "encoder.blocks.0.mlp.fc1"]);
    assert!(relative_error(&run(&model, &inputs, dir.path()), &run(&int8, &inputs, dir.path())) < 0.1);
}

#[test]
fn what_cannot_be_quantized_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (model, inputs) = golden(dir.path());
    let ranges = amax(&model, &inputs, dir.path());
    let attempt = |target: &str, precision, ranges: &BTreeMap<String, f32>, keep: &[&str]| {
        let keep = keep.iter().map(|&k| k.to_owned()).collect();
        prepare(&mut model.clone(), &Job { target: &Target::find(target).unwrap(), precision, ranges, keep: &keep, parent: None }).map_err(|e| e.to_string())
    };
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut ranges = ranges.clone();
        ranges.insert("image".into(), bad);
        assert!(attempt("cpu", Precision::Int8, &ranges, &[]).unwrap_err().starts_with(&format!("tensor image has the range {bad}")));
    }
    let mut fewer = ranges.clone();
    fewer.remove("encoder.patches");
    assert_eq!(attempt("cpu", Precision::Int8, &fewer, &[]).unwrap_err(), "tensor encoder.patches has no range in the calibration");
    let kept = attempt("cpu", Precision::Int8, &fewer, &["decoder.proj_dec"]).unwrap();
    assert_eq!((kept.kept, kept.quantized.len()), (vec!["decoder.proj_dec".to_owned()], 21));
    assert!(attempt("cpu", Precision::Int8, &ranges, &["proj_dec"]).unwrap_err().contains("it has no Linear \"proj_dec\" to keep"));
    assert!(attempt("cpu", Precision::Fp16, &ranges, &[]).unwrap_err().starts_with("target cpu refuses fp16: ONNX Runtime"));
    let mut twice = prepared(&model, "cpu", Precision::Int8, &ranges);
    let job = Job { target: &Target::find("cpu").unwrap(), precision: Precision::Int8, ranges: &ranges, keep: &BTreeSet::new(), parent: None };
    assert!(matches!(prepare(&mut twice, &job), Err(Error::Pass { reason }) if reason.contains("already")));
}

#[test]
fn a_dead_channel_and_a_tiny_one_get_scales_that_parsers_take() {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, inputs) = golden(dir.path());
    let ranges = amax(&model, &inputs, dir.path());
    let weight = model.graph.as_mut().unwrap().initializer.iter_mut().find(|t| t.name() == "encoder.blocks.0.mlp.fc2.weight").unwrap();
    // [256, 64]: column 0 is zero, column 1 is far under FP16.
    for (i, value) in weight.raw_data.as_mut().unwrap().as_chunks_mut::<4>().0.iter_mut().enumerate() {
        match i % 64 {
            0 => *value = [0; 4],
            1 => *value = 1e-30f32.to_le_bytes(),
            _ => {}
        }
    }
    for target in ["cpu", "rtx"] {
        let int8 = prepared(&model, target, Precision::Int8, &ranges);
        assert_eq!(lint::lint(&int8, &Expected::default()), []);
        assert!(relative_error(&run(&model, &inputs, dir.path()), &run(&int8, &inputs, dir.path())) < 1e-2);
    }
    model.graph.as_mut().unwrap().initializer.iter_mut().find(|t| t.name() == "encoder.blocks.0.mlp.fc1.bias").unwrap().raw_data.as_mut().unwrap()[..4]
        .copy_from_slice(&1e6f32.to_le_bytes());
    let job = Job { target: &Target::find("rtx").unwrap(), precision: Precision::Fp16, ranges: &ranges, keep: &BTreeSet::new(), parent: None };
    assert_eq!(prepare(&mut model, &job).unwrap_err().to_string(), "weight encoder.blocks.0.mlp.fc1.bias holds 1000000, FP16 ends at 65504");
}

#[test]
fn a_weakly_typed_builder_is_told_what_stays_float32() {
    let dir = tempfile::tempdir().unwrap();
    let (model, _) = golden(dir.path());
    let graph = prepared(&model, "jetpack5", Precision::Fp16, &BTreeMap::new());
    let text = graph.metadata_props.iter().find(|e| e.key() == BUILDER_KEY).unwrap().value();
    let builder: Builder = serde_json::from_str(text).unwrap();
    assert_eq!(builder.flags, ["fp16", "obey_precision_constraints"]);
    for name in ["encoder.norm.square", "encoder.norm.deviation", "encoder.norm", "encoder.blocks.0.attn.softmax", "decoder.mask_norm.length"] {
        assert!(builder.float_nodes.iter().any(|n| n == name), "{name}");
    }
    assert!(!builder.float_nodes.iter().any(|n| n.ends_with(".qkv") || n.ends_with(".scores")));
}

/// Weights of a network with GAB whose LayerNorm gains have an outlier: one channel times 50.
fn with_outliers(manifest: &amis_artifacts::checkpoint::CheckpointManifest) -> Weights {
    let mut weights = random_weights(manifest, 1);
    weights.get_mut("encoder.blocks.0.norm1.weight").unwrap().data[3] *= 50.0;
    weights
}

#[test]
fn tensorrt_builds_fp16_and_int8_engines() {
    if std::env::var_os("AMIS_TENSORRT_RTX_LIB").is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: TensorRT-RTX libraries not there (set AMIS_TENSORRT_RTX_LIB)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // ViT-tiny.
    let model = ModelSpec { patch_px: 16, dim: 192, depth: 12, heads: 3, decoder_depth: 2, decoder_heads: 3, gab: true };
    let manifest = manifest(model, Groups(vec![1, 15, 5]), [96, 128], [14, 14]);
    let model = graph::segmenter(&manifest, &with_outliers(&manifest), "", Output::Masks).unwrap();
    let image: Vec<f32> = (0..3 * 96 * 128).map(|i| ((i * 7919 % 1000) as f32 / 250.0) - 2.0).collect();
    let ranges = amax(&model, &image, dir.path());
    let (path, out) = (dir.path().join("model.onnx"), dir.path().join("model.engine"));
    let mut bytes = BTreeMap::new();
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        let model = prepared(&model, "rtx", precision, &ranges);
        onnx::write(&path, &model).unwrap();
        let report = build_rtx(&path, &out).unwrap();
        let _ = writeln!(std::io::stderr(), "{precision}: graph {}, plan {} bytes", std::fs::metadata(&path).unwrap().len(), report.plan_bytes);
        bytes.insert(precision.name(), [std::fs::metadata(&path).unwrap().len(), report.plan_bytes]);
        if precision == Precision::Int8 {
            // Weights folded back to floats would not be there as they are in the graph. (Sizes do not tell: every Q/DQ pair adds to the plan.)
            let plan = std::fs::read(&out).unwrap();
            let weights = model.graph.as_ref().unwrap().initializer.iter().filter(|t| t.name().ends_with(".weight.quantized") && t.dims.len() == 2);
            let rows: Vec<&[u8]> = weights.map(|t| &t.raw_data()[..192]).collect();
            assert_eq!(rows.len(), 12 * 4 + 2 * 4 + 1);
            for row in rows {
                assert!(plan.windows(row.len()).any(|window| window == row), "int8 weights are in the plan");
            }
        }
    }
    // Of what the FP16 graph saves, the plan saves at least half: beside weights it holds the layers, of much the same size.
    let saved = [0, 1].map(|i| bytes["fp32"][i] as i64 - bytes["fp16"][i] as i64);
    assert!(saved[1] > saved[0] / 2, "{bytes:?}");
}

#[test]
fn an_int8_file_is_about_a_quarter() {
    let mut manifest = golden_manifest();
    manifest.model.dim = 128;
    manifest.model.gab = true;
    let model = graph::segmenter(&manifest, &random_weights(&manifest, 1), "", Output::Masks).unwrap();
    let ranges = linears(model.graph.as_ref().unwrap()).into_iter().map(|l| (l.input, 4.0)).collect();
    let size = |m: &ModelProto| prost::Message::encoded_len(m) as f64;
    let share = size(&prepared(&model, "cpu", Precision::Int8, &ranges)) / size(&model);
    assert!(share < 0.33, "{share}");
}
