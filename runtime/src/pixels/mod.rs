//! Pixels as cameras and videos deliver them, turned into RGB.

mod color;
mod jpeg;
mod layout;
#[cfg(test)]
pub(crate) mod tests;

use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvGrayImage, YuvPackedImage, YuvPlanarImage, YuvPlanarImageMut};

pub(crate) use yuv::YuvRange;

pub use color::Color;
pub use layout::{Layout, PixelFormat};

/// Why bytes are not a whole picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// Fewer bytes than the picture has.
    #[error("{found} bytes, expected at least {needed}")]
    Short { found: usize, needed: usize },
    /// A JPEG that cannot be decoded, or is not the expected picture.
    #[error("JPEG: {0}")]
    Jpeg(String),
    /// What the converter refuses; the layout checks come before.
    #[error("cannot be converted: {0}")]
    Refused(String),
}

/// Turns pictures into RGB; keeps its working memory from one to the next.
#[derive(Default)]
pub(crate) struct Converter {
    /// The picture with its last row filled up to the stride.
    padded: Vec<u8>,
    /// Planes of a picture whose luma and chroma are mixed.
    planar: Vec<u8>,
    /// A JPEG with what it lacked.
    completed: Vec<u8>,
}

impl Converter {
    /// Fills `rgb` with `height_px * width_px * 3` bytes. After an error its contents are of no use.
    pub(crate) fn convert(&mut self, layout: &Layout, bytes: &[u8], rgb: &mut Vec<u8>) -> Result<(), Damage> {
        let (width, height) = (layout.width_px as usize, layout.height_px as usize);
        rgb.resize(width * height * 3, 0);
        if layout.format == PixelFormat::Mjpeg {
            return jpeg::decode(bytes, (width, height), &mut self.completed, rgb);
        }
        let needed = layout.needed_bytes();
        if bytes.len() < needed {
            return Err(Damage::Short { found: bytes.len(), needed });
        }
        // The converters skip a last row that ends before its stride does.
        let full = layout.full_bytes();
        let bytes = if bytes.len() >= full {
            bytes
        } else {
            self.padded.clear();
            self.padded.extend_from_slice(bytes);
            self.padded.resize(full, 0);
            &self.padded
        };
        match layout.format {
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => {
                rows_to_rgb(layout, bytes, rgb);
                Ok(())
            }
            _ => yuv_to_rgb(layout, bytes, &mut self.planar, rgb).map_err(|e| Damage::Refused(e.to_string())),
        }
    }
}

/// `planar` is working memory.
fn yuv_to_rgb(layout: &Layout, bytes: &[u8], planar: &mut Vec<u8>, rgb: &mut [u8]) -> Result<(), yuv::YuvError> {
    let (width, height, Color { matrix, range }) = (layout.width_px, layout.height_px, layout.color);
    let plane = |i: usize| layout.plane(i, bytes);
    let stride = |i: usize| layout.planes[i].stride_bytes as u32;
    match layout.format {
        PixelFormat::Grey => {
            let image = YuvGrayImage { y_plane: plane(0), y_stride: stride(0), width, height };
            yuv::yuv400_to_rgb(&image, rgb, 3 * width, range, matrix)
        }
        PixelFormat::Nv12 | PixelFormat::Nv21 => {
            let convert = if layout.format == PixelFormat::Nv12 { yuv::yuv_nv12_to_rgb } else { yuv::yuv_nv21_to_rgb };
            let image = YuvBiPlanarImage { y_plane: plane(0), y_stride: stride(0), uv_plane: plane(1), uv_stride: stride(1), width, height };
            convert(&image, rgb, 3 * width, range, matrix, YuvConversionMode::Balanced)
        }
        PixelFormat::Yuyv | PixelFormat::Uyvy => {
            // In two steps: the direct converters count in 64ths, which is up to three levels off.
            let split = if layout.format == PixelFormat::Yuyv { yuv::yuyv422_to_yuv422 } else { yuv::uyvy422_to_yuv422 };
            let (luma, chroma_width) = (width as usize * height as usize, width.div_ceil(2));
            let chroma = chroma_width as usize * height as usize;
            planar.resize(luma + 2 * chroma, 0);
            let (y, uv) = planar.split_at_mut(luma);
            let (u, v) = uv.split_at_mut(chroma);
            let mut image = YuvPlanarImageMut {
                y_plane: yuv::BufferStoreMut::Borrowed(y),
                y_stride: width,
                u_plane: yuv::BufferStoreMut::Borrowed(u),
                u_stride: chroma_width,
                v_plane: yuv::BufferStoreMut::Borrowed(v),
                v_stride: chroma_width,
                width,
                height,
            };
            split(&mut image, &YuvPackedImage { yuy: plane(0), yuy_stride: stride(0), width, height })?;
            yuv::yuv422_to_rgb(&image.to_fixed(), rgb, 3 * width, range, matrix)
        }
        _ => {
            let image = YuvPlanarImage {
                y_plane: plane(0),
                y_stride: stride(0),
                u_plane: plane(1),
                u_stride: stride(1),
                v_plane: plane(2),
                v_stride: stride(2),
                width,
                height,
            };
            yuv::yuv420_to_rgb(&image, rgb, 3 * width, range, matrix)
        }
    }
}

/// Takes the stride away, swaps red and blue where need be, and stretches 16..=235 to 0..=255 where that is what the camera sends.
fn rows_to_rgb(layout: &Layout, bytes: &[u8], rgb: &mut [u8]) {
    let row_bytes = 3 * layout.width_px as usize;
    for (row, out) in bytes.chunks(layout.planes[0].stride_bytes).zip(rgb.chunks_exact_mut(row_bytes)) {
        out.copy_from_slice(&row[..row_bytes]);
        if layout.format == PixelFormat::Bgr24 {
            out.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
    }
    if layout.color.range == YuvRange::Limited {
        let stretched: [u8; 256] = std::array::from_fn(|v| ((v as f32 - 16.0) * (255.0 / 219.0)).round().clamp(0.0, 255.0) as u8);
        rgb.iter_mut().for_each(|v| *v = stretched[usize::from(*v)]);
    }
}
