//! The network computes what the reference computes.
#![allow(clippy::unwrap_used)]

mod common;

use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_trainer::model::{Mode, Segmenter};
use common::{Golden, distance};
use tch::{Device, no_grad};

#[test]
fn forward_equals_the_reference() {
    let golden = Golden::read("segmenter_forward.safetensors");
    let spec = ModelSpec { patch_px: 16, dim: 64, depth: 3, heads: 2, decoder_depth: 2, decoder_heads: 1, gab: false };
    let model = Segmenter::new(&spec, &Groups(vec![1, 3, 2]), [4, 4], &golden.weights("model."), Device::Cpu, false).unwrap();
    let images = golden.get("input");
    let output = no_grad(|| model.forward(&images, Mode::Eval));
    let logits = model.logits(&images);
    for (name, found) in [("masks_lowres", &output.masks), ("logits", &logits), ("patches", &output.patches), ("cls_seg_feat", &output.class_features)] {
        let difference = distance(found, &golden.get(&format!("output.{name}")));
        assert!(difference < 1e-4, "{name} differs by {difference}");
    }
}

#[test]
fn a_weight_of_another_shape_is_named() {
    let golden = Golden::read("segmenter_forward.safetensors");
    let spec = ModelSpec { patch_px: 16, dim: 64, depth: 4, heads: 2, decoder_depth: 2, decoder_heads: 1, gab: false };
    let error = Segmenter::new(&spec, &Groups(vec![1, 3, 2]), [4, 4], &golden.weights("model."), Device::Cpu, false).unwrap_err();
    assert!(error.to_string().contains("encoder.blocks.3.norm1.weight is missing"), "{error}");
    let spec = ModelSpec { depth: 3, ..spec };
    let error = Segmenter::new(&spec, &Groups(vec![1, 3, 3]), [4, 4], &golden.weights("model."), Device::Cpu, false).unwrap_err();
    assert!(error.to_string().contains("decoder.cls_emb.2 has shape [1, 2, 64], expected [1, 3, 64]"), "{error}");
}
