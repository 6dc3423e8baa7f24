//! The one implementation of an [`ImageSpec`]: training's validation transform, calibration, verification and the CPU runtime call it.

use crate::classes::IGNORE;
use crate::image_spec::{ChannelOrder, Fit, ImageSpec, Placement};
use crate::resize::{Resizer, Window};
use crate::{Error, Result};

/// Turns RGB frames into network input; keeps its buffers between frames.
pub struct Preprocessor {
    spec: ImageSpec,
    resizer: Resizer,
    scaled: Vec<u8>,
    canvas: Vec<u8>,
    /// Normalised value of every byte, per input channel.
    table: [[f32; 256]; 3],
}

impl Preprocessor {
    /// A preprocessor for this specification.
    pub fn new(spec: ImageSpec) -> Self {
        let mut table = [[0.0; 256]; 3];
        for (channel, values) in table.iter_mut().enumerate() {
            let source = source_channel(spec.channels, channel);
            for (byte, value) in values.iter_mut().enumerate() {
                *value = (byte as f32 / 255.0 - spec.mean[source]) / spec.std[source];
            }
        }
        let canvas = vec![0; spec.input_len()];
        Self { spec, resizer: Resizer::default(), scaled: Vec::new(), canvas, table }
    }

    /// The specification that it implements.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }

    /// Normalised value of every byte, per channel of the input.
    pub fn levels(&self) -> &[[f32; 256]; 3] {
        &self.table
    }

    /// Fits an RGB frame (`height * width * 3` bytes) into the input's size. The result is RGB, `height_px * width_px * 3` bytes.
    ///
    /// # Errors
    /// The buffer's length does not fit its size, or the size cannot be used.
    pub fn fit(&mut self, rgb: &[u8], width_px: u32, height_px: u32) -> Result<(&[u8], Placement)> {
        check_len(rgb.len(), width_px, height_px, 3)?;
        let place = self.spec.place(width_px, height_px)?;
        let (frame, input) = ((width_px, height_px), (self.spec.width_px, self.spec.height_px));
        match self.spec.fit {
            Fit::Stretch if frame == input => self.canvas.copy_from_slice(rgb),
            Fit::Stretch => self.resizer.run(rgb, frame, None, self.spec.filter, &mut self.canvas, input)?,
            Fit::Crop => {
                let window = visible(place, frame, input);
                self.resizer.run(rgb, frame, Some(window), self.spec.filter, &mut self.canvas, input)?;
            }
            Fit::Letterbox => {
                let scaled = (place.scaled_width_px, place.scaled_height_px);
                let mean = self.spec.mean.map(|m| (m * 255.0).round() as u8);
                self.canvas.as_chunks_mut::<3>().0.fill(mean);
                if scaled == frame {
                    copy_into(rgb, &mut self.canvas, place, input.0);
                } else {
                    self.scaled.resize(scaled.0 as usize * scaled.1 as usize * 3, 0);
                    self.resizer.run(rgb, frame, None, self.spec.filter, &mut self.scaled, scaled)?;
                    copy_into(&self.scaled, &mut self.canvas, place, input.0);
                }
            }
        }
        Ok((&self.canvas, place))
    }

    /// [`Self::fit`], then normalised values into `input` `[3, height_px, width_px]`.
    ///
    /// # Errors
    /// As [`Self::fit`], or `input` has another length.
    pub fn run(&mut self, rgb: &[u8], width_px: u32, height_px: u32, input: &mut [f32]) -> Result<Placement> {
        let (_, place) = self.fit(rgb, width_px, height_px)?;
        normalize(&self.canvas, &self.spec, &self.table, input)?;
        Ok(place)
    }

    /// Normalises RGB pixels that already have the input's size into `input` `[3, height_px, width_px]`.
    ///
    /// # Errors
    /// A buffer has another length than the specification says.
    pub fn normalize(&self, rgb: &[u8], input: &mut [f32]) -> Result<()> {
        normalize(rgb, &self.spec, &self.table, input)
    }
}

fn normalize(rgb: &[u8], spec: &ImageSpec, table: &[[f32; 256]; 3], input: &mut [f32]) -> Result<()> {
    check_len(rgb.len(), spec.width_px, spec.height_px, 3)?;
    check_len(input.len(), spec.width_px, spec.height_px, 3)?;
    let plane = rgb.len() / 3;
    for (channel, out) in input.chunks_exact_mut(plane).enumerate() {
        let (values, source) = (&table[channel], source_channel(spec.channels, channel));
        for (value, pixel) in out.iter_mut().zip(rgb.as_chunks::<3>().0) {
            *value = values[usize::from(pixel[source])];
        }
    }
    Ok(())
}

