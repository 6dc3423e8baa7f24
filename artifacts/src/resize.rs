//! The one place that resizes pixels, so that every part of the road sees the same numbers.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions};

use crate::image_spec::Filter;
use crate::{Error, Result};

/// A part of an image, in pixels and fractions of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Left edge.
    pub left_px: f64,
    /// Top edge.
    pub top_px: f64,
    /// Width.
    pub width_px: f64,
    /// Height.
    pub height_px: f64,
}

/// Resizes RGB images; keeps its buffers.
#[derive(Default)]
pub struct Resizer(fast_image_resize::Resizer);

impl Resizer {
    /// Resizes `window` (or all) of a `size` = (width, height) image of `width * height * 3` bytes to fill `target` of `target_size`.
    ///
    /// # Errors
    /// A buffer does not fit its size, or the window leaves the image.
    pub fn run(&mut self, rgb: &[u8], size: (u32, u32), window: Option<Window>, filter: Filter, target: &mut [u8], target_size: (u32, u32)) -> Result<()> {
        let wrong = |e: &dyn std::fmt::Display| Error::Spec { what: "resize", reason: e.to_string() };
        // Typed images: the untyped ones compile the resizer for every pixel format there is, which takes minutes.
        let source = TypedImageRef::<U8x3>::from_buffer(size.0, size.1, rgb).map_err(|e| wrong(&e))?;
        let mut target = TypedImage::<U8x3>::from_buffer(target_size.0, target_size.1, target).map_err(|e| wrong(&e))?;
        let filter = match filter {
            Filter::Bilinear => FilterType::Bilinear,
        };
        let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        if let Some(w) = window {
            options = options.crop(w.left_px, w.top_px, w.width_px, w.height_px);
        }
        self.0.resize_typed(&source, &mut target, &options).map_err(|e| wrong(&e))
    }
}
