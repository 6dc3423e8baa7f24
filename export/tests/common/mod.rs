//! Checkpoints for the tests: the reference network with its golden numbers, and networks of random weights.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use amis_artifacts::checkpoint::{self, Checkpoint, CheckpointManifest, FORMAT_VERSION};
use amis_artifacts::classes::ClassList;
use amis_artifacts::image_spec::{Fit, ImageSpec};
use amis_artifacts::metrics::{ConfusionMatrix, StepMetrics};
use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::onnx::{self, AttributeProto, DataType, ModelProto, NodeProto, TensorProto, ValueInfoProto, linears};
use amis_artifacts::weights::{self, HostTensor, Weights};
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use amis_runtime::engine::{self, EngineReport, Request};
use amis_tensorrt::{BuildOptions, Flavor};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// All tensors of `segmenter_forward.safetensors` (see the README beside it).
pub(crate) fn golden_tensors() -> Weights {
    weights::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/segmenter_forward.safetensors")).unwrap()
}

/// The reference network as a checkpoint whose samples are the golden inputs and logits.
pub(crate) fn golden_checkpoint(dir: &Path) -> Checkpoint {
    let mut tensors = golden_tensors();
    let samples = Weights::from([("input".to_owned(), tensors.remove("input").unwrap()), ("logits".to_owned(), tensors.remove("output.logits").unwrap())]);
    let weights = tensors.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model.")?.to_owned(), tensor))).collect();
    write(dir, golden_manifest(), &weights, &samples)
}

pub(crate) fn golden_manifest() -> CheckpointManifest {
    let model = ModelSpec { patch_px: 16, dim: 64, depth: 3, heads: 2, decoder_depth: 2, decoder_heads: 1, gab: false };
    manifest(model, Groups(vec![1, 3, 2]), [64, 64], [4, 4])
}

/// A valid manifest; `input_px` and `position_grid` are rows, then columns.
pub(crate) fn manifest(model: ModelSpec, groups: Groups, input_px: [u32; 2], position_grid: [u32; 2]) -> CheckpointManifest {
    let names: Vec<String> = (0..groups.classes()).map(|id| if id == 0 { "background".into() } else { format!("class {id}") }).collect();
    CheckpointManifest {
        format_version: FORMAT_VERSION,
        tool_version: "test".into(),
        step: groups.0.len() - 2,
        classes: ClassList::from_names(&names).unwrap(),
        groups,
        image_spec: ImageSpec::imagenet(input_px[0], input_px[1], Fit::Stretch),
        model,
        position_grid,
        config: serde_json::Value::Null,
        weights_sha256: String::new(),
        parent_sha256: None,
        image_lists: vec![],
    }
}

pub(crate) fn write(dir: &Path, manifest: CheckpointManifest, weights: &Weights, samples: &Weights) -> Checkpoint {
    let confusion = ConfusionMatrix::new(manifest.classes.len());
    let metrics = StepMetrics::new(manifest.step, &manifest.classes, &manifest.groups, confusion);
    checkpoint::write(dir, manifest, weights, samples, &metrics).unwrap();
    Checkpoint::open(dir).unwrap()
}

