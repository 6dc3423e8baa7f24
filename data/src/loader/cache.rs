//! Decoded images with their training labels, kept as long as there is room.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::Result;
use crate::images::RgbImage;
use crate::labels::LabelMap;

pub(super) type Pair = Arc<(RgbImage, LabelMap)>;

#[derive(Debug)]
pub(super) struct Cache {
    slots: Vec<OnceLock<Pair>>,
    used_bytes: AtomicUsize,
    limit_bytes: usize,
}

impl Cache {
    pub(super) fn new(images: usize, limit_bytes: usize) -> Self {
        Self { slots: (0..images).map(|_| OnceLock::new()).collect(), used_bytes: AtomicUsize::new(0), limit_bytes }
    }

    /// The image of this number; `read` is called where it is not kept.
    pub(super) fn get(&self, number: usize, read: impl FnOnce() -> Result<(RgbImage, LabelMap)>) -> Result<Pair> {
        if let Some(pair) = self.slots[number].get() {
            return Ok(Arc::clone(pair));
        }
        let pair = Arc::new(read()?);
        let bytes = pair.0.rgb.len() + pair.1.values.len();
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit_bytes);
        if self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok() && self.slots[number].set(Arc::clone(&pair)).is_err() {
            // Another worker has put the same image there meanwhile.
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn images_are_read_once_as_long_as_they_fit() {
        let cache = Cache::new(3, 9);
        let reads = AtomicUsize::new(0);
        let read = || {
            reads.fetch_add(1, Ordering::Relaxed);
            Ok((RgbImage { width_px: 1, height_px: 1, rgb: vec![0; 3] }, LabelMap { width_px: 1, height_px: 1, values: vec![0] }))
        };
        for number in [0, 1, 2, 0, 1, 2] {
            cache.get(number, read).unwrap();
        }
        assert_eq!(reads.into_inner(), 4, "two of the three fit");
    }
}
