//! Randomness without state: every property of the world is a hash of where it stands.

/// Mixes two words into 32 well spread bits (the finalizer of MurmurHash3 on their combination).
pub(super) fn hash(a: u32, b: u32) -> u32 {
    let mut h = a.wrapping_mul(0x9E37_79B1) ^ b.wrapping_add(0x7F4A_7C15).rotate_left(13);
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// Numbered properties of one thing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice(pub(super) u32);

impl Dice {
    /// Another thing's dice, derived from these.
    pub(super) fn child(self, number: u32) -> Self {
        Self(hash(self.0, number))
    }

    /// Property `number` in 0..1.
    pub(super) fn unit(self, number: u32) -> f32 {
        (hash(self.0, number) >> 8) as f32 / (1 << 24) as f32
    }

    /// Property `number` in `low..high`.
    pub(super) fn range(self, number: u32, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit(number)
    }

    /// One of `items` by property `number`.
    pub(super) fn pick<T: Copy, const N: usize>(self, number: u32, items: &[T; N]) -> T {
        items[hash(self.0, number) as usize % N]
    }
}

/// Number of the cell of side 1 that a coordinate lies in, for coordinates above -4096.
///
/// A cast instead of `floor`, which without SSE 4.1 is a call and the slowest part of a texture.
pub(super) fn cell(at: f32) -> u32 {
    (at + 4096.0) as u32
}

/// Position within that cell, 0..1.
pub(super) fn within(at: f32) -> f32 {
    let shifted = at + 4096.0;
    shifted - shifted as u32 as f32
}

/// A hash as a number in -1..1.
pub(super) fn signed(hash: u32) -> f32 {
    (hash & 255) as f32 / 127.5 - 1.0
}
