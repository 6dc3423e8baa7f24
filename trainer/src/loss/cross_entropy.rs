//! Cross-entropy with ignored pixels and, for BCS, heavier pixels at the border between background and classes (AMIS.md, term 5).

use amis_artifacts::classes::IGNORE;
use tch::{Kind, Reduction, Tensor};

/// Mean cross-entropy of logits `[B, C, H, W]` over the pixels of labels `[B, H, W]` that are not 255; 0 when there is none.
///
/// With `weights` `[B, H, W]` the mean divides by the sum of the weights of those pixels.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Tensor {
    let per_pixel = logits.log_softmax(1, None::<Kind>).nll_loss2d(labels, None::<Tensor>, Reduction::None, i64::from(IGNORE));
    let kind = logits.kind();
    let counted = labels.not_equal(i64::from(IGNORE)).to_kind(kind);
    let weights = match weights {
        Some(weights) => weights * counted,
        None => counted,
    };
    (per_pixel * &weights).sum(kind) / weights.sum(kind).clamp_min(1.0)
}

/// `1 + extra` at pixels within `radius_px` of a border between background and a class in labels `[B, H, W]`, else 1.
///
/// A border pixel has a 4-neighbour on the other side and is at distance 1; distance is the larger of rows and columns. Borders with 255 do not count.
pub fn boundary_weights(labels: &Tensor, radius_px: i64, extra: f64) -> Tensor {
    let background = labels.eq(0);
    let class = labels.not_equal(0).logical_and(&labels.not_equal(i64::from(IGNORE)));
    let border = touches(&background, &class).logical_or(&touches(&class, &background)).to_kind(Kind::Float).unsqueeze(1);
    let reach = radius_px - 1;
    let side = 2 * reach + 1;
    let near = border.max_pool2d([side, side], [1, 1], [reach, reach], [1, 1], false).squeeze_dim(1);
    near * extra + 1.0
}

/// Pixels of `own` with a 4-neighbour in `other`, both boolean `[B, H, W]`.
fn touches(own: &Tensor, other: &Tensor) -> Tensor {
    let padded = other.to_kind(Kind::Uint8).constant_pad_nd([1, 1, 1, 1]).to_kind(Kind::Bool);
    let size = own.size();
    let window = |y: i64, x: i64| padded.narrow(1, y, size[1]).narrow(2, x, size[2]);
    let neighbour = window(0, 1).logical_or(&window(2, 1)).logical_or(&window(1, 0)).logical_or(&window(1, 2));
    own.logical_and(&neighbour)
}