/// Random weights of the manifest's network, the same for the same seed.
pub(crate) fn random_weights(manifest: &CheckpointManifest, seed: u64) -> Weights {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut weights = Weights::new();
    let (m, d) = (&manifest.model, manifest.model.dim as usize);
    let patch = m.patch_px as usize;
    let cells = manifest.position_grid.iter().product::<u32>() as usize;
    let mut add = |name: String, shape: &[usize]| {
        // Products over the inputs of a layer stay near 1.
        let scale = if shape.len() < 2 { 1.0 } else { (shape[1..].iter().product::<usize>() as f32).powf(-0.5) };
        let data = (0..shape.iter().product()).map(|_| rng.random_range(-1.0f32..1.0) * scale).collect();
        weights.insert(name, HostTensor { shape: shape.to_vec(), data });
    };
    let mut linear = |name: &str, out: usize, inputs: usize| {
        add(format!("{name}.weight"), &[out, inputs]);
        add(format!("{name}.bias"), &[out]);
    };
    let blocks = |part: &str, depth: u32| (0..depth).map(|i| format!("{part}.blocks.{i}")).collect::<Vec<_>>();
    let blocks = [blocks("encoder", m.depth), blocks("decoder", m.decoder_depth)].concat();
    for block in &blocks {
        linear(&format!("{block}.attn.qkv"), 3 * d, d);
        linear(&format!("{block}.attn.proj"), d, d);
        linear(&format!("{block}.mlp.fc1"), 4 * d, d);
        linear(&format!("{block}.mlp.fc2"), d, 4 * d);
    }
    linear("decoder.proj_dec", d, d);
    if m.gab {
        linear("decoder.gab.fc1", d / 4, d);
        linear("decoder.gab.fc2", d, d / 4);
        linear("decoder.gab.spatial", 1, d);
        add("decoder.gab.gamma".into(), &[d]);
        ["wq", "wk", "wv"].iter().for_each(|part| add(format!("decoder.gab.{part}.weight"), &[d, d]));
    }
    let norms = blocks.iter().flat_map(|b| [format!("{b}.norm1"), format!("{b}.norm2")]);
    let norms = norms.chain(["encoder.norm", "decoder.decoder_norm"].map(str::to_owned)).chain(m.gab.then(|| "decoder.gab.norm".to_owned()));
    for norm in norms {
        add(format!("{norm}.weight"), &[d]);
        add(format!("{norm}.bias"), &[d]);
    }
    add("encoder.patch_embed.proj.weight".into(), &[d, 3, patch, patch]);
    add("encoder.patch_embed.proj.bias".into(), &[d]);
    add("encoder.cls_token".into(), &[1, 1, d]);
    add("encoder.pos_embed".into(), &[1, 1 + cells, d]);
    add("decoder.proj_patch".into(), &[d, d]);
    add("decoder.proj_classes".into(), &[d, d]);
    for (k, &n) in manifest.groups.0.iter().enumerate() {
        add(format!("decoder.cls_emb.{k}"), &[1, n as usize, d]);
        add(format!("decoder.mask_norm.weight.{k}"), &[n as usize]);
        add(format!("decoder.mask_norm.bias.{k}"), &[n as usize]);
    }
    weights
}

/// An engine of TensorRT-RTX for compute capability 8.6, built in the program's own builder process.
pub(crate) fn build_rtx(onnx: &Path, out: &Path) -> amis_runtime::Result<EngineReport> {
    let options = BuildOptions { compute_capabilities: vec!["8.6".parse().unwrap()], ..BuildOptions::default() };
    let request = Request { onnx, flavor: Flavor::Rtx, options, timing_cache: None, out };
    engine::build(Command::new(env!("CARGO_BIN_EXE_amis-export")).arg("build-engine"), &request, &mut |_| {})
}

/// Largest magnitude of every tensor that goes into a Linear, over some network inputs: the graph with these maxima as its only output.
pub(crate) fn amax(model: &ModelProto, inputs: &[f32], dir: &Path) -> BTreeMap<String, f32> {
    let mut probe = model.clone();
    let graph = probe.graph.as_mut().unwrap();
    let mut tensors: Vec<String> = linears(graph).into_iter().map(|l| l.input).collect();
    tensors.dedup();
    let int = |name: &str, v: i64| AttributeProto { name: Some(name.into()), i: Some(v), r#type: Some(2), ..AttributeProto::default() };
    let mut add = |op: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>| {
        graph.node.push(NodeProto {
            name: Some(output.into()),
            op_type: Some(op.into()),
            input,
            output: vec![output.into()],
            attribute,
            ..NodeProto::default()
        });
    };
    for (i, tensor) in tensors.iter().enumerate() {
        add("Abs", vec![tensor.clone()], &format!("probe.{i}.abs"), vec![]);
        add("ReduceMax", vec![format!("probe.{i}.abs")], &format!("probe.{i}"), vec![int("keepdims", 0)]);
        add("Reshape", vec![format!("probe.{i}"), "probe.shape".into()], &format!("probe.{i}.cell"), vec![]);
    }
    add("Concat", (0..tensors.len()).map(|i| format!("probe.{i}.cell")).collect(), "probe", vec![int("axis", 1)]);
    let raw = [1i64; 4].iter().flat_map(|v| v.to_le_bytes()).collect();
    let shape =
        TensorProto { name: Some("probe.shape".into()), dims: vec![4], data_type: Some(DataType::Int64.into()), raw_data: Some(raw), ..Default::default() };
    graph.initializer.push(shape);
    graph.output = vec![ValueInfoProto::tensor("probe", DataType::Float, &[1, tensors.len() as i64, 1, 1])];
    let path = dir.join("probe.onnx");
    onnx::write(&path, &probe).unwrap();
    let mut backend = OnnxRuntime::open(&path, &Options { threads: 1 }).unwrap();
    let mut largest = vec![0f32; tensors.len()];
    for input in inputs.chunks_exact(backend.input_shape().iter().product()) {
        largest.iter_mut().zip(backend.infer(input).unwrap()).for_each(|(a, v)| *a = a.max(*v));
    }
    tensors.into_iter().zip(largest).collect()
}
