//! A few of the vectors that a Linear multiplies, kept to compare ranges by the error of its output.

use std::borrow::Cow;

use amis_artifacts::onnx::LinearOp;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Vectors kept at random by tensor, over all images.
const SAMPLED: usize = 128;
/// Vectors with the largest values, kept beside them: outliers are rare, and a sample that misses them would call cutting them free.
const LARGEST: usize = 16;

/// Vectors of a tensor, a sample of all and the largest.
pub(crate) struct Rows {
    /// Values of a vector.
    len: usize,
    /// Vectors taken from an image, and from every how many-th image.
    per_image: usize,
    every: usize,
    seen: u64,
    sampled: Vec<f32>,
    /// By largest absolute value, falling.
    largest: Vec<(f32, Vec<f32>)>,
}

impl Rows {
    /// For vectors of `len` values from `images` images.
    pub(crate) fn new(len: usize, images: usize) -> Self {
        let per_image = (SAMPLED / images.max(1)).max(1);
        Self { len, per_image, every: images.div_ceil(SAMPLED).max(1), seen: 0, sampled: Vec::new(), largest: Vec::new() }
    }

    /// Takes from the vectors of image `index`; the same for the same index.
    pub(crate) fn add(&mut self, index: usize, vectors: &[f32]) {
        let count = vectors.len() / self.len;
        self.seen += count as u64;
        if index.is_multiple_of(self.every) {
            let mut rng = Pcg64::seed_from_u64(index as u64);
            for _ in 0..self.per_image.min(count) {
                let from = rng.random_range(0..count) * self.len;
                self.sampled.extend_from_slice(&vectors[from..from + self.len]);
            }
        }
        for vector in vectors.chunks_exact(self.len) {
            let amax = vector.iter().fold(0f32, |most, v| most.max(v.abs()));
            if self.largest.len() < LARGEST || self.largest.last().is_some_and(|l| amax > l.0) {
                let place = self.largest.partition_point(|l| l.0 >= amax);
                self.largest.insert(place, (amax, vector.to_vec()));
                self.largest.truncate(LARGEST);
            }
        }
    }

    /// The vectors, each with the number of all that it stands for.
    pub(crate) fn weighted(&self) -> impl Iterator<Item = (&[f32], f64)> {
        let sampled = self.sampled.chunks_exact(self.len);
        let each = (self.seen as f64 - self.largest.len() as f64).max(0.0) / sampled.len().max(1) as f64;
        let largest = self.largest.iter().map(|(_, vector)| (&vector[..], 1.0));
        largest.chain(sampled.map(move |vector| (vector, each)))
    }
}

/// The vectors that a Linear multiplies in its input: for a product its last dimension, for a patch embedding the patches, in the weight's order.
/// None where the sizes do not fit.
pub(crate) fn vectors<'a>(op: LinearOp, weight_dims: &[i64], shape: &[usize], values: &'a [f32]) -> Option<Cow<'a, [f32]>> {
    match (op, shape, weight_dims) {
        (LinearOp::PatchConv, &[1, channels, height, width], &[_, c, ph, pw]) if channels as i64 == c && ph > 0 && pw > 0 => {
            let (ph, pw) = (ph as usize, pw as usize);
            let mut patches = Vec::with_capacity(values.len());
            for (y, x) in (0..height / ph).flat_map(|y| (0..width / pw).map(move |x| (y, x))) {
                for line in (0..channels).flat_map(|c| (0..ph).map(move |row| (c * height + y * ph + row) * width + x * pw)) {
                    patches.extend_from_slice(&values[line..line + pw]);
                }
            }
            Some(Cow::Owned(patches))
        }
        (LinearOp::PatchConv, ..) => None,
        _ => Some(Cow::Borrowed(values)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_largest_vector_is_kept_and_the_weights_add_up_to_all() {
        let mut rows = Rows::new(2, 300);
        for image in 0..300 {
            let mut values = vec![0.1; 200];
            values[7] = if image == 123 { -9.0 } else { 0.2 };
            rows.add(image, &values);
        }
        let all: Vec<_> = rows.weighted().collect();
        assert_eq!(all[0], (&[0.1, -9.0][..], 1.0));
        assert!((all.iter().map(|(_, weight)| weight).sum::<f64>() - 30_000.0).abs() < 1e-6);
        assert!(all.len() <= SAMPLED + LARGEST);
    }

    #[test]
    fn patches_come_in_the_order_of_the_weight() {
        let image: Vec<f32> = (0..2 * 2 * 4).map(|v| v as f32).collect();
        let patches = vectors(LinearOp::PatchConv, &[5, 2, 2, 2], &[1, 2, 2, 4], &image).unwrap();
        assert_eq!(patches[..8], [0.0, 1.0, 4.0, 5.0, 8.0, 9.0, 12.0, 13.0]);
        assert_eq!(patches[8..10], [2.0, 3.0]);
    }
}
