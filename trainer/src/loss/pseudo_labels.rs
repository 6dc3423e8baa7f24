//! What the old model adds to the labels (AMIS.md, terms 1 and 2).

use amis_artifacts::classes::IGNORE;
use tch::{Kind, Tensor};

use crate::model::best_class;

/// Labels `[B, H, W]` completed by the old model's probabilities `[B, C_old, H, W]`.
///
/// Where the label is background: an old class with probability of at least `threshold` becomes the label (term 1);
/// where the old model then gives its classes together more probability than background, the pixel is ignored (term 2, with `ignore_doubt`).
pub fn complete_labels(labels: &Tensor, probabilities: &Tensor, threshold: f64, ignore_doubt: bool) -> Tensor {
    let (best, class) = best_class(probabilities);
    let is_background = labels.eq(0);
    let sure = is_background.logical_and(&class.gt(0)).logical_and(&best.ge(threshold));
    let completed = labels.where_self(&sure.logical_not(), &class.to_kind(Kind::Int64));
    if !ignore_doubt {
        return completed;
    }
    let doubt = completed.eq(0).logical_and(&probabilities.select(1, 0).lt(0.5));
    completed.masked_fill(&doubt, i64::from(IGNORE))
}
