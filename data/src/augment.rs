//! The training transform: random scale, random crop, random flip, of an image and its labels together.

use amis_artifacts::classes::{BACKGROUND, IGNORE};
use amis_artifacts::image_spec::{Filter, ImageSpec};
use amis_artifacts::resize::{Resizer, Window};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::images::RgbImage;
use crate::labels::LabelMap;

/// What is drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Range of the scale; at 1 the image just covers the crop.
    pub scale: [f32; 2],
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// How far brightness, contrast and saturation may be off, as a share: 0.4 gives factors from 0.6 to 1.4; 0 leaves colours alone, as in the published recipe.
    pub color: f32,
    /// Label outside the image, where a small scale leaves room: 255, or 0 as in the reference code.
    pub pad_label: u8,
}

impl Default for Augment {
    /// The published recipe, except for `pad_label`: what nobody has labelled is no background.
    fn default() -> Self {
        Self { scale: [0.5, 2.0], flip: true, color: 0.0, pad_label: IGNORE }
    }
}

impl Augment {
    /// # Errors
    /// The scale's range is empty or outside 0.1..=10.
    pub fn validate(&self) -> Result<()> {
        let [low, high] = self.scale;
        if !(0.1..=10.0).contains(&low) || !(low..=10.0).contains(&high) {
            let reason = format!("scale is [{low}, {high}], expected two rising numbers between 0.1 and 10");
            return Err(amis_artifacts::Error::Spec { what: "augmentation", reason }.into());
        }
        if !(0.0..=1.0).contains(&self.color) {
            let reason = format!("color is {}, expected a number from 0 to 1", self.color);
            return Err(amis_artifacts::Error::Spec { what: "augmentation", reason }.into());
        }
        if ![BACKGROUND, IGNORE].contains(&self.pad_label) {
            let reason = format!("pad_label is {}, expected {IGNORE} (ignored) or {BACKGROUND} (background)", self.pad_label);
            return Err(amis_artifacts::Error::Spec { what: "augmentation", reason }.into());
        }
        Ok(())
    }
}

/// Where an image lies along one axis of the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    /// First pixel of the crop that shows the image.
    to: usize,
    /// Number of pixels that do.
    len: usize,
    /// Part of the image that they show.
    from: f64,
    span: f64,
}

impl Axis {
    /// `source` pixels scaled to `scaled`, the crop of `crop` pixels laid at random inside it, or it inside the crop.
    fn draw(source: u32, scaled: u32, crop: u32, rng: &mut impl Rng) -> Self {
        let place = |room: u32, rng: &mut _| RngExt::random_range(rng, 0..=room);
        let px = f64::from(source) / f64::from(scaled);
        if scaled >= crop {
            Self { to: 0, len: crop as usize, from: f64::from(place(scaled - crop, rng)) * px, span: f64::from(crop) * px }
        } else {
            Self { to: place(crop - scaled, rng) as usize, len: scaled as usize, from: 0.0, span: f64::from(source) }
        }
    }

    /// Nearest source pixel of position `at` in the shown part.
    fn nearest(&self, at: usize, source: u32) -> usize {
        let index = self.from + (at as f64 + 0.5) * self.span / self.len as f64;
        (index as usize).min(source as usize - 1)
    }
}

/// Applies an [`Augment`]; keeps its buffers.
pub(crate) struct Augmenter {
    augment: Augment,
    width_px: u32,
    height_px: u32,
    mean: [u8; 3],
    resizer: Resizer,
    part: Vec<u8>,
    columns: Vec<usize>,
}

impl Augmenter {
    pub(crate) fn new(augment: Augment, spec: &ImageSpec) -> Self {
        let mean = spec.mean.map(|m| (m * 255.0).round() as u8);
        let (width_px, height_px) = (spec.width_px, spec.height_px);
        Self { augment, width_px, height_px, mean, resizer: Resizer::default(), part: Vec::new(), columns: Vec::new() }
    }

