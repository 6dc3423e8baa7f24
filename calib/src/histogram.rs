//! Histograms of absolute values that grow by doubling: merging them in any order gives the same result.

use amis_artifacts::files;

/// Bins of a histogram. The upper half is never empty, so at least half of them resolve the values up to the largest.
pub const BINS: usize = 4096;
/// Values below `2^MIN_EXPONENT` count as 0: a scale made of them would be no number to a GPU.
pub const MIN_EXPONENT: i32 = -64;

/// How often absolute values fall into each of [`BINS`] equal bins from 0 to a power of two, the smallest that exceeds them all.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The bins cover 0 to `2^exponent`.
    exponent: i32,
    bins: Vec<u64>,
    /// Smallest and largest value, with sign.
    min: f32,
    max: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { exponent: MIN_EXPONENT, bins: vec![0; BINS], min: f32::INFINITY, max: f32::NEG_INFINITY }
    }
}

/// The first value that is infinite or not a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NotFinite(pub f32);

impl Histogram {
    /// Adds values.
    ///
    /// # Errors
    /// One is infinite or not a number; nothing is added then.
    pub fn add(&mut self, values: &[f32]) -> Result<(), NotFinite> {
        self.merge(&Self::of(values)?);
        Ok(())
    }

    /// Of these values alone, in the finest bins that hold them.
    fn of(values: &[f32]) -> Result<Self, NotFinite> {
        let mut histogram = Self::default();
        let Some((min, max)) = extremes(values) else { return Ok(histogram) };
        if !(min.is_finite() && max.is_finite()) {
            return Err(NotFinite(values.iter().copied().find(|v| !v.is_finite()).unwrap_or(f32::NAN)));
        }
        histogram.grow((max.max(-min).to_bits() >> 23) as i32 - 126);
        (histogram.min, histogram.max) = (min, max);
        // A power of two: the product is exact, so a value falls into the same bin whatever the range was when it came.
        let per_unit = ((BINS as f64) * f64::from(-histogram.exponent).exp2()) as f32;
        for part in values.chunks(u32::MAX as usize) {
            // Small counters stay in the nearest cache; with two of them neighbours of one value need not wait for each other.
            let mut counts = [[0u32; BINS]; 2];
            for piece in part.chunks(256) {
                let mut places = [0i32; 256];
                places.iter_mut().zip(piece).for_each(|(place, v)| *place = (v.abs() * per_unit) as i32);
                for (index, &place) in places[..piece.len()].iter().enumerate() {
                    counts[index % 2][place as usize & (BINS - 1)] += 1;
                }
            }
            let [even, odd] = counts;
            histogram.bins.iter_mut().zip(even).zip(odd).for_each(|((bin, even), odd)| *bin += u64::from(even) + u64::from(odd));
        }
        Ok(histogram)
    }

