//! New class embeddings keep away from all others (AMIS.md, term 4).

use tch::{Kind, Tensor};

/// Mean absolute cosine between the new classes' embeddings and all embeddings `[1, C, D]`, without a class and itself;
/// zeros are left out of the mean, and the second factor carries no gradient. 0 when nothing is left.
///
/// The caller scales it by `new / all`.
pub fn orthogonality(embeddings: &Tensor, old_classes: i64) -> Tensor {
    let rows = embeddings.squeeze_dim(0);
    let unit = |x: &Tensor| x / x.norm_scalaropt_dim(2, [-1].as_slice(), true).clamp_min(1e-12);
    let cosines = unit(&rows).matmul(&unit(&rows.detach()).transpose(0, 1));
    let off_diagonal = Tensor::eye(rows.size()[0], (Kind::Float, rows.device())) * -1.0 + 1.0;
    let cosines = (cosines * off_diagonal).slice(0, old_classes, None, 1).abs();
    let counted = cosines.gt(0.0).to_kind(Kind::Float).sum(Kind::Float).clamp_min(1.0);
    cosines.sum(Kind::Float) / counted
}
