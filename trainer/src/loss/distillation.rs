//! Label-guided output distillation, LGKD (AMIS.md, term 3).

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Which of the old model's probability moves to the new class at pixels that are labelled with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moved {
    /// That of the background: the reference.
    Background,
    /// All of it: the label is known there.
    All,
}

/// Mean over all pixels (255 too) of `-(1/C) sum_c target_c log_softmax(new)_c`.
///
/// New logits `[B, C, H, W]`, old logits `[B, C_old, H, W]`, the step's original labels `[B, H, W]` (before completion).
pub fn output_distillation(new_logits: &Tensor, old_logits: &Tensor, labels: &Tensor, moved: Moved) -> Tensor {
    let (batch, classes, height, width) = new_logits.size4().unwrap_or_default();
    let old_classes = old_logits.size()[1];
    let old = old_logits.softmax(1, None::<Kind>);
    let is_new = labels.ge(old_classes).logical_and(&labels.lt(classes)).unsqueeze(1);
    let (kept, mass) = match moved {
        Moved::Background => {
            let background = old.slice(1, 0, 1, 1);
            let kept = Tensor::cat(&[background.masked_fill(&is_new, 0.0), old.slice(1, 1, None, 1)], 1);
            (kept, background * is_new.to_kind(Kind::Float))
        }
        Moved::All => (old.masked_fill(&is_new, 0.0), is_new.to_kind(Kind::Float)),
    };
    let target = Tensor::zeros([batch, classes, height, width], (Kind::Float, new_logits.device()));
    target.slice(1, 0, old_classes, 1).copy_(&kept);
    // Pixels without a new class add nothing, whatever index they carry.
    let index = labels.unsqueeze(1).masked_fill(&is_new.logical_not(), 0);
    let target = target.scatter_add(1, &index, &mass);
    let sum = (target * new_logits.log_softmax(1, None::<Kind>)).sum(Kind::Float);
    -sum / (classes * batch * height * width) as f64
}
