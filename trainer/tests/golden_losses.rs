//! Every loss term and its gradient equals the reference.
#![allow(clippy::unwrap_used)]

mod common;

use amis_trainer::loss::distillation::{Moved, output_distillation};
use amis_trainer::loss::{cross_entropy, features, orthogonality, pooling, reference};
use common::{Golden, distance, relative};
use tch::{Kind, Tensor};

/// Value within 1e-5 relative, gradient within 1e-4 absolute (AMIS.md section 5).
fn check(golden: &Golden, name: &str, input: &Tensor, loss: impl Fn(&Tensor) -> Tensor) {
    let mut input = input.detach().copy().set_requires_grad(true);
    input.zero_grad();
    let value = loss(&input);
    value.backward();
    let error = relative(&value, &golden.get(name));
    assert!(error < 1e-5, "{name}: {value:?} differs by {error} (relative)");
    let error = distance(&input.grad(), &golden.get(&format!("{name}.grad")));
    assert!(error < 1e-4, "gradient of {name} differs by {error}");
    assert!(input.grad().abs().max().double_value(&[]) > 0.0, "gradient of {name} is 0");
}

#[test]
fn label_losses_equal_the_reference() {
    let golden = Golden::read("losses.safetensors");
    let (logits, labels) = (golden.get("logits"), golden.get("labels_full"));
    let weights = cross_entropy::pixel_weights(&labels, 1, 0.0);
    check(&golden, "ce", &logits, |x| cross_entropy::cross_entropy(&x.log_softmax(1, None::<Kind>), &labels, &weights) / weights.sum(Kind::Float));
    check(&golden, "bce", &logits, |x| reference::binary_cross_entropy(x, &labels));
}

#[test]
fn output_distillation_equals_the_reference() {
    let golden = Golden::read("losses.safetensors");
    let (logits, old, labels) = (golden.get("logits"), golden.get("logits_prev"), golden.get("labels_new_only"));
    check(&golden, "kd", &logits, |x| reference::knowledge_distillation(x, &old));
    check(&golden, "lgkd", &logits, |x| {
        output_distillation(&x.log_softmax(1, None::<Kind>), &old.softmax(1, None::<Kind>), &labels, Moved::Background) / x.size()[0]
    });
}

#[test]
fn feature_losses_equal_the_reference() {
    let golden = Golden::read("losses.safetensors");
    let score = features::score_map(&golden.get("masks_prev_lowres"), &golden.get("labels_lowres").to_kind(Kind::Int64));
    let error = distance(&score, &golden.get("scoremap"));
    assert!(error < 1e-6, "score map differs by {error}");
    let (patches_old, class_old) = (golden.get("patches_prev"), golden.get("class_feat_prev"));
    check(&golden, "afd_patches", &golden.get("patches"), |x| features::patch_distillation(x, &patches_old, &score) / score.gt(0.0).sum(Kind::Float));
    check(&golden, "afd_class", &golden.get("class_feat"), |x| features::class_distillation(x, &class_old) / x.size()[0]);
    check(&golden, "class_embedding_fod", &golden.get("class_feat"), |x| features::class_cosine_distillation(x, &class_old));
}

#[test]
fn orthogonality_equals_the_reference() {
    let golden = Golden::read("losses.safetensors");
    check(&golden, "ortho_w1", &golden.get("class_token"), |x| orthogonality::orthogonality(x, 4));
}

#[test]
fn published_pooling_equals_the_reference() {
    let golden = Golden::read("losses.safetensors");
    let old = golden.get("amd_published.prev").squeeze_dim(1);
    check(&golden, "amd_published", &golden.get("amd_published.in"), |x| {
        pooling::published_pooling(&x.squeeze_dim(1), &old) * ((6.0f64 / 2.0).sqrt() / x.size()[0] as f64)
    });
}
