//! One training step: the losses of AMIS.md section 3, by name.
//!
//! A step goes over one or several micro-batches, on one or several processes. What the terms divide by (pixel weights, scored patches, images) follows from
//! labels and the old network alone. So [`targets`] comes first, for all of them; their [`Totals`] are added up; then [`losses`] of every micro-batch divides
//! by the same totals, and gradients simply add up to those of the whole batch.

mod pixels;

use tch::{Kind, Tensor, no_grad};

use crate::config::Method;
use crate::loss::cross_entropy::pixel_weights;
use crate::loss::features::{class_cosine_distillation, class_distillation, low_resolution_labels, patch_distillation, score_map};
use crate::loss::orthogonality::orthogonality;
use crate::loss::pooling::{Pooling, grid_pooling, published_pooling};
use crate::loss::pseudo_labels::complete_labels;
use crate::model::{Mode, Output, Segmenter};
use pixels::PixelTerms;

/// What a micro-batch is trained towards.
#[derive(Debug)]
pub struct Targets {
    /// Labels after completion by the old network, `[B, H, W]`.
    pub labels: Tensor,
    /// What this micro-batch adds to the denominators.
    pub totals: Totals,
    /// Labels as the step's annotation has them, `[B, H, W]`.
    annotated: Tensor,
    /// Weight of each pixel in the cross-entropy, `[B, H, W]`.
    weights: Tensor,
    old: Option<OldOutput>,
}

/// Denominators of the terms, float64 `[3]`: sum of pixel weights, patches with a positive score, images.
#[derive(Debug)]
pub struct Totals(pub Tensor);

/// What the old network says about a micro-batch. Its logits are not kept: they are the masks, enlarged.
#[derive(Debug)]
struct OldOutput {
    masks: Tensor,
    patches: Tensor,
    class_features: Tensor,
    score: Tensor,
}

/// Loss terms of a micro-batch, already weighted.
#[derive(Debug, Default)]
pub struct Losses {
    /// Name and value, in the order of AMIS.md. Those over pixels have no gradient; [`Losses::total`] has.
    pub terms: Vec<(&'static str, Tensor)>,
    /// Mean opening of the Global Attention Block's gates.
    pub gate: Option<Tensor>,
    /// 0, with the gradient of the terms over pixels.
    carrier: Option<Tensor>,
}

impl Losses {
    /// Sum of the terms, differentiable.
    pub fn total(&self) -> Tensor {
        let values: Vec<Tensor> = self.terms.iter().map(|(_, t)| t).chain(&self.carrier).map(Tensor::shallow_clone).collect();
        Tensor::stack(&values, 0).sum(Kind::Float)
    }
}

impl Totals {
    fn new(weights: &Tensor, score: Option<&Tensor>, images: i64) -> Self {
        let patches = score.map_or_else(|| weights.new_zeros([], (Kind::Double, weights.device())), |s| s.gt(0.0).sum(Kind::Double));
        let images = Tensor::full([], images, (Kind::Double, weights.device()));
        Self(Tensor::stack(&[weights.sum(Kind::Double), patches, images], 0))
    }

    /// Sum over micro-batches.
    pub fn sum<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let parts: Vec<Tensor> = parts.into_iter().map(|p| p.0.shallow_clone()).collect();
        Self(Tensor::stack(&parts, 0).sum_dim_intlist([0].as_slice(), false, Kind::Double))
    }

    /// Denominators as float32 scalars, at least 1: a sum over nothing is 0, and stays so.
    fn denominators(&self) -> [Tensor; 3] {
        let floats = self.0.clamp_min(1.0).to_kind(Kind::Float);
        [0, 1, 2].map(|i| floats.get(i))
    }
}

/// Targets of images `[B, 3, H, W]` with labels `[B, H, W]`, which know the step's own classes only. Without an old network (a base step, and fine-tuning)
/// they are the labels.
pub fn targets(old: Option<&Segmenter>, images: &Tensor, labels: &Tensor, method: &Method) -> Targets {
    no_grad(|| {
        let completed_by = |network: &Segmenter, old: &Output| {
            let image = |i: i64| {
                let probabilities = network.enlarge(&old.masks.narrow(0, i, 1), images).softmax(1, None::<Kind>);
                complete_labels(&labels.narrow(0, i, 1), &probabilities, method.pseudo_threshold, method.ignore_doubt)
            };
            Tensor::cat(&(0..labels.size()[0]).map(image).collect::<Vec<_>>(), 0)
        };
        let (old, completed) = match old {
            Some(network) => {
                let output = network.forward(images, Mode::Eval);
                let completed = completed_by(network, &output);
                (Some(output), completed)
            }
            None => (None, labels.shallow_clone()),
        };
        // A base step has all its classes annotated: its borders are not in doubt.
        let boundary = if old.is_some() { method.boundary_weight } else { 0.0 };
        let weights = pixel_weights(&completed, method.boundary_px, boundary);
        let old = old.map(|Output { masks, patches, class_features, .. }| {
            let size = masks.size();
            let score = score_map(&masks, &low_resolution_labels(&completed, size[2], size[3]));
            OldOutput { masks, patches, class_features, score }
        });
        let totals = Totals::new(&weights, old.as_ref().map(|o| &o.score), labels.size()[0]);
        Targets { labels: completed, totals, annotated: labels.shallow_clone(), weights, old }
    })
}

/// All terms that `method` turns on, of a micro-batch of images `[B, 3, H, W]`, as its share of means over `totals`.
pub fn losses(new: &Segmenter, images: &Tensor, targets: &Targets, totals: &Totals, method: &Method, mode: Mode<'_>) -> Losses {
    let [pixels, patches, samples] = totals.denominators();
    let current = new.forward(images, mode);
    let over_pixels = PixelTerms::new(new, &current.masks, images, targets, [&pixels, &samples], method);
    let carrier = Some(over_pixels.carrier(&current.masks));
    let mut terms = vec![("ce", over_pixels.cross_entropy)];
    let Some(old) = &targets.old else { return Losses { terms, gate: current.gate, carrier } };
    let old_classes = old.masks.size()[1];
    let all = new.groups.classes() as f64;
    let added = all - old_classes as f64;
    let mut add = |name, weight: f64, value: &dyn Fn() -> Tensor| {
        if weight != 0.0 {
            terms.push((name, value() * weight));
        }
    };
    add("patches", method.patch_weight, &|| patch_distillation(&current.patches, &old.patches, &old.score) / &patches);
    add("classes", method.class_weight, &|| class_distillation(&current.class_features, &old.class_features) / &samples);
    add("classes_cosine", method.class_embedding_weight, &|| class_cosine_distillation(&current.class_features, &old.class_features));
    let imbalance = (all / added).sqrt();
    match method.pooling {
        Pooling::Off => {}
        Pooling::Grid => add("pooling", method.pod_factor * imbalance, &|| grid_pooling(&current.patches, &old.patches, &old.score) / &samples),
        Pooling::Published => add("pooling", imbalance, &|| published_pooling(&current.patches, &old.patches) / &samples),
    }
    if let Some(output) = &over_pixels.output {
        add("output", 1.0, &|| output.shallow_clone());
    }
    // It depends on no image: every micro-batch carries its share.
    let share = &samples.reciprocal() * images.size()[0] as f64;
    add("orthogonality", method.orthogonality_weight * added / all, &|| orthogonality(&new.class_embeddings(), old_classes) * &share);
    Losses { terms, gate: current.gate, carrier }
}
