//! Reading label maps: PNG files whose pixel values are class ids.

use std::io::Cursor;
use std::path::Path;

use amis_artifacts::classes::palette_color;
use amis_artifacts::files;
use amis_artifacts::image_spec::MAX_FRAME_PX;
use png::{BitDepth, ColorType};

use crate::images::MAX_FILE_BYTES;
use crate::{Error, Result};

/// A class id for every pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Width.
    pub width_px: u32,
    /// Height.
    pub height_px: u32,
    /// `height_px * width_px` values of the data set.
    pub values: Vec<u8>,
}

/// Reads a palette or grey PNG of 1 to 8 bits; the values are the stored indices, the palette's colours play no part.
///
/// # Errors
/// Unreadable, damaged, too large, or of a colour type whose values are not class ids.
pub fn read(path: &Path) -> Result<LabelMap> {
    read_into(path, Vec::new())
}

/// [`read`] into memory that is there already.
pub(crate) fn read_into(path: &Path, values: Vec<u8>) -> Result<LabelMap> {
    decode(files::read_limited(path, "label map", MAX_FILE_BYTES)?, path, values)
}

/// [`read_into`] from bytes; `path` is for messages.
pub(crate) fn decode(bytes: Vec<u8>, path: &Path, mut packed: Vec<u8>) -> Result<LabelMap> {
    let wrong = |reason: String| Error::Picture { path: path.into(), reason };
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| wrong(e.to_string()))?;
    let info = reader.info();
    let (width_px, height_px, color, depth) = (info.width, info.height, info.color_type, info.bit_depth);
    if !matches!(color, ColorType::Indexed | ColorType::Grayscale) || depth == BitDepth::Sixteen {
        return Err(Error::LabelFormat { path: path.into(), found: format!("{color:?} with {} bits", depth as u8) });
    }
    if width_px > MAX_FRAME_PX || height_px > MAX_FRAME_PX || u64::from(width_px) * u64::from(height_px) > MAX_FILE_BYTES {
        return Err(wrong(format!("{width_px}x{height_px} pixels are too many")));
    }
    let length = reader.output_buffer_size().ok_or_else(|| wrong("its size overflows".into()))?;
    packed.resize(length, 0);
    reader.next_frame(&mut packed).map_err(|e| wrong(e.to_string()))?;
    let values = unpack(packed, width_px as usize, depth as usize);
    Ok(LabelMap { width_px, height_px, values })
}

/// Writes a label map of `height_px * width_px` values as a palette PNG in the colours of PASCAL VOC.
pub(crate) fn write(path: &Path, values: &[u8], width_px: u32, height_px: u32) -> Result<()> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width_px, height_px);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette((0..=255).flat_map(palette_color).collect::<Vec<u8>>());
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(values));
    written.map_err(|e| Error::Encode { path: path.into(), reason: e.to_string() })?;
    std::fs::write(path, bytes).map_err(|source| amis_artifacts::Error::Io { action: "write", path: path.into(), source }.into())
}

/// Spreads rows of 1, 2 or 4 bit values, each row padded to whole bytes, to a byte a value.
fn unpack(packed: Vec<u8>, width: usize, bits: usize) -> Vec<u8> {
    if bits == 8 {
        return packed;
    }
    let per_byte = 8 / bits;
    let mask = (1u8 << bits) - 1;
    let row = |line: &[u8]| (0..width).map(|x| line[x / per_byte] >> (8 - bits * (x % per_byte + 1)) & mask).collect::<Vec<u8>>();
    packed.chunks_exact(width.div_ceil(per_byte)).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(path: &Path, width: u32, color: ColorType, depth: BitDepth, data: &[u8]) {
        let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, 2);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette([200u8, 100, 50].repeat(1 << (depth as usize)));
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
    }

    #[test]
    fn every_depth_of_palette_and_grey_reads_as_the_stored_indices() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.png");
        for color in [ColorType::Indexed, ColorType::Grayscale] {
            write(&path, 3, color, BitDepth::Eight, &[0, 1, 255, 7, 8, 9]);
            assert_eq!(read(&path).unwrap().values, [0, 1, 255, 7, 8, 9]);
            write(&path, 3, color, BitDepth::Four, &[0x12, 0xf0, 0x34, 0x50]);
            assert_eq!(read(&path).unwrap().values, [1, 2, 15, 3, 4, 5]);
            write(&path, 3, color, BitDepth::Two, &[0b0110_1100, 0b1101_0000]);
            assert_eq!(read(&path).unwrap().values, [1, 2, 3, 3, 1, 0]);
            write(&path, 3, color, BitDepth::One, &[0b1010_0000, 0b0110_0000]);
            assert_eq!(read(&path).unwrap().values, [1, 0, 1, 0, 1, 1]);
        }
    }

    #[test]
    fn colours_transparency_and_16_bits_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.png");
        let cases = [
            (ColorType::Rgb, BitDepth::Eight, 6),
            (ColorType::Rgba, BitDepth::Eight, 8),
            (ColorType::GrayscaleAlpha, BitDepth::Eight, 4),
            (ColorType::Grayscale, BitDepth::Sixteen, 4),
        ];
        for (color, depth, bytes) in cases {
            write(&path, 1, color, depth, &vec![1; bytes]);
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("labels.png") && message.contains(&format!("{color:?} with {} bits", depth as u8)), "{message}");
        }
        std::fs::write(&path, b"\x89PNG\r\n\x1a\n").unwrap();
        assert!(matches!(read(&path), Err(Error::Picture { .. })));
    }
}