    /// Adds all that another histogram has seen.
    fn merge(&mut self, other: &Self) {
        self.grow(other.exponent);
        let shift = self.exponent - other.exponent;
        other.bins.iter().enumerate().for_each(|(place, count)| self.bins[shifted(place, shift)] += count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Doubles the range until it is `2^exponent`, if it is not already larger.
    fn grow(&mut self, exponent: i32) {
        let shift = exponent - self.exponent;
        if shift <= 0 {
            return;
        }
        for place in 1..BINS {
            let count = std::mem::take(&mut self.bins[place]);
            self.bins[shifted(place, shift)] += count;
        }
        self.exponent = exponent;
    }

    /// Values seen.
    pub fn count(&self) -> u64 {
        self.bins.iter().sum()
    }

    /// The largest absolute value; 0 if there is none, or none that counts (see [`MIN_EXPONENT`]).
    pub fn amax(&self) -> f32 {
        let amax = self.max.max(-self.min);
        if f64::from(amax) < f64::from(MIN_EXPONENT).exp2() { 0.0 } else { amax }
    }

    /// Bins from 0 to the one of the largest value.
    pub fn bins(&self) -> &[u64] {
        let used = BINS - self.bins.iter().rev().take_while(|&&count| count == 0).count();
        &self.bins[..used]
    }

    /// Width of a bin.
    pub fn width(&self) -> f64 {
        f64::from(self.exponent).exp2() / BINS as f64
    }

    /// SHA-256 over range, extremes and counts.
    pub fn sha256(&self) -> String {
        let head = [self.exponent.to_le_bytes(), self.min.to_le_bytes(), self.max.to_le_bytes()].concat();
        files::sha256(&[head, self.bins.iter().flat_map(|c| c.to_le_bytes()).collect()].concat())
    }
}

/// Smallest and largest value, none of nothing; a value that is not finite is one of them.
fn extremes(values: &[f32]) -> Option<(f32, f32)> {
    // As integers in the order of the values, a number that is none beyond infinity: minima of integers take a fraction of the time.
    let ordered = |bits: i32| bits ^ ((bits >> 31) as u32 >> 1) as i32;
    let (mut min, mut max) = (i32::MAX, i32::MIN);
    for value in values {
        let key = ordered(value.to_bits() as i32);
        min = min.min(key);
        max = max.max(key);
    }
    // Added to 0, so that -0 is no other value.
    let value = |key: i32| f32::from_bits(ordered(key) as u32) + 0.0;
    (!values.is_empty()).then(|| (value(min), value(max)))
}

/// Where a bin's values go when the range doubles `shift` times.
fn shifted(place: usize, shift: i32) -> usize {
    place.checked_shr(shift as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f32]) -> Histogram {
        Histogram::of(values).unwrap()
    }

    #[test]
    fn values_fall_into_the_bins_they_belong_to() {
        let histogram = of(&[0.0, -0.99, 0.5, 1.0, -1.5]);
        assert_eq!((histogram.width(), histogram.amax(), histogram.count()), (2.0 / 4096.0, 1.5, 5));
        assert_eq!(histogram.bins().len(), 3073);
        assert_eq!([0, 1024, 2027, 2048, 3072].map(|place| histogram.bins()[place]), [1; 5]);
    }

    #[test]
    fn what_is_not_finite_is_named_and_changes_nothing() {
        let mut histogram = of(&[1.0]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
            assert_eq!(histogram.add(&[3.0, bad]).unwrap_err().0.to_bits(), bad.to_bits());
        }
        assert_eq!(histogram, of(&[1.0]));
    }

    #[test]
    fn the_ends_of_the_number_range_are_safe() {
        let histogram = of(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45]);
        assert_eq!((histogram.amax(), histogram.count(), histogram.bins().len()), (f32::MAX, 4, BINS));
        let tiny = of(&[1e-30, -1e-45]);
        assert_eq!((tiny.amax(), tiny.count()), (0.0, 2));
        assert_eq!((of(&[]).amax(), of(&[]).count(), of(&[]).bins().len()), (0.0, 0, 0));
    }

    #[test]
    fn the_sign_of_zero_is_no_difference() {
        assert_eq!(of(&[0.0, -0.0]).sha256(), of(&[-0.0, -0.0]).sha256());
        // Zeros alone leave the finest bins: a sign among the bits of their largest value would make them the coarsest.
        for zeros in [[0.0, 0.0], [-0.0, -0.0], [0.0, -0.0]] {
            assert_eq!(of(&zeros).width(), Histogram::default().width(), "{zeros:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_merged_in_any_order_are_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 0..40), 1..6),
            order in any::<prop::sample::Index>(),
        ) {
            let whole = of(&parts.concat());
            let mut merged = Histogram::default();
            let first = order.index(parts.len());
            for part in parts[first..].iter().chain(&parts[..first]).rev() {
                merged.merge(&of(part));
            }
            prop_assert_eq!(&merged, &whole);
            let mut streamed = Histogram::default();
            parts.iter().for_each(|part| streamed.add(part).unwrap());
            prop_assert_eq!(streamed.sha256(), whole.sha256());
        }
    }
}
