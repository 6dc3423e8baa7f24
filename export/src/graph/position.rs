//! The position embedding at the input's grid.

/// Resizes a grid of `dim` values a cell, `[rows, columns, dim]`, bilinearly with half-pixel centres and without antialiasing, as
/// PyTorch's `interpolate(mode="bilinear", align_corners=False)`. An equal grid comes back unchanged.
pub(crate) fn resize(grid: &[f32], from: [usize; 2], to: [usize; 2], dim: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(to[0] * to[1] * dim);
    for row in 0..to[0] {
        let (top, bottom, v) = source(row, from[0], to[0]);
        for column in 0..to[1] {
            let (left, right, u) = source(column, from[1], to[1]);
            let cell = |row: usize, column: usize| &grid[(row * from[1] + column) * dim..][..dim];
            let corners = [cell(top, left), cell(top, right), cell(bottom, left), cell(bottom, right)];
            let weights = [(1.0 - v) * (1.0 - u), (1.0 - v) * u, v * (1.0 - u), v * u];
            out.extend((0..dim).map(|d| corners.iter().zip(weights).map(|(corner, weight)| f64::from(corner[d]) * weight).sum::<f64>() as f32));
        }
    }
    out
}

/// The two source cells that a target cell lies between, and the weight of the second.
fn source(at: usize, from: usize, to: usize) -> (usize, usize, f64) {
    let position = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
    let low = (position as usize).min(from - 1);
    (low, (low + 1).min(from - 1), position - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// torch 2.11.0: `x = (arange(12.) * 7 % 5).reshape(1, 2, 2, 3)`, `interpolate(x, size=(3, 5), mode="bilinear", align_corners=False)`, channels last.
    const TORCH: &str = include_str!("../../tests/fixtures/position_torch.json");

    #[test]
    fn it_is_what_torch_computes() {
        let expected: Vec<f32> = serde_json::from_str(TORCH).unwrap_or_default();
        assert_eq!(expected.len(), 3 * 5 * 2);
        let value = |c: usize, y: usize, x: usize| ((c * 6 + y * 3 + x) * 7 % 5) as f32;
        let grid: Vec<f32> = (0..2).flat_map(|y| (0..3).flat_map(move |x| (0..2).map(move |c| value(c, y, x)))).collect();
        for (found, expected) in resize(&grid, [2, 3], [3, 5], 2).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    /// The definition: a tent of width one cell around every source cell, borders repeated outwards.
    fn oracle(grid: &[f32], from: [usize; 2], to: [usize; 2], row: usize, column: usize) -> f64 {
        let centre = |at: usize, axis: usize| (at as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5;
        let (y, x) = (centre(row, 0), centre(column, 1));
        let tent = |distance: f64| (1.0 - distance.abs()).max(0.0);
        let cells = |n: usize| -1..=n as i64;
        let mut sum = 0.0;
        for cy in cells(from[0]) {
            for cx in cells(from[1]) {
                let clamped = |c: i64, n: usize| c.clamp(0, n as i64 - 1) as usize;
                let value = grid[clamped(cy, from[0]) * from[1] + clamped(cx, from[1])];
                sum += f64::from(value) * tent(y - cy as f64) * tent(x - cx as f64);
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn every_size_agrees_with_the_definition(from in [1usize..9, 1usize..9], to in [1usize..17, 1usize..17], values in prop::collection::vec(-4f32..4.0, 64)) {
            let out = resize(&values[..from[0] * from[1]], from, to, 1);
            for row in 0..to[0] {
                for column in 0..to[1] {
                    let (found, expected) = (f64::from(out[row * to[1] + column]), oracle(&values, from, to, row, column));
                    prop_assert!((found - expected).abs() < 1e-6, "{} {}", found, expected);
                }
            }
        }

        #[test]
        fn an_equal_grid_stays_as_it_is(values in prop::collection::vec(-4f32..4.0, 24)) {
            prop_assert_eq!(resize(&values, [4, 3], [4, 3], 2), values);
        }
    }
}
