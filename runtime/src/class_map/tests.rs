#![allow(clippy::unwrap_used)]
use amis_artifacts::image_spec::Fit;
use proptest::prelude::*;

use super::*;

/// torch 2.11.0: `x = arange(12).reshape(1, 2, 2, 3); x = (x * 7) % 5 - 1.5 * (x % 3)`.
const TORCH_IN: [f32; 12] = [0.0, 0.5, 1.0, 1.0, 1.5, -3.0, 2.0, 2.5, -2.0, 3.0, -1.5, -1.0];
/// torch 2.11.0, rounded to six places: `interpolate(x, size=(3, 5), mode="bilinear", align_corners=False)`.
const TORCH_OUT: [f32; 30] = [
    0.0, 0.2, 0.5, 0.8, 1.0, 0.5, 0.7, 1.0, -0.2, -1.0, 1.0, 1.2, 1.5, -1.200001, -3.0, 2.0, 2.2, 2.5, -0.200001, -2.0, 2.5, 1.7, 0.5, -0.7, -1.5, 3.0, 1.2,
    -1.5, -1.2, -1.0,
];

/// Value at a continuous source position, in float64, from the definition.
fn oracle(plane: &[f32], h: usize, w: usize, y: f64, x: f64) -> f64 {
    let split = |at: f64, len: usize| {
        let at = (at - 0.5).max(0.0);
        let low = (at.floor() as usize).min(len - 1);
        (low, (low + 1).min(len - 1), at - low as f64)
    };
    let ((y0, y1, v), (x0, x1, u)) = (split(y, h), split(x, w));
    let at = |y: usize, x: usize| f64::from(plane[y * w + x]);
    (1.0 - v) * ((1.0 - u) * at(y0, x0) + u * at(y0, x1)) + v * ((1.0 - u) * at(y1, x0) + u * at(y1, x1))
}

/// Pseudo-random logits without ties, the same on every run.
fn logits(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 1_048_576.0 - 8.0
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn interpolation_is_that_of_torch() {
    let out = upsample(&TORCH_IN, [2, 2, 3], 5, 3).unwrap();
    for (found, expected) in out.iter().zip(TORCH_OUT) {
        assert!((found - expected).abs() < 1e-6, "{out:?}");
    }
    let map = class_map(&TORCH_IN, [2, 2, 3], 5, 3).unwrap();
    for (pixel, class) in map.into_iter().enumerate() {
        let lead = TORCH_OUT[15 + pixel] - TORCH_OUT[pixel];
        // Pixel 13 is a tie in exact arithmetic.
        assert!(pixel == 13 || class == u8::from(lead > 0.0), "pixel {pixel}");
    }
}

#[test]
fn the_same_size_is_a_plain_argmax() {
    assert_eq!(class_map(&[1.0, 5.0, 2.0, 4.0, 1.0, 5.0], [3, 1, 2], 2, 1).unwrap(), [1, 0]);
    // Of equal values the lower id wins.
    assert_eq!(class_map(&[3.0, 3.0], [2, 1, 1], 2, 2).unwrap(), [0; 4]);
}

#[test]
fn a_class_that_wins_at_no_corner_can_win_between_them() {
    // Class 2 is second at both corners and largest half-way.
    let map = class_map(&[10.0, 0.0, 0.0, 10.0, 8.0, 8.0], [3, 1, 2], 6, 1).unwrap();
    assert_eq!(map, [0, 0, 2, 2, 1, 1]);
}

#[test]
fn a_letterbox_is_mapped_without_its_borders() {
    // A wide frame in a square input: the upper and lower quarter are borders, which the network calls class 2.
    let spec = ImageSpec::imagenet(64, 64, Fit::Letterbox);
    let mut low = vec![0.0f32; 3 * 8 * 8];
    for y in 0..8 {
        for x in 0..8 {
            let class = if (2..6).contains(&y) { usize::from(x >= 4) } else { 2 };
            low[class * 64 + y * 8 + x] = 1.0;
        }
    }
    let map = class_map_for_frame(&low, [3, 8, 8], &spec, 128, 64).unwrap();
    assert_eq!(map[32 * 128..][..128], [[0; 64], [1; 64]].concat());
}

#[test]
fn what_a_crop_cut_off_is_unknown() {
    let spec = ImageSpec::imagenet(64, 64, Fit::Crop);
    let map = class_map_for_frame(&[1.0; 64], [1, 8, 8], &spec, 128, 64).unwrap();
    assert_eq!(map[..128], [[IGNORE; 32].as_slice(), &[0; 64], &[IGNORE; 32]].concat());
    assert!(map.chunks(128).all(|row| row == &map[..128]));
}

#[test]
fn output_that_is_not_a_number_is_an_error_and_not_background() {
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(matches!(class_map(&[0.0, bad], [1, 1, 2], 4, 4), Err(Error::Logits { .. })));
    }
    assert!(class_map(&[0.0; 3], [1, 1, 2], 4, 4).is_err());
    assert!(class_map(&[], [0, 1, 2], 4, 4).is_err());
    assert!(class_map(&[0.0; 2], [1, 1, 2], 0, 4).is_err());
    assert!(upsample(&[0.0; 2], [1, 1, 2], 4, 0).is_err());
}

