//! How far the output of a Linear moves when its input is quantized: what `auto` chooses by.

use crate::rows::Rows;
use crate::threshold::round;

/// A weight that multiplies vectors of `inputs` values, row-major `[inputs, out]`.
pub(crate) struct Matrix {
    out: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// From a constant whose output channels lie along `out_axis`, the first or the last.
    pub(crate) fn new(values: Vec<f32>, dims: &[i64], out_axis: usize) -> Self {
        let out = dims[out_axis] as usize;
        if out_axis + 1 == dims.len() {
            return Self { out, values };
        }
        let inputs = values.len() / out;
        let transposed = (0..inputs * out).map(|place| values[place % out * inputs + place / out]).collect();
        Self { out, values: transposed }
    }
}

/// Squared error of the outputs over the vectors when the input's range is `amax`; the weights stay as they are.
pub(crate) fn output_error(rows: &Rows, weights: &[Matrix], amax: f32) -> f64 {
    let (scale, step) = (127.0 / amax, amax / 127.0);
    let mut moved = Vec::new();
    let mut sum = 0.0;
    for (vector, count) in rows.weighted() {
        for weight in weights {
            moved.clear();
            moved.resize(weight.out, 0f32);
            for (&value, line) in vector.iter().zip(weight.values.chunks_exact(weight.out)) {
                let error = (round((value.abs() * scale).min(127.0)) * step - value.abs()) * value.signum();
                moved.iter_mut().zip(line).for_each(|(to, w)| *to += error * w);
            }
            sum += count * moved.iter().map(|&m| f64::from(m) * f64::from(m)).sum::<f64>();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_product() {
        let mut rows = Rows::new(2, 1);
        rows.add(0, &[1.0, -3.0]);
        // Cut at 2: the vector becomes [1, -2] but for rounding, the product moves by 1 times the second row.
        let weight = Matrix::new(vec![5.0, 7.0, 2.0, -1.0], &[2, 2], 1);
        let all = rows.weighted().map(|(_, count)| count).sum::<f64>();
        let found = output_error(&rows, &[weight], 2.0);
        assert!((found / all - 5.0).abs() < 0.2, "{found}");
        let transposed = Matrix::new(vec![5.0, 2.0, 7.0, -1.0], &[2, 2], 0);
        assert_eq!(output_error(&rows, &[transposed], 2.0), found);
    }
}