/// The picture that a network input `[3, height_px, width_px]` was made of: RGB, `height_px * width_px * 3` bytes.
///
/// # Errors
/// `input` has another length than the specification says.
pub fn denormalize(spec: &ImageSpec, input: &[f32]) -> Result<Vec<u8>> {
    check_len(input.len(), spec.width_px, spec.height_px, 3)?;
    let plane = input.len() / 3;
    let mut rgb = vec![0; input.len()];
    for (channel, values) in input.chunks_exact(plane).enumerate() {
        let source = source_channel(spec.channels, channel);
        for (pixel, value) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(values) {
            pixel[source] = ((value * spec.std[source] + spec.mean[source]) * 255.0).round() as u8;
        }
    }
    Ok(rgb)
}

/// Fits a label map (`height * width` bytes) the way its image is fitted, nearest neighbour; outside the image is [`IGNORE`].
///
/// # Errors
/// The buffer's length does not fit its size, or the size cannot be used.
pub fn fit_labels(spec: &ImageSpec, labels: &[u8], width_px: u32, height_px: u32) -> Result<Vec<u8>> {
    check_len(labels.len(), width_px, height_px, 1)?;
    let place = spec.place(width_px, height_px)?;
    let column = |x: u32| nearest(i64::from(x) - i64::from(place.left_px), place.scaled_width_px, width_px);
    let columns: Vec<Option<usize>> = (0..spec.width_px).map(column).collect();
    let mut out = Vec::with_capacity((spec.width_px * spec.height_px) as usize);
    for y in 0..spec.height_px {
        match nearest(i64::from(y) - i64::from(place.top_px), place.scaled_height_px, height_px) {
            None => out.resize(out.len() + spec.width_px as usize, IGNORE),
            Some(row) => {
                let line = &labels[row * width_px as usize..][..width_px as usize];
                out.extend(columns.iter().map(|c| c.map_or(IGNORE, |x| line[x])));
            }
        }
    }
    Ok(out)
}

/// Source index of position `at` when `source` pixels are resized to `scaled`; none outside.
fn nearest(at: i64, scaled: u32, source: u32) -> Option<usize> {
    if at < 0 || at >= i64::from(scaled) {
        return None;
    }
    let index = ((at as f64 + 0.5) * f64::from(source) / f64::from(scaled)) as usize;
    Some(index.min(source as usize - 1))
}

/// The part of a frame that the input shows where the scaled frame covers it, so that nothing else is resized.
fn visible(place: Placement, frame: (u32, u32), input: (u32, u32)) -> Window {
    let along = |frame: u32, scaled: u32, offset: i32, input: u32| {
        let px = f64::from(frame) / f64::from(scaled);
        let from = f64::from(-offset) * px;
        // Rounding must not push the window over the frame's edge.
        (from, (f64::from(input) * px).min(f64::from(frame) - from))
    };
    let (left_px, width_px) = along(frame.0, place.scaled_width_px, place.left_px, input.0);
    let (top_px, height_px) = along(frame.1, place.scaled_height_px, place.top_px, input.1);
    Window { left_px, top_px, width_px, height_px }
}

/// Copies a scaled frame that lies wholly in the input; `width_px` is the input's.
fn copy_into(scaled: &[u8], canvas: &mut [u8], place: Placement, width_px: u32) {
    let line = place.scaled_width_px as usize * 3;
    let (left, top) = (place.left_px as usize, place.top_px as usize);
    for (row, from) in scaled.chunks_exact(line).enumerate() {
        let to = ((top + row) * width_px as usize + left) * 3;
        canvas[to..to + line].copy_from_slice(from);
    }
}

fn source_channel(order: ChannelOrder, channel: usize) -> usize {
    match order {
        ChannelOrder::Rgb => channel,
        ChannelOrder::Bgr => 2 - channel,
    }
}