proptest! {
    #[test]
    fn any_size_agrees_with_the_oracle(c in 1usize..6, h in 1usize..7, w in 1usize..7, th in 1u32..40, tw in 1u32..40, seed: u64) {
        let low = logits(c * h * w, seed);
        let full = upsample(&low, [c, h, w], tw, th).unwrap();
        let map = class_map(&low, [c, h, w], tw, th).unwrap();
        let plane = (th * tw) as usize;
        for y in 0..th {
            for x in 0..tw {
                let at = (y * tw + x) as usize;
                let position = |p: u32, from: usize, to: u32| (f64::from(p) + 0.5) * from as f64 / f64::from(to);
                let values: Vec<f64> = low.chunks(h * w).map(|p| oracle(p, h, w, position(y, h, th), position(x, w, tw))).collect();
                for (class, value) in values.iter().enumerate() {
                    prop_assert!((f64::from(full[class * plane + at]) - value).abs() < 1e-4);
                }
                let max = values.iter().copied().fold(f64::MIN, f64::max);
                prop_assert!(max - values[usize::from(map[at])] < 1e-4, "class {} at {x},{y} of {values:?}", map[at]);
            }
        }
    }

    #[test]
    fn any_placement_agrees_with_the_oracle(fit in 0usize..3, fw in 1u32..90, fh in 1u32..90, seed: u64) {
        let fit = [Fit::Stretch, Fit::Letterbox, Fit::Crop][fit];
        let spec = ImageSpec::imagenet(32, 48, fit);
        let (c, h, w) = (3, 4, 6);
        let low = logits(c * h * w, seed);
        let map = class_map_for_frame(&low, [c, h, w], &spec, fw, fh).unwrap();
        let place = spec.place(fw, fh).unwrap();
        for y in 0..fh {
            for x in 0..fw {
                let iy = (f64::from(y) + 0.5) * f64::from(place.scaled_height_px) / f64::from(fh) + f64::from(place.top_px);
                let ix = (f64::from(x) + 0.5) * f64::from(place.scaled_width_px) / f64::from(fw) + f64::from(place.left_px);
                let found = map[(y * fw + x) as usize];
                if !(0.0..32.0).contains(&iy) || !(0.0..48.0).contains(&ix) {
                    prop_assert_eq!(found, IGNORE);
                    prop_assert_eq!(fit, Fit::Crop);
                    continue;
                }
                let values: Vec<f64> = low.chunks(h * w).map(|p| oracle(p, h, w, iy / 8.0, ix / 8.0)).collect();
                let max = values.iter().copied().fold(f64::MIN, f64::max);
                prop_assert!(max - values[usize::from(found)] < 1e-4);
            }
        }
    }
}
