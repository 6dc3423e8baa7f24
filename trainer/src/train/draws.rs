use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Random numbers in 0..1 for the samples at these positions of a batch, named by their place among them.
///
/// Every position has a sequence of its own, so that neither micro-batches nor the number of processes change what a sample draws.
pub(super) fn draws(seed: u64, positions: Range<usize>) -> impl FnMut(usize) -> f64 {
    // `seed_from_u64` hashes: neighbouring positions have nothing in common.
    let generator = |position| Pcg64Mcg::seed_from_u64(seed.wrapping_add(position as u64));
    let mut generators: Vec<Pcg64Mcg> = positions.map(generator).collect();
    move |sample| generators[sample].random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_draws_the_same_in_any_micro_batch() {
        let (mut whole, mut part) = (draws(3, 0..8), draws(3, 5..8));
        let rounds: Vec<[f64; 8]> = (0..4).map(|_| std::array::from_fn(&mut whole)).collect();
        for round in &rounds {
            assert_eq!([part(0), part(1), part(2)], round[5..]);
        }
        let mean = rounds.iter().flatten().sum::<f64>() / 32.0;
        assert!((0.3..0.7).contains(&mean), "{mean}");
    }
}
