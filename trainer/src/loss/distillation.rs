//! Label-guided output distillation, LGKD (AMIS.md, term 3).

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Which of the old model's probability moves to the new class at pixels that are labelled with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moved {
    /// That of the background: the reference.
    Background,
    /// All of it: the label is known there.
    All,
}

/// Sum over samples of the mean over their pixels (255 too) of `-(1/C) sum_c target_c log_softmax(new)_c`.
///
/// Log-probabilities of the new network `[B, C, H, W]`, probabilities of the old one `[B, C_old, H, W]`, the step's original labels `[B, H, W]` (before completion).
pub fn output_distillation(log_probabilities: &Tensor, old: &Tensor, labels: &Tensor, moved: Moved) -> Tensor {
    let (_, classes, height, width) = log_probabilities.size4().unwrap_or_default();
    -(target(old, labels, classes, moved) * log_probabilities).sum(old.kind()) / (classes * height * width) as f64
}

/// What the new network's probabilities `[B, C, H, W]` shall be.
fn target(old: &Tensor, labels: &Tensor, classes: i64, moved: Moved) -> Tensor {
    let (batch, old_classes, height, width) = old.size4().unwrap_or_default();
    let is_new = labels.ge(old_classes).logical_and(&labels.lt(classes)).unsqueeze(1);
    let added = old.new_zeros([batch, classes - old_classes, height, width], (old.kind(), old.device()));
    let background = old.slice(1, 0, 1, 1);
    let (mut target, mass) = match moved {
        Moved::Background => (Tensor::cat(&[background.masked_fill(&is_new, 0.0), old.slice(1, 1, None, 1), added], 1), background * &is_new),
        Moved::All => (Tensor::cat(&[old.masked_fill(&is_new, 0.0), added], 1), is_new.to_kind(old.kind())),
    };
    // Pixels without a new class have no mass, whatever channel it is added to.
    let to = labels.unsqueeze(1).masked_fill(&is_new.logical_not(), 0);
    target.scatter_add_(1, &to, &mass)
}
