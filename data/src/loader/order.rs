//! Which image stands where, and its random numbers.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

/// Random numbers of one place in training: they depend on nothing else.
pub(super) fn rng(seed: u64, epoch: usize, position: usize) -> Pcg64Mcg {
    // Three rounds of SplitMix64, so that neighbouring seeds, epochs and positions have nothing in common.
    let mix = |state: u64, word: u64| {
        let mut z = (state ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    Pcg64Mcg::seed_from_u64(mix(mix(mix(0, seed), epoch as u64), position as u64))
}

/// Image numbers of an epoch, shuffled.
pub(super) fn shuffled(images: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut rng(seed, epoch, usize::MAX));
    order
}
