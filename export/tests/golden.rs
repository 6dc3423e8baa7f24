//! The exported reference network in ONNX Runtime against the reference's own numbers.
#![allow(clippy::unwrap_used)]

mod common;

use amis_artifacts::weights::Weights;
use amis_export::graph::{self, Batch, Output};
use amis_export::{Error, verify};
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use common::{golden_checkpoint, golden_manifest, golden_tensors, random_weights};

/// Largest difference between the graph's output and a golden output, over both inputs.
fn max_diff(output: Output, golden: &str, shape: [usize; 4]) -> f32 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    graph::export(&golden_checkpoint(dir.path()), output, &path).unwrap();
    let mut backend = OnnxRuntime::open(&path, &Options::default()).unwrap();
    assert_eq!(backend.output_shape(), shape);
    let tensors = golden_tensors();
    let inputs = tensors["input"].data.chunks(3 * 64 * 64);
    let expected = tensors[golden].data.chunks(shape.iter().product());
    assert_eq!((inputs.len(), expected.len()), (2, 2));
    let diff = |(input, expected): (&[f32], &[f32])| backend.infer(input).unwrap().iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    inputs.zip(expected).map(diff).fold(0.0, f32::max)
}

#[test]
fn masks_are_those_of_the_reference() {
    let diff = max_diff(Output::Masks, "output.masks_lowres", [1, 6, 4, 4]);
    assert!(diff < 1e-4, "{diff}");
}

#[test]
fn full_logits_are_those_of_the_reference() {
    let diff = max_diff(Output::Logits, "output.logits", [1, 6, 64, 64]);
    assert!(diff < 1e-4, "{diff}");
}

#[test]
fn verify_passes_on_the_same_weights_and_fails_on_others() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = golden_checkpoint(dir.path());
    let path = dir.path().join("model.onnx");
    for output in [Output::Masks, Output::Logits] {
        graph::export(&checkpoint, output, &path).unwrap();
        let result = verify::verify(&checkpoint, &path).unwrap().require().unwrap();
        assert_eq!((result.images, result.argmax_agreement), (2, 1.0));
    }
    // One bias of one class moved by twice the tolerance is found.
    let mut weights = checkpoint.weights().unwrap();
    weights.get_mut("decoder.mask_norm.bias.1").unwrap().data[0] += 2e-3;
    let other = graph::segmenter(&checkpoint.manifest, &weights, "", Output::Masks).unwrap();
    amis_artifacts::onnx::write(&path, &other).unwrap();
    let error = verify::verify(&checkpoint, &path).unwrap().require().unwrap_err();
    assert!(matches!(error, Error::Verification { max_abs_diff, .. } if (max_abs_diff - 2e-3).abs() < 1e-4), "{error}");
}

#[test]
fn every_image_of_a_batch_is_computed_as_if_alone() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = golden_checkpoint(dir.path());
    let path = dir.path().join("model.onnx");
    for output in [Output::Masks, Output::Logits] {
        for batch in [Batch::Fixed(3), Batch::Dynamic(3)] {
            let model = graph::export_batch(&checkpoint, output, batch, &path).unwrap();
            assert_eq!(Batch::of(&model), Some(batch));
            let result = verify::verify(&checkpoint, &path).unwrap().require().unwrap();
            assert_eq!((result.images, result.argmax_agreement), (2, 1.0));
        }
    }
    // With GAB, whose first step is a mean over all tokens: it must stay within an image.
    let mut manifest = golden_manifest();
    manifest.model.gab = true;
    let weights = random_weights(&manifest, 4);
    let images = golden_tensors().remove("input").unwrap().data;
    let mut outputs = [Batch::Fixed(1), Batch::Fixed(2), Batch::Dynamic(2)].map(|batch| {
        amis_artifacts::onnx::write(&path, &graph::segmenter_batch(&manifest, &weights, "", Output::Masks, batch).unwrap()).unwrap();
        let count = if batch == Batch::Fixed(1) { 1 } else { 2 };
        let mut backend = OnnxRuntime::open_batch(&path, &Options::default(), count).unwrap();
        images.chunks(count * 3 * 64 * 64).flat_map(|images| backend.infer(images).unwrap().to_vec()).collect::<Vec<f32>>()
    });
    let [alone, batched @ ..] = &mut outputs;
    assert!(batched.iter().all(|b| b.len() == alone.len() && b.iter().zip(&*alone).all(|(a, b)| (a - b).abs() < 1e-4)));
}

#[test]
fn a_graph_of_another_size_is_refused_before_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = golden_checkpoint(dir.path());
    let mut manifest = golden_manifest();
    manifest.image_spec.width_px = 96;
    let path = dir.path().join("model.onnx");
    let other = graph::segmenter(&manifest, &checkpoint.weights().unwrap(), "", Output::Masks).unwrap();
    amis_artifacts::onnx::write(&path, &other).unwrap();
    let error = verify::verify(&checkpoint, &path).unwrap_err();
    assert!(error.to_string().contains("its input is [1, 3, 64, 96], expected [1, 3, 64, 64]"), "{error}");
}

#[test]
fn every_weight_is_needed_and_a_missing_one_is_named() {
    let mut manifest = golden_manifest();
    manifest.model.gab = true;
    let weights = random_weights(&manifest, 3);
    let segmenter = |weights: &Weights| graph::segmenter(&manifest, weights, "", Output::Masks);
    segmenter(&weights).unwrap();
    for name in weights.keys() {
        let mut fewer = weights.clone();
        fewer.remove(name);
        let error = segmenter(&fewer).unwrap_err().to_string();
        assert!(error.starts_with(&format!("weight {name} is missing, expected one of shape [")), "{error}");
    }
    let mut odd = weights.clone();
    odd.get_mut("encoder.pos_embed").unwrap().shape = vec![1, 34, 32];
    let error = segmenter(&odd).unwrap_err().to_string();
    assert_eq!(error, "weight encoder.pos_embed has shape [1, 34, 32], expected [1, 17, 64]");
}

#[test]
fn equal_checkpoints_give_equal_graphs_that_say_where_they_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = golden_checkpoint(dir.path());
    let (a, b) = (dir.path().join("a.onnx"), dir.path().join("b.onnx"));
    let model = graph::export(&checkpoint, Output::Masks, &a).unwrap();
    graph::export(&checkpoint, Output::Masks, &b).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    let metadata = |key: &str| model.metadata_props.iter().find(|e| e.key() == key).map(|e| e.value().to_owned()).unwrap();
    assert_eq!(metadata(graph::CHECKPOINT_KEY), checkpoint.sha256().unwrap());
    assert_eq!(metadata(graph::STEP_KEY), "1");
    assert_eq!(metadata(graph::CLASSES_KEY), r#"["background","class 1","class 2","class 3","class 4","class 5"]"#);
    let names: Vec<&str> = model.graph.iter().flat_map(|g| &g.node).map(|n| n.name()).collect();
    assert!(names.contains(&"encoder.blocks.0.attn.qkv") && names.contains(&"decoder.blocks.1.mlp.fc2"), "{names:?}");
}
