//! One training step on a batch: the losses of AMIS.md section 3, by name.

use tch::{Kind, Tensor, no_grad};

use crate::config::Method;
use crate::loss::cross_entropy::{boundary_weights, cross_entropy};
use crate::loss::distillation::output_distillation;
use crate::loss::features::{class_cosine_distillation, class_distillation, low_resolution_labels, patch_distillation, score_map};
use crate::loss::orthogonality::orthogonality;
use crate::loss::pooling::{Pooling, grid_pooling, published_pooling};
use crate::loss::pseudo_labels::complete_labels;
use crate::model::{Mode, Output, Segmenter};

/// Loss terms of one batch, already weighted.
#[derive(Debug)]
pub struct Losses {
    /// Name and value, in the order of AMIS.md.
    pub terms: Vec<(&'static str, Tensor)>,
    /// Labels after completion by the old model, `[B, H, W]`.
    pub labels: Tensor,
    /// Mean opening of the Global Attention Block's gates.
    pub gate: Option<Tensor>,
}

impl Losses {
    /// Sum of the terms, differentiable.
    pub fn total(&self) -> Tensor {
        let values: Vec<Tensor> = self.terms.iter().map(|(_, t)| t.shallow_clone()).collect();
        Tensor::stack(&values, 0).sum(Kind::Float)
    }
}

/// Cross-entropy alone: a base step, and fine-tuning. Images `[B, 3, H, W]`, labels `[B, H, W]`.
pub fn base_step(model: &Segmenter, images: &Tensor, labels: &Tensor, mode: Mode<'_>) -> Losses {
    let output = model.forward(images, mode);
    Losses { terms: vec![("ce", cross_entropy(&output.logits, labels, None))], labels: labels.shallow_clone(), gate: output.gate }
}

/// All terms that `method` turns on. `old` is the frozen network of the step before; `labels` know the step's own classes only.
pub fn incremental_step(new: &Segmenter, old: &Segmenter, images: &Tensor, labels: &Tensor, method: &Method, mode: Mode<'_>) -> Losses {
    let old_classes = old.groups.classes() as i64;
    let all = new.groups.classes() as f64;
    let added = all - old_classes as f64;
    let previous = no_grad(|| old.forward(images, Mode::Eval));
    let current = new.forward(images, mode);
    let completed = no_grad(|| complete_labels(labels, &previous.logits, method.pseudo_threshold, method.ignore_doubt));
    let mut terms = vec![("ce", weighted_cross_entropy(&current, &completed, method))];
    let size = previous.masks.size();
    let score = no_grad(|| score_map(&previous.masks, &low_resolution_labels(&completed, size[2], size[3])));
    let mut add = |name, weight: f64, value: &dyn Fn() -> Tensor| {
        if weight != 0.0 {
            terms.push((name, value() * weight));
        }
    };
    add("patches", method.patch_weight, &|| patch_distillation(&current.patches, &previous.patches, &score));
    add("classes", method.class_weight, &|| class_distillation(&current.class_features, &previous.class_features));
    add("classes_cosine", method.class_embedding_weight, &|| class_cosine_distillation(&current.class_features, &previous.class_features));
    let imbalance = (all / added).sqrt();
    match method.pooling {
        Pooling::Off => {}
        Pooling::Grid => add("pooling", method.pod_factor * imbalance, &|| grid_pooling(&current.patches, &previous.patches, &score)),
        Pooling::Published => add("pooling", imbalance, &|| published_pooling(&current.patches, &previous.patches)),
    }
    add("output", method.distill_weight, &|| output_distillation(&current.logits, &previous.logits, labels, method.moved));
    add("orthogonality", method.orthogonality_weight * added / all, &|| orthogonality(&new.class_embeddings(), old_classes));
    Losses { terms, labels: completed, gate: current.gate }
}

fn weighted_cross_entropy(output: &Output, labels: &Tensor, method: &Method) -> Tensor {
    let weights = (method.boundary_weight != 0.0).then(|| no_grad(|| boundary_weights(labels, method.boundary_px, method.boundary_weight)));
    cross_entropy(&output.logits, labels, weights.as_ref())
}
