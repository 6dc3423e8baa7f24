use amis_artifacts::Error as ArtifactError;
use amis_artifacts::classes::{ClassList, IGNORE, palette_color};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::Result;

/// Visually lossless at the size on the page.
const JPEG_QUALITY: u8 = 90;

/// A picture inside the page.
#[derive(Debug)]
pub(super) struct Picture {
    /// `data:` URI.
    pub(super) uri: String,
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    /// Whether its pixels are class ids, which must stay crisp when enlarged.
    pub(super) is_mask: bool,
}

/// A photograph, `height_px * width_px * 3` bytes of RGB.
pub(super) fn photo(rgb: &[u8], width_px: u32, height_px: u32) -> Result<Picture> {
    let mut bytes = Vec::new();
    let encoded = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode(rgb, width_px, height_px, ExtendedColorType::Rgb8);
    encoded.map_err(|e| cannot_encode(&e))?;
    Ok(Picture { uri: uri("jpeg", &bytes), width_px, height_px, is_mask: false })
}

/// A map of class ids, `height_px * width_px` bytes, in the colours of its classes.
pub(super) fn mask(ids: &[u8], width_px: u32, height_px: u32, classes: &ClassList) -> Result<Picture> {
    let rgb: Vec<u8> = ids.iter().flat_map(|&id| classes.get(id).map_or(palette_color(IGNORE), |c| c.color)).collect();
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::NoFilter);
    encoder.write_image(&rgb, width_px, height_px, ExtendedColorType::Rgb8).map_err(|e| cannot_encode(&e))?;
    Ok(Picture { uri: uri("png", &bytes), width_px, height_px, is_mask: true })
}

fn uri(format: &str, bytes: &[u8]) -> String {
    format!("data:image/{format};base64,{}", STANDARD.encode(bytes))
}

/// The buffers come from the network's input and output, so only a size that no format has can fail.
fn cannot_encode(error: &image::ImageError) -> ArtifactError {
    ArtifactError::Spec { what: "picture for the report", reason: error.to_string() }
}
