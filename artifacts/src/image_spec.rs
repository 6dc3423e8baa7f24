//! How a frame becomes the network's input: data that travels from training to the device.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a frame of another shape is fitted into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The whole frame, sides scaled separately.
    Stretch,
    /// The whole frame, shape kept, borders filled with the mean colour.
    Letterbox,
    /// Shorter side to the input's side, centre cut out: the papers' protocol.
    Crop,
}

/// Filter of the resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Triangle filter, widened when shrinking (antialiased), as PIL's `BILINEAR`.
    Bilinear,
}

/// Order of the input's three channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// The network's input `[1, 3, height_px, width_px]`: `(value / 255 - mean) / std` per channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Height of the input.
    pub height_px: u32,
    /// Width of the input.
    pub width_px: u32,
    /// How frames of another shape are fitted.
    pub fit: Fit,
    /// Resize filter.
    pub filter: Filter,
    /// Channel order of the input.
    pub channels: ChannelOrder,
    /// Mean per channel, in the order red, green, blue, of values 0..1.
    pub mean: [f32; 3],
    /// Standard deviation per channel, in the order red, green, blue.
    pub std: [f32; 3],
}

/// Mean of ImageNet's training images per channel, from torchvision's reference preprocessing.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's training images per channel, from the same place.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Longest side of an input.
pub const MAX_INPUT_PX: u32 = 8192;
/// Longest side of a frame.
pub const MAX_FRAME_PX: u32 = 32_768;

/// Where a frame lies in the input: resized to `scaled_*`, its corner at (`left_px`, `top_px`), which is negative where the frame is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Width that the frame is resized to.
    pub scaled_width_px: u32,
    /// Height that the frame is resized to.
    pub scaled_height_px: u32,
    /// Column of the resized frame's left edge in the input.
    pub left_px: i32,
    /// Row of the resized frame's top edge in the input.
    pub top_px: i32,
}

impl ImageSpec {
    /// Whole frame, bilinear, RGB, ImageNet's mean and standard deviation.
    pub fn imagenet(height_px: u32, width_px: u32, fit: Fit) -> Self {
        Self { height_px, width_px, fit, filter: Filter::Bilinear, channels: ChannelOrder::Rgb, mean: IMAGENET_MEAN, std: IMAGENET_STD }
    }

    /// Checks sizes against the patch size and the numbers for sense.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub fn validate(&self, patch_px: u32) -> Result<()> {
        for (name, side) in [("height_px", self.height_px), ("width_px", self.width_px)] {
            if side == 0 || side > MAX_INPUT_PX || !side.is_multiple_of(patch_px) {
                return Err(wrong(format!("{name} is {side}, expected a multiple of the patch size {patch_px} up to {MAX_INPUT_PX}")));
            }
        }
        for (name, values) in [("mean", self.mean), ("std", self.std)] {
            if values.iter().any(|v| !v.is_finite() || (name == "std" && *v <= 0.0)) {
                return Err(wrong(format!("{name} is {values:?}, expected finite numbers, and positive ones for std")));
            }
        }
        Ok(())
    }

    /// Number of values of the input, `3 * height_px * width_px`.
    pub fn input_len(&self) -> usize {
        3 * self.height_px as usize * self.width_px as usize
    }

    /// Where a frame of this size lies in the input.
    ///
    /// # Errors
    /// A side is 0 or over [`MAX_FRAME_PX`].
    pub fn place(&self, frame_width_px: u32, frame_height_px: u32) -> Result<Placement> {
        if !(1..=MAX_FRAME_PX).contains(&frame_width_px) || !(1..=MAX_FRAME_PX).contains(&frame_height_px) {
            return Err(wrong(format!("a frame of {frame_width_px}x{frame_height_px} pixels cannot be used, sides go from 1 to {MAX_FRAME_PX}")));
        }
        let (iw, ih) = (f64::from(self.width_px), f64::from(self.height_px));
        let (fw, fh) = (f64::from(frame_width_px), f64::from(frame_height_px));
        let (scaled_width_px, scaled_height_px) = match self.fit {
            Fit::Stretch => (self.width_px, self.height_px),
            Fit::Letterbox => {
                let scale = (iw / fw).min(ih / fh);
                (((fw * scale).round() as u32).clamp(1, self.width_px), ((fh * scale).round() as u32).clamp(1, self.height_px))
            }
            Fit::Crop => {
                let scale = (iw / fw).max(ih / fh);
                // The longer side is cut off after the point, as torchvision does.
                (((fw * scale + 1e-9) as u32).max(self.width_px), ((fh * scale + 1e-9) as u32).max(self.height_px))
            }
        };
        let half = |outer: u32, inner: u32| (i64::from(outer) - i64::from(inner)).div_euclid(2) as i32;
        Ok(Placement { scaled_width_px, scaled_height_px, left_px: half(self.width_px, scaled_width_px), top_px: half(self.height_px, scaled_height_px) })
    }
}

fn wrong(reason: String) -> Error {
    Error::Spec { what: "image spec", reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_fit_places_a_wide_frame_as_it_says() {
        let place = |fit| ImageSpec::imagenet(64, 64, fit).place(128, 64).unwrap();
        assert_eq!(place(Fit::Stretch), Placement { scaled_width_px: 64, scaled_height_px: 64, left_px: 0, top_px: 0 });
        assert_eq!(place(Fit::Letterbox), Placement { scaled_width_px: 64, scaled_height_px: 32, left_px: 0, top_px: 16 });
        assert_eq!(place(Fit::Crop), Placement { scaled_width_px: 128, scaled_height_px: 64, left_px: -32, top_px: 0 });
    }

    #[test]
    fn sizes_that_the_patch_does_not_divide_are_refused() {
        assert!(ImageSpec::imagenet(180, 240, Fit::Stretch).validate(12).is_ok());
        assert!(ImageSpec::imagenet(180, 240, Fit::Stretch).validate(16).unwrap_err().to_string().contains("height_px is 180"));
        assert!(ImageSpec::imagenet(64, 64, Fit::Crop).place(0, 5).is_err());
    }
}
