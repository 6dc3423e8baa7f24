use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Damage;

const START: [u8; 2] = [0xff, 0xd8];
const END: [u8; 2] = [0xff, 0xd9];
/// An APP0 segment that tells decoders to use the Huffman tables of the JPEG standard.
const AVI1: [u8; 9] = [0xff, 0xe0, 0, 7, b'A', b'V', b'I', b'1', 0];

/// Decodes a frame of Motion JPEG into `rgb`, which has room for `(width, height)`.
///
/// Bytes before the picture and behind it are left out, and Huffman tables that are missing are those of the standard: webcams do both. A picture
/// without its end is refused, because decoders would fill the rest with grey.
pub(super) fn decode(bytes: &[u8], (width, height): (usize, usize), completed: &mut Vec<u8>, rgb: &mut [u8]) -> Result<(), Damage> {
    let wrong = |reason: &str| Damage::Jpeg(reason.to_owned());
    let start = bytes.windows(3).position(|w| w[..2] == START && w[2] == 0xff).ok_or_else(|| wrong("no start of a picture"))?;
    let bytes = &bytes[start..];
    let end = bytes.windows(2).rposition(|w| w == END).ok_or_else(|| wrong("cut off before its end"))?;
    let mut bytes = &bytes[..end + 2];
    if !has_huffman_tables(bytes) {
        completed.clear();
        completed.extend(START);
        completed.extend(AVI1);
        completed.extend_from_slice(&bytes[2..]);
        bytes = completed;
    }
    let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::RGB).set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let failed = |e: zune_jpeg::errors::DecodeErrors| Damage::Jpeg(e.to_string());
    decoder.decode_headers().map_err(failed)?;
    let found = decoder.info().map_or((0, 0), |info| (usize::from(info.width), usize::from(info.height)));
    if found != (width, height) {
        return Err(Damage::Jpeg(format!("{}x{} pixels, expected {width}x{height}", found.0, found.1)));
    }
    decoder.decode_into(rgb).map_err(failed)
}

/// Whether a DHT segment stands before the first scan.
fn has_huffman_tables(jpeg: &[u8]) -> bool {
    let mut rest = &jpeg[2..];
    while let [0xff, marker, tail @ ..] = rest {
        match (marker, tail) {
            (0xc4, _) => return true,
            (0xda | 0xd9, _) => return false,
            // Fill bytes before a marker.
            (0xff, _) => rest = &rest[1..],
            (_, [high, low, ..]) => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                rest = tail.get(length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    // Something else than a segment: the decoder will say what.
    true
}
