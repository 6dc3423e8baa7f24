//! Cross-entropy with ignored pixels and, for BCS, heavier pixels at the border between background and classes (AMIS.md, term 5).

use amis_artifacts::classes::IGNORE;
use tch::{Kind, Reduction, Tensor};

/// Cross-entropy of log-probabilities `[B, C, H, W]` at labels `[B, H, W]`: the sum over all pixels that are not 255, each times its weight `[B, H, W]`.
///
/// The mean divides by the sum of [`pixel_weights`].
pub fn cross_entropy(log_probabilities: &Tensor, labels: &Tensor, weights: &Tensor) -> Tensor {
    let per_pixel = log_probabilities.nll_loss2d(labels, None::<Tensor>, Reduction::None, i64::from(IGNORE));
    (per_pixel * weights).sum(log_probabilities.kind())
}

/// What each pixel of labels `[B, H, W]` counts in the cross-entropy: 0 where the label is 255, else 1, and `1 + extra` near borders ([`boundary_weights`]).
pub fn pixel_weights(labels: &Tensor, radius_px: i64, extra: f64) -> Tensor {
    let counted = labels.not_equal(i64::from(IGNORE)).to_kind(Kind::Float);
    if extra == 0.0 { counted } else { counted * boundary_weights(labels, radius_px, extra) }
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
