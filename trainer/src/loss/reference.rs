//! Two forms of the reference code that the presets do not use, kept for comparison with it.

use amis_artifacts::classes::IGNORE;
use tch::{Kind, Tensor};

/// Binary cross-entropy of logits `[B, C, H, W]` against one-hot labels `[B, H, W]`: summed over C, then the mean over pixels that are not 255.
pub fn binary_cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let classes = logits.size()[1];
    let counted = labels.not_equal(i64::from(IGNORE));
    let one_hot = labels.masked_fill(&counted.logical_not(), 0).one_hot(classes).permute([0, 3, 1, 2]).to_kind(Kind::Float);
    let per_value = logits.binary_cross_entropy_with_logits(&one_hot, None::<Tensor>, None::<Tensor>, tch::Reduction::None);
    let counted = counted.to_kind(Kind::Float);
    (per_value.sum_dim_intlist([1].as_slice(), false, Kind::Float) * &counted).sum(Kind::Float) / counted.sum(Kind::Float).clamp_min(1.0)
}

/// Plain distillation: mean over all pixels of `-(1 / C_old) sum softmax(old) log_softmax(new[:C_old])`.
pub fn knowledge_distillation(new_logits: &Tensor, old_logits: &Tensor) -> Tensor {
    let old_classes = old_logits.size()[1];
    let new = new_logits.slice(1, 0, old_classes, 1).log_softmax(1, None::<Kind>);
    -(old_logits.softmax(1, None::<Kind>) * new).sum_dim_intlist([1].as_slice(), false, Kind::Float).mean(Kind::Float) / old_classes as f64
}
