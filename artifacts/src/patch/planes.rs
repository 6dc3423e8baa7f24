//! Differences of numbers, a chunk at a time: new less old, small ones of either sign as small positive ones (0, -1, 1, -2, ...), then the lowest bytes of
//! all numbers, the next bytes of all, and so on, because bytes of one place resemble each other.

/// Numbers in a chunk: each of its planes fills a block of zstd.
pub(super) const CHUNK: usize = 128 << 10;

/// Differences of two slices of equal length, a multiple of `width` (1, 2 or 4), appended to `out`.
pub(super) fn subtract(new: &[u8], old: &[u8], width: usize, out: &mut Vec<u8>) {
    let (start, count) = (out.len(), new.len() / width);
    out.resize(start + count * width, 0);
    let bits = 8 * width as u32;
    for (i, (new, old)) in new.chunks_exact(width).zip(old.chunks_exact(width)).enumerate() {
        // Moved to the upper end of 32 bits, so that the sign is that of an i32.
        let difference = (number(new).wrapping_sub(number(old)) << (32 - bits)) as i32 >> (32 - bits);
        let folded = ((difference << 1) ^ (difference >> 31)) as u32;
        (0..width).for_each(|plane| out[start + plane * count + i] = (folded >> (8 * plane)) as u8);
    }
}

/// The new numbers in place of the old ones.
pub(super) fn add(old: &mut [u8], differences: &[u8], width: usize) {
    let count = old.len() / width;
    for (i, old) in old.chunks_exact_mut(width).enumerate() {
        let folded = (0..width).fold(0u32, |value, plane| value | u32::from(differences[plane * count + i]) << (8 * plane));
        let difference = (folded >> 1) ^ (folded & 1).wrapping_neg();
        let new = number(old).wrapping_add(difference).to_le_bytes();
        old.copy_from_slice(&new[..width]);
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_differences_of_either_sign_are_small_and_in_planes() {
        let numbers = |values: [i16; 3]| values.map(i16::to_le_bytes).concat();
        let mut out = vec![9];
        subtract(&numbers([5, -7, 300]), &numbers([6, -7, 0]), 2, &mut out);
        assert_eq!(out, [9, 1, 0, 88, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn what_was_subtracted_comes_back(pairs in prop::collection::vec((any::<[u8; 4]>(), any::<[u8; 4]>()), 0..50)) {
            let (new, mut old): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let (new, old) = (new.as_flattened(), old.as_flattened_mut());
            for width in [1, 2, 4] {
                let mut differences = Vec::new();
                subtract(new, old, width, &mut differences);
                let mut found = old.to_vec();
                add(&mut found, &differences, width);
                prop_assert_eq!(&found, new);
            }
        }
    }
}
