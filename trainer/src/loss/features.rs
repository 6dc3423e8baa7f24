//! Which old features are worth keeping, and keeping them (AMIS.md, terms 6 to 8).

use amis_artifacts::classes::IGNORE;
use tch::{Kind, Tensor};

/// Labels `[B, H, W]` at the size of the masks, nearest neighbour as PyTorch's `nearest`.
pub fn low_resolution_labels(labels: &Tensor, rows: i64, columns: i64) -> Tensor {
    labels.unsqueeze(1).to_kind(Kind::Float).upsample_nearest2d([rows, columns], None, None).squeeze_dim(1).to_kind(Kind::Int64)
}

/// Term 6: how much each patch of the old model is worth, `[B, h, w]`.
///
/// The background probability of the old masks `[B, C_old, h, w]`; 0 where the low-resolution label `[B, h, w]` is a new class or 255, 1 where it is an old class.
pub fn score_map(old_masks: &Tensor, labels: &Tensor) -> Tensor {
    let old_classes = old_masks.size()[1];
    let background = old_masks.softmax(1, None::<Kind>).select(1, 0);
    let is_old = labels.gt(0).logical_and(&labels.lt(old_classes));
    let is_new = labels.ge(old_classes).logical_or(&labels.eq(i64::from(IGNORE)));
    background.masked_fill(&is_new, 0.0).masked_fill(&is_old, 1.0)
}

/// Term 7: sum over patches of the score-weighted squared difference of their features `[B, N, D]`, over `D`.
///
/// The mean divides by the number of patches with a positive score.
pub fn patch_distillation(new: &Tensor, old: &Tensor, score: &Tensor) -> Tensor {
    let dim = new.size()[2];
    ((new - old).square() * score.flatten(1, -1).unsqueeze(-1)).sum(Kind::Float) / dim as f64
}

/// Term 8: sum over samples of the mean squared difference of the old classes' features, new `[B, C, D]`, old `[B, C_old, D]`.
pub fn class_distillation(new: &Tensor, old: &Tensor) -> Tensor {
    let size = old.size();
    new.slice(1, 0, size[1], 1).mse_loss(old, tch::Reduction::Sum) / (size[1] * size[2]) as f64
}

/// Term 8, the published AMIS addition: `(1 / C_old)` times the sum over batch and old classes of `1 - cos`.
pub fn class_cosine_distillation(new: &Tensor, old: &Tensor) -> Tensor {
    let old_classes = old.size()[1];
    let cosine = Tensor::cosine_similarity(&new.slice(1, 0, old_classes, 1), old, -1, 1e-8);
    (cosine * -1.0 + 1.0).sum(Kind::Float) / old_classes as f64
}
