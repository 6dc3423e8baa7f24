//! Reading pictures as RGB.

use std::io::Cursor;
use std::path::Path;

use amis_artifacts::files;
use amis_artifacts::image_spec::MAX_FRAME_PX;
use image::{ColorType, DynamicImage, ImageDecoder};

use crate::{Error, Result};

/// Largest picture file that is read.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Extensions of image files, most usual first.
pub(crate) const EXTENSIONS: [&str; 6] = ["jpg", "png", "jpeg", "JPG", "JPEG", "PNG"];
/// Most memory that decoding one picture may take: 100 megapixels with room for the decoder.
const MAX_DECODED_BYTES: u64 = 512 << 20;

/// A picture, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Width.
    pub width_px: u32,
    /// Height.
    pub height_px: u32,
    /// Red, green, blue: `height_px * width_px * 3` bytes.
    pub rgb: Vec<u8>,
}

/// Reads a JPEG or PNG file, told apart by content; grey becomes RGB, transparency is dropped.
///
/// The orientation in EXIF data is ignored, because label maps have none: pixels are taken as they are stored.
///
/// # Errors
/// Unreadable, too large, damaged, or of another format.
pub fn read_rgb(path: &Path) -> Result<RgbImage> {
    read_rgb_into(path, Vec::new())
}

/// [`read_rgb`] into memory that is there already: fresh memory for every image costs a tenth of decoding it.
pub(crate) fn read_rgb_into(path: &Path, mut rgb: Vec<u8>) -> Result<RgbImage> {
    let bytes = files::read_limited(path, "picture", MAX_FILE_BYTES)?;
    let wrong = |reason: String| Error::Picture { path: path.into(), reason };
    let mut reader = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| wrong(e.to_string()))?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_FRAME_PX);
    limits.max_image_height = Some(MAX_FRAME_PX);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| wrong(e.to_string()))?;
    let (width_px, height_px) = decoder.dimensions();
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(wrong(format!("{width_px}x{height_px} pixels are too many")));
    }
    if decoder.color_type() == ColorType::Rgb8 {
        rgb.resize(decoder.total_bytes() as usize, 0);
        decoder.read_image(&mut rgb).map_err(|e| wrong(e.to_string()))?;
    } else {
        rgb = DynamicImage::from_decoder(decoder).map_err(|e| wrong(e.to_string()))?.into_rgb8().into_raw();
    }
    Ok(RgbImage { width_px, height_px, rgb })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_damaged_or_foreign_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picture.jpg");
        image::RgbImage::from_pixel(40, 30, image::Rgb([200, 10, 10])).save(&path).unwrap();
        let picture = read_rgb(&path).unwrap();
        assert_eq!((picture.width_px, picture.height_px, picture.rgb.len()), (40, 30, 3600));
        let bytes = std::fs::read(&path).unwrap();
        for damaged in [&b"BM no picture"[..], &bytes[..60], b""] {
            std::fs::write(&path, damaged).unwrap();
            assert!(read_rgb(&path).unwrap_err().to_string().contains("picture.jpg"));
        }
    }
}