fn check_len(found: usize, width_px: u32, height_px: u32, channels: usize) -> Result<()> {
    let expected_bytes = width_px as usize * height_px as usize * channels;
    if found == expected_bytes { Ok(()) } else { Err(Error::Frame { width_px, height_px, found_bytes: found, expected_bytes }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image_spec::{IMAGENET_MEAN, IMAGENET_STD};
    use proptest::prelude::*;

    #[test]
    fn a_frame_of_the_inputs_size_is_only_normalised() {
        let spec = ImageSpec::imagenet(2, 1, Fit::Crop);
        let mut input = [0.0; 6];
        Preprocessor::new(spec).run(&[255, 0, 51, 0, 255, 102], 1, 2, &mut input).unwrap();
        let value = |byte: f32, c: usize| (byte / 255.0 - IMAGENET_MEAN[c]) / IMAGENET_STD[c];
        assert_eq!(input, [value(255.0, 0), value(0.0, 0), value(0.0, 1), value(255.0, 1), value(51.0, 2), value(102.0, 2)]);
    }

    #[test]
    fn bgr_swaps_the_channels_and_their_statistics() {
        let rgb = ImageSpec::imagenet(1, 1, Fit::Stretch);
        let bgr = ImageSpec { channels: ChannelOrder::Bgr, ..rgb.clone() };
        let (mut a, mut b) = ([0.0; 3], [0.0; 3]);
        Preprocessor::new(rgb).run(&[10, 20, 30], 1, 1, &mut a).unwrap();
        Preprocessor::new(bgr).run(&[10, 20, 30], 1, 1, &mut b).unwrap();
        assert_eq!(a, [b[2], b[1], b[0]]);
    }

    #[test]
    fn every_byte_comes_back_from_the_input() {
        for channels in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            let spec = ImageSpec { channels, ..ImageSpec::imagenet(16, 16, Fit::Stretch) };
            let rgb: Vec<u8> = (0..=255).flat_map(|byte: u8| [byte, byte ^ 0x5a, 255 - byte]).collect();
            let mut input = vec![0.0; spec.input_len()];
            Preprocessor::new(spec.clone()).normalize(&rgb, &mut input).unwrap();
            assert_eq!(denormalize(&spec, &input).unwrap(), rgb);
            assert!(denormalize(&spec, &input[1..]).is_err());
        }
    }

    #[test]
    fn letterbox_fills_labels_with_ignore_and_pixels_with_the_mean() {
        let spec = ImageSpec::imagenet(4, 4, Fit::Letterbox);
        assert_eq!(fit_labels(&spec, &[7; 8], 4, 2).unwrap(), [[IGNORE; 4], [7; 4], [7; 4], [IGNORE; 4]].concat());
        let mut preprocessor = Preprocessor::new(spec);
        let (canvas, _) = preprocessor.fit(&[0; 24], 4, 2).unwrap();
        assert_eq!(&canvas[..3], [124, 116, 104]);
        assert_eq!(&canvas[12..15], [0, 0, 0]);
    }

    #[test]
    fn a_frame_of_any_shape_is_cropped_in_little_memory() {
        let spec = ImageSpec::imagenet(512, 512, Fit::Crop);
        let (longest, mut preprocessor) = (crate::image_spec::MAX_FRAME_PX, Preprocessor::new(spec.clone()));
        let frame: Vec<u8> = (0..longest).flat_map(|y| [if y < longest / 2 { 0 } else { 255 }; 3]).collect();
        let (canvas, place) = preprocessor.fit(&frame, 1, longest).unwrap();
        assert_eq!((place.scaled_width_px, place.scaled_height_px), (512, 512 * longest));
        // Two pixels of the frame fill the input's height, above and below the frame's middle.
        assert_eq!((canvas[0], canvas[canvas.len() - 1]), (0, 255));
        let labels: Vec<u8> = (0..longest).map(|y| u8::from(y >= longest / 2)).collect();
        let labels = fit_labels(&spec, &labels, 1, longest).unwrap();
        assert_eq!(labels.iter().filter(|&&v| v == 1).count(), labels.len() / 2);
    }

    proptest! {
        #[test]
        fn the_visible_part_alone_gives_what_resizing_the_whole_frame_gives(w in 1u32..90, h in 1u32..90, seed: u32) {
            let spec = ImageSpec::imagenet(24, 40, Fit::Crop);
            let frame: Vec<u8> = (0..w * h * 3).map(|i| (i.wrapping_mul(seed | 1) >> 13) as u8).collect();
            let place = spec.place(w, h).unwrap();
            let (sw, sh) = (place.scaled_width_px, place.scaled_height_px);
            let mut whole = vec![0; (sw * sh * 3) as usize];
            Resizer::default().run(&frame, (w, h), None, spec.filter, &mut whole, (sw, sh)).unwrap();
            let mut preprocessor = Preprocessor::new(spec);
            let (canvas, _) = preprocessor.fit(&frame, w, h).unwrap();
            for (row, line) in canvas.chunks_exact(40 * 3).enumerate() {
                let from = ((row as i32 - place.top_px) * sw as i32 - place.left_px) as usize * 3;
                for (a, b) in line.iter().zip(&whole[from..from + 40 * 3]) {
                    prop_assert!(a.abs_diff(*b) <= 1);
                }
            }
        }

        #[test]
        fn any_size_and_any_buffer_is_ok_or_an_error(w in 1u32..70, h in 1u32..70, extra in -2i64..3, fit in 0..3) {
            let fit = [Fit::Stretch, Fit::Letterbox, Fit::Crop][fit as usize];
            let spec = ImageSpec::imagenet(24, 40, fit);
            let frame = vec![128; (i64::from(w * h * 3) + extra).max(0) as usize];
            let mut input = vec![f32::NAN; spec.input_len()];
            let done = Preprocessor::new(spec.clone()).run(&frame, w, h, &mut input);
            prop_assert_eq!(done.is_ok(), extra == 0);
            if done.is_ok() {
                prop_assert!(input.iter().all(|v| v.is_finite()));
                let labels = fit_labels(&spec, &vec![3; (w * h) as usize], w, h).unwrap();
                prop_assert!(labels.iter().all(|&l| l == 3 || (l == IGNORE && fit == Fit::Letterbox)));
            }
        }
    }
}
