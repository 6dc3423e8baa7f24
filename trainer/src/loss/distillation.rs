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
///
/// The target is never built: where the probability moves it meets one channel of `log_softmax`, which is gathered.
pub fn output_distillation(log_probabilities: &Tensor, old: &Tensor, labels: &Tensor, moved: Moved) -> Tensor {
    let (_, classes, height, width) = log_probabilities.size4().unwrap_or_default();
    let old_classes = old.size()[1];
    let is_new = labels.ge(old_classes).logical_and(&labels.lt(classes)).unsqueeze(1);
    let (kept, mass) = match moved {
        Moved::Background => {
            let background = old.slice(1, 0, 1, 1);
            let kept = Tensor::cat(&[background.masked_fill(&is_new, 0.0), old.slice(1, 1, None, 1)], 1);
            (kept, background * is_new.to_kind(old.kind()))
        }
        Moved::All => (old.masked_fill(&is_new, 0.0), is_new.to_kind(old.kind())),
    };
    let at_old_classes = (kept * log_probabilities.slice(1, 0, old_classes, 1)).sum(old.kind());
    // Pixels without a new class have no mass, whatever channel they read.
    let index = labels.unsqueeze(1).masked_fill(&is_new.logical_not(), 0);
    let at_the_label = (mass * log_probabilities.gather(1, &index, false)).sum(old.kind());
    -(at_old_classes + at_the_label) / (classes * height * width) as f64
}
