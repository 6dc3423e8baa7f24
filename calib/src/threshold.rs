//! Where to cut a histogram of absolute values so that 8 bits serve it best: pure functions of its bins.
//!
//! `bins` count values from 0 in steps of `width`; the last one is that of the largest value. The methods are those of the public reference
//! calibrators and reach their thresholds bin by bin (`tests/golden.rs`).

/// Steps of symmetric int8 on one side of 0.
const LEVELS: usize = 128;
/// Largest quantized value.
const MAX_QUANTIZED: f32 = 127.0;

/// The lower edge of the bin in which `percent` of all values are reached, at least one bin.
pub fn percentile(bins: &[u64], width: f64, percent: f64) -> f64 {
    // Where the share is met exactly, rounding must not ask for one value more.
    let wanted = bins.iter().sum::<u64>() as f64 * (percent / 100.0) * (1.0 - 1e-12);
    let mut seen = 0u64;
    let reached = bins.iter().position(|count| {
        seen += count;
        seen as f64 >= wanted
    });
    reached.unwrap_or(bins.len()).max(1) as f64 * width
}

/// The cut at which the histogram, cut and quantized to 128 levels, diverges least from the histogram with the cut values in its last bin.
///
/// Zero is exact in any quantization, so the first bin counts as the second. Each candidate takes the time of 128 levels, not that of its bins:
/// the sums over a level come from running sums.
pub fn entropy(bins: &[u64], width: f64) -> f64 {
    if bins.len() <= LEVELS {
        return bins.len() as f64 * width;
    }
    let count = |place: usize| if place == 0 { bins[1] } else { bins[place] } as f64;
    // Running sums over the bins before a place: values, bins that are not empty, and c ln c.
    let (mut values, mut filled, mut plogp) = (vec![0.0], vec![0.0], vec![0.0]);
    for place in 0..bins.len() {
        let c = count(place);
        values.push(values[place] + c);
        filled.push(filled[place] + if c > 0.0 { 1.0 } else { 0.0 });
        plogp.push(plogp[place] + x_ln_x(c));
    }
    let total = values[bins.len()];
    let divergence = |end: usize| -> f64 {
        let (last, kept) = (count(end - 1), values[end]);
        let cut = total - kept;
        if last == 0.0 && cut > 0.0 || kept == 0.0 {
            return f64::INFINITY;
        }
        // Sum of p ln p, where the last bin has the cut values too, minus the sum of p ln q, where q is a level's mean over its filled bins.
        let mut cross = 0.0;
        let mut from = 0;
        for level in 1..=LEVELS {
            let to = (level * end).div_ceil(LEVELS);
            let (sum, places) = (values[to] - values[from], filled[to] - filled[from]);
            if sum > 0.0 {
                let extra = if level == LEVELS { cut } else { 0.0 };
                cross += (sum + extra) * (sum / places).ln();
            }
            from = to;
        }
        (plogp[end] - x_ln_x(last) + x_ln_x(last + cut) - cross) / total - total.ln() + kept.ln()
    };
    let candidates = (LEVELS..=bins.len()).map(|end| (end, divergence(end)));
    // Of equal ones the last: the widest range.
    let best = candidates.reduce(|best, next| if next.1 <= best.1 { next } else { best });
    best.map_or(bins.len(), |(end, _)| end) as f64 * width
}

fn x_ln_x(x: f64) -> f64 {
    if x > 0.0 { x * x.ln() } else { 0.0 }
}

/// The centre of a bin that, as the largest value, gives the least squared error over the histogram.
pub fn mse(bins: &[u64], width: f64) -> f64 {
    let filled: Vec<(f32, f32)> = bins.iter().enumerate().filter(|(_, c)| **c > 0).map(|(place, &c)| (place as f32 + 0.5, c as f32)).collect();
    let (centres, counts): (Vec<f32>, Vec<f32>) = filled.into_iter().unzip();
    let start = LEVELS.min(bins.len().saturating_sub(1));
    let candidates = (start..bins.len()).map(|place| place as f64 + 0.5).map(|amax| (amax, squared_error(&centres, &counts, amax as f32)));
    let best = candidates.reduce(|best, next| if next.1 < best.1 { next } else { best });
    best.map_or(bins.len() as f64, |(amax, _)| amax) * width
}

/// Sum of the squared errors of values when `amax` is the largest that is kept.
fn squared_error(values: &[f32], counts: &[f32], amax: f32) -> f64 {
    let (scale, step) = (MAX_QUANTIZED / amax, amax / MAX_QUANTIZED);
    let part = |(values, counts): (&[f32], &[f32])| {
        let errors = values.iter().zip(counts).map(|(&value, count)| {
            let error = round((value * scale).min(MAX_QUANTIZED)) * step - value;
            error * error * count
        });
        // Eight sums at once, so that the compiler uses vector registers.
        let mut sums = [0f32; 8];
        errors.enumerate().for_each(|(place, error)| sums[place % 8] += error);
        f64::from(sums.iter().sum::<f32>())
    };
    values.chunks(256).zip(counts.chunks(256)).map(part).sum()
}

/// Nearest integer of a value from 0 to 2^22, ties to even: the addition pushes the fraction out. Much faster than a call where the processor's
/// own instruction may not be used.
pub(crate) fn round(value: f32) -> f32 {
    const PUSH: f32 = 8_388_608.0;
    (value + PUSH) - PUSH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_even() {
        for (value, expected) in [(0.0, 0.0), (0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (126.49, 126.0), (126.51, 127.0)] {
            assert_eq!(round(value), expected, "{value}");
        }
    }

    #[test]
    fn few_or_lonely_bins_give_a_range_over_0() {
        for bins in [vec![5], vec![0, 1], vec![9; 100], [vec![0; 2999], vec![7]].concat(), [vec![1_000_000], vec![0; 3000], vec![1]].concat()] {
            let edge = bins.len() as f64;
            for found in [entropy(&bins, 1.0), mse(&bins, 1.0), percentile(&bins, 1.0, 99.9), percentile(&bins, 1.0, 100.0)] {
                assert!(found > 0.0 && found <= edge, "{found} of {edge}");
            }
        }
    }
}