    /// Draws one crop: RGB `height_px * width_px * 3` bytes into `rgb`, and writes its labels, `height_px * width_px` bytes.
    ///
    /// Only the part of the image that the crop shows is resized. Around a small image lies the mean colour, which becomes 0 in the network's input.
    pub(crate) fn run(&mut self, image: &RgbImage, labels: &LabelMap, rng: &mut impl Rng, rgb: &mut Vec<u8>, out: &mut [u8]) -> Result<()> {
        let (cw, ch) = (self.width_px, self.height_px);
        let (w, h) = (image.width_px, image.height_px);
        let [low, high] = self.augment.scale;
        let cover = (f64::from(cw) / f64::from(w)).max(f64::from(ch) / f64::from(h));
        let scale = cover * f64::from(rng.random_range(low..=high));
        let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
        let x = Axis::draw(w, scaled(w), cw, rng);
        let y = Axis::draw(h, scaled(h), ch, rng);
        let mirror = self.augment.flip && rng.random_bool(0.5);

        let row_px = cw as usize;
        rgb.resize(row_px * ch as usize * 3, 0);
        if (x.len, y.len) == (row_px, ch as usize) {
            self.resize(image, x, y, rgb)?;
        } else {
            rgb.as_chunks_mut::<3>().0.fill(self.mean);
            out.fill(self.augment.pad_label);
            let mut part = std::mem::take(&mut self.part);
            part.resize(x.len * y.len * 3, 0);
            self.resize(image, x, y, &mut part)?;
            for (row, line) in part.chunks_exact(x.len * 3).enumerate() {
                let start = (y.to + row) * row_px + x.to;
                rgb[start * 3..(start + x.len) * 3].copy_from_slice(line);
            }
            self.part = part;
        }
        self.columns.clear();
        self.columns.extend((0..x.len).map(|at| x.nearest(at, w)));
        let mut above = None;
        for row in 0..y.len {
            let (start, from) = ((y.to + row) * row_px + x.to, y.nearest(row, h));
            if above == Some(from) {
                out.copy_within(start - row_px..start - row_px + x.len, start);
            } else {
                let line = &labels.values[from * w as usize..][..w as usize];
                out[start..start + x.len].iter_mut().zip(&self.columns).for_each(|(label, &column)| *label = line[column]);
            }
            above = Some(from);
        }
        if mirror {
            rgb.as_chunks_mut::<3>().0.chunks_exact_mut(row_px).for_each(<[_]>::reverse);
            out.chunks_exact_mut(row_px).for_each(<[_]>::reverse);
        }
        Ok(())
    }

