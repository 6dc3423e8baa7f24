//! Multi-scale pooled features (AMIS.md, term 9).

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Which plane is pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// No pooling term.
    Off,
    /// The patch grid with D channels, strips weighted by their mean score.
    Grid,
    /// Token x channel of one sample, as the published loss file has it.
    Published,
}

/// Scales: the plane is cut into `s * s` regions.
const SCALES: [i64; 3] = [1, 2, 4];
/// Factor of all samples but the last in the published form; that of the last is a hundredth.
const PUBLISHED_FACTOR: f64 = 0.01;

/// Grid form. Patch features `[B, h * w, D]`, score `[B, h, w]`. Sum over samples of the Frobenius norm of the difference of their pooled squares.
///
/// The caller scales it by `pod_factor * sqrt(all / new)`.
pub fn grid_pooling(new: &Tensor, old: &Tensor, score: &Tensor) -> Tensor {
    let (batch, rows, columns) = score.size3().unwrap_or_default();
    let plane = |x: &Tensor| x.square().transpose(1, 2).reshape([batch, -1, rows, columns]);
    let difference = plane(new) - plane(old); // pooling is linear in the squares
    let score = score.unsqueeze(1);
    let mut strips = Vec::new();
    for scale in SCALES {
        let share = (scale * scale) as f64;
        for (y, height) in regions(rows, scale) {
            for (x, width) in regions(columns, scale) {
                let cut = |t: &Tensor| t.narrow(2, y, height).narrow(3, x, width);
                let (values, weight) = (cut(&difference), cut(&score));
                for side in [3, 2] {
                    let mean = |t: &Tensor| t.mean_dim([side].as_slice(), false, None::<Kind>);
                    strips.push((mean(&values) * mean(&weight) / share).flatten(1, -1));
                }
            }
        }
    }
    frobenius(&Tensor::cat(&strips, 1)).sum(None::<Kind>)
}

/// Published form. Patch features `[B, N, D]` of one sample after the other; the sum over samples of factor times norm. "Last" is the last sample
/// of what is given, as in the reference, where every process counts for itself.
///
/// The caller scales it by `sqrt(all / new)`.
pub fn published_pooling(new: &Tensor, old: &Tensor) -> Tensor {
    let (batch, tokens, dim) = new.size3().unwrap_or_default();
    let difference = new.square() - old.square();
    let mut strips = Vec::new();
    for scale in SCALES {
        let side = dim / scale;
        let share = (scale * scale) as f64;
        for y in 0..scale {
            let first = (y * side).min(tokens);
            let height = side.min(tokens - first);
            for x in 0..scale {
                if height == 0 {
                    continue;
                }
                let mean = difference.narrow(1, first, height).narrow(2, x * side, side).mean_dim([1].as_slice(), false, Kind::Float) / share;
                strips.extend([mean.shallow_clone(), mean]);
            }
        }
    }
    let norms = frobenius(&Tensor::cat(&strips, 1));
    let last = norms.slice(0, batch - 1, None, 1).sum(Kind::Float) * (PUBLISHED_FACTOR / 100.0);
    norms.slice(0, 0, batch - 1, 1).sum(Kind::Float) * PUBLISHED_FACTOR + last
}

/// Starts and lengths of `parts` regions of a side, as adaptive pooling cuts it: they may overlap where `parts` does not divide it.
fn regions(side: i64, parts: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..parts).map(move |i| {
        let (start, end) = (i * side / parts, ((i + 1) * side + parts - 1) / parts);
        (start, end - start)
    })
}

/// Euclidean norm of each row `[B, n]`, with a gradient of 0 where it is 0.
fn frobenius(rows: &Tensor) -> Tensor {
    let squares = rows.square().sum_dim_intlist([1].as_slice(), false, None::<Kind>);
    let zero = squares.eq(0.0);
    squares.masked_fill(&zero, 1.0).sqrt().masked_fill(&zero, 0.0)
}