    /// The shown part of the image, `y.len * x.len * 3` bytes.
    fn resize(&mut self, image: &RgbImage, x: Axis, y: Axis, part: &mut [u8]) -> Result<()> {
        // Rounding must not push the window over the image's edge.
        let span = |axis: Axis, side: u32| axis.span.min(f64::from(side) - axis.from);
        let (width_px, height_px) = (span(x, image.width_px), span(y, image.height_px));
        let window = Window { left_px: x.from, top_px: y.from, width_px, height_px };
        let size = (image.width_px, image.height_px);
        Ok(self.resizer.run(&image.rgb, size, Some(window), Filter::Bilinear, part, (x.len as u32, y.len as u32))?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use amis_artifacts::image_spec::Fit;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    /// Labels 0..=3 in four quarters, and an image whose colours say the same.
    fn quarters(w: u32, h: u32) -> (RgbImage, LabelMap) {
        let values: Vec<u8> = (0..h).flat_map(|y| (0..w).map(move |x| (x * 2 / w + 2 * (y * 2 / h)) as u8)).collect();
        let rgb = values.iter().flat_map(|&v| [v * 60 + 20, 255 - v * 60, 0]).collect();
        (RgbImage { width_px: w, height_px: h, rgb }, LabelMap { width_px: w, height_px: h, values })
    }

    fn run(augment: Augment, w: u32, h: u32, spec: &ImageSpec, seed: u64) -> (Vec<u8>, Vec<u8>) {
        let (image, labels) = quarters(w, h);
        let (mut rgb, mut out) = (Vec::new(), vec![77; (spec.width_px * spec.height_px) as usize]);
        Augmenter::new(augment, spec).run(&image, &labels, &mut Pcg64Mcg::seed_from_u64(seed), &mut rgb, &mut out).unwrap();
        (rgb, out)
    }

    /// Weights of the source pixels under a triangle filter, widened where the image shrinks, for position `at` of an axis.
    fn weights(axis: Axis, at: usize, source: u32) -> Vec<(usize, f64)> {
        let px = axis.span / axis.len as f64;
        let (center, reach) = (axis.from + (at as f64 + 0.5) * px, px.max(1.0));
        let near = (0..source as usize).map(|i| (i, 1.0 - (i as f64 + 0.5 - center).abs() / reach)).filter(|(_, w)| *w > 0.0);
        let near: Vec<_> = near.collect();
        let sum: f64 = near.iter().map(|(_, w)| w).sum();
        near.into_iter().map(|(i, w)| (i, w / sum)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_pixel_is_the_filters_mean_and_every_label_the_nearest(w in 1u32..90, h in 1u32..90, seed: u64, low in 0.3f32..1.0, more in 0.0f32..2.0) {
            let spec = ImageSpec::imagenet(24, 40, Fit::Crop);
            let augment = Augment { scale: [low, low + more], ..Augment::default() };
            let (rgb, labels) = run(augment, w, h, &spec, seed);
            prop_assert_eq!(&run(augment, w, h, &spec, seed), &(rgb.clone(), labels.clone()));
            // The same draws again: scale, place, mirror.
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let scale = (40.0 / f64::from(w)).max(24.0 / f64::from(h)) * f64::from(rng.random_range(low..=low + more));
            let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
            let (x, y) = (Axis::draw(w, scaled(w), 40, &mut rng), Axis::draw(h, scaled(h), 24, &mut rng));
            let mirror = rng.random_bool(0.5);
            let (image, truth) = quarters(w, h);
            for (row, column) in (0..24usize).flat_map(|row| (0..40usize).map(move |column| (row, column))) {
                let place = row * 40 + if mirror { 39 - column } else { column };
                let (pixel, label) = (&rgb[place * 3..][..3], labels[place]);
                let (Some(i), Some(j)) = (row.checked_sub(y.to).filter(|&i| i < y.len), column.checked_sub(x.to).filter(|&j| j < x.len)) else {
                    prop_assert_eq!((pixel, label), (&[124, 116, 104][..], IGNORE));
                    continue;
                };
                prop_assert_eq!(label, truth.values[y.nearest(i, h) * w as usize + x.nearest(j, w)]);
                let (rows, columns) = (weights(y, i, h), weights(x, j, w));
                let red = |b: usize, a: usize| f64::from(image.rgb[(b * w as usize + a) * 3]);
                let mean: f64 = rows.iter().map(|(b, v)| v * columns.iter().map(|(a, u)| u * red(*b, *a)).sum::<f64>()).sum();
                prop_assert!((mean - f64::from(pixel[0])).abs() <= 1.5, "({}, {}): {} instead of {}", column, row, pixel[0], mean);
            }
        }
    }

    #[test]
    fn at_scale_one_without_flip_an_image_of_the_crops_size_is_itself() {
        let spec = ImageSpec::imagenet(24, 40, Fit::Crop);
        let (image, labels) = quarters(40, 24);
        let augment = Augment { scale: [1.0, 1.0], flip: false, color: 0.0, pad_label: 0 };
        assert_eq!(run(augment, 40, 24, &spec, 3), (image.rgb, labels.values));
    }

    #[test]
    fn half_of_the_images_are_mirrored_and_padding_has_its_label() {
        let spec = ImageSpec::imagenet(24, 40, Fit::Crop);
        let fixed = Augment { scale: [1.0, 1.0], flip: true, color: 0.0, pad_label: 0 };
        let mirrored = (0..200).filter(|&seed| run(fixed, 40, 24, &spec, seed).1[0] == 1).count();
        assert!((70..130).contains(&mirrored), "{mirrored} of 200");
        let small = Augment { scale: [0.5, 0.5], flip: false, color: 0.0, pad_label: 9 };
        let padded = run(small, 40, 24, &spec, 1).1.iter().filter(|&&v| v == 9).count();
        assert_eq!(padded, 40 * 24 - 20 * 12);
        assert!(small.validate().is_err(), "9 is a class");
        assert!(Augment { scale: [2.0, 1.0], ..fixed }.validate().is_err() && Augment { scale: [f32::NAN, 1.0], ..fixed }.validate().is_err());
    }
}
