#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use yuv::{YuvRange, YuvStandardMatrix};

use super::layout::Plane;
use super::*;

/// The picture by the definitions of the formats, in floating point.
pub(crate) fn oracle(layout: &Layout, bytes: &[u8]) -> Vec<f64> {
    let at = |plane: usize, y: usize, x: usize| f64::from(bytes[layout.planes[plane].offset_bytes + y * layout.planes[plane].stride_bytes + x]);
    let full = layout.color.range == YuvRange::Full;
    let (black, white, chroma) = if full { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
    let bias = layout.color.matrix.get_kr_kb();
    let (kr, kb) = (f64::from(bias.kr), f64::from(bias.kb));
    let mut out = Vec::new();
    for y in 0..layout.height_px as usize {
        for x in 0..layout.width_px as usize {
            let yuv = match layout.format {
                PixelFormat::Rgb24 | PixelFormat::Bgr24 => {
                    let order = if layout.format == PixelFormat::Rgb24 { [0, 1, 2] } else { [2, 1, 0] };
                    out.extend(order.map(|c| ((at(0, y, 3 * x + c) - black) * 255.0 / white).clamp(0.0, 255.0)));
                    continue;
                }
                PixelFormat::Yuyv => [at(0, y, 2 * x), at(0, y, x / 2 * 4 + 1), at(0, y, x / 2 * 4 + 3)],
                PixelFormat::Uyvy => [at(0, y, 2 * x + 1), at(0, y, x / 2 * 4), at(0, y, x / 2 * 4 + 2)],
                PixelFormat::Nv12 => [at(0, y, x), at(1, y / 2, x / 2 * 2), at(1, y / 2, x / 2 * 2 + 1)],
                PixelFormat::Nv21 => [at(0, y, x), at(1, y / 2, x / 2 * 2 + 1), at(1, y / 2, x / 2 * 2)],
                PixelFormat::Yu12 => [at(0, y, x), at(1, y / 2, x / 2), at(2, y / 2, x / 2)],
                PixelFormat::Grey => [at(0, y, x), 128.0, 128.0],
                PixelFormat::Mjpeg => unreachable!(),
            };
            let (luma, u, v) = ((yuv[0] - black) / white, (yuv[1] - 128.0) / chroma, (yuv[2] - 128.0) / chroma);
            let (r, b) = (luma + 2.0 * (1.0 - kr) * v, luma + 2.0 * (1.0 - kb) * u);
            let g = (luma - kr * r - kb * b) / (1.0 - kr - kb);
            out.extend([r, g, b].map(|c| (c * 255.0).clamp(0.0, 255.0)));
        }
    }
    out
}

fn raw_format() -> impl Strategy<Value = PixelFormat> {
    proptest::sample::select(PixelFormat::ALL.into_iter().filter(|f| *f != PixelFormat::Mjpeg).collect::<Vec<_>>())
}

fn color() -> impl Strategy<Value = Color> {
    use YuvStandardMatrix::{Bt601, Bt709, Bt2020};
    (proptest::sample::select(vec![Bt601, Bt709, Bt2020, super::color::MATRIX_240M]), any::<bool>())
        .prop_map(|(matrix, full)| Color { matrix, range: if full { YuvRange::Full } else { YuvRange::Limited } })
}

/// A layout of up to 67x67 pixels with padded rows, and with gaps between its planes.
pub(crate) fn layout() -> impl Strategy<Value = Layout> {
    (raw_format(), 1u32..=67, 1u32..=67, 0usize..40, 0usize..300, color()).prop_map(|(format, width, height, padding, gap, color)| {
        let tight = Layout::new(format, (width, height), 0, color).unwrap();
        let mut layout = Layout::new(format, (width, height), tight.planes[0].stride_bytes + padding, color).unwrap();
        (1..3).for_each(|i| layout.planes[i].offset_bytes += i * gap);
        layout
    })
}

/// Bytes, the same on every run.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

proptest! {
    #[test]
    fn colours_are_within_two_levels_of_the_definition(layout in layout(), seed: u64, spare in 0usize..3) {
        let mut bytes = noise(seed, layout.needed_bytes() + spare);
        if layout.color.range == YuvRange::Limited {
            // Below black the SIMD code counts luma as black, which is as good.
            bytes.iter_mut().for_each(|v| *v = (*v).max(16));
        }
        let mut rgb = vec![7; 5];
        Converter::default().convert(&layout, &bytes, &mut rgb).unwrap();
        let expected = oracle(&layout, &bytes);
        prop_assert_eq!(rgb.len(), expected.len());
        for (i, (found, expected)) in rgb.iter().zip(expected).enumerate() {
            prop_assert!((f64::from(*found) - expected).abs() <= 2.0, "{layout:?}: byte {i} is {found}, expected {expected}");
        }
    }

    #[test]
    fn any_number_of_bytes_is_a_picture_or_an_error(layout in layout(), seed: u64, part in 0.0f64..=1.0) {
        let needed = layout.needed_bytes();
        let (mut converter, mut rgb) = (Converter::default(), Vec::new());
        for found in [(needed as f64 * part) as usize, needed - 1, needed, needed + 1] {
            let result = converter.convert(&layout, &noise(seed, found), &mut rgb);
            prop_assert_eq!(result, if found < needed { Err(Damage::Short { found, needed }) } else { Ok(()) });
        }
    }

    #[test]
    fn a_jpeg_that_is_cut_or_changed_is_a_picture_or_an_error(kind in 0..4, place in 0.0f64..1.0, seed: u64) {
        let good = jpeg(67, 33);
        let at = (good.len() as f64 * place) as usize;
        let bytes = match kind {
            0 => good[..at].to_vec(),
            1 => [&noise(seed, 40), &good[..], &noise(seed, 41)].concat(),
            2 => [&good[..at], &noise(seed, 5), &good[at..]].concat(),
            _ => [&good[..at], &good[(at + 20).min(good.len())..]].concat(),
        };
        let layout = Layout::new(PixelFormat::Mjpeg, (67, 33), 0, Color::BT601_LIMITED).unwrap();
        let result = Converter::default().convert(&layout, &bytes, &mut Vec::new());
        prop_assert!(kind != 0 || result.is_err(), "cut at {at} of {}", good.len());
    }

    #[test]
    fn layouts_are_sound_or_refused(format in proptest::sample::select(PixelFormat::ALL.to_vec()), width: u32, height: u32, stride: usize) {
        if let Ok(layout) = Layout::new(format, (width % 40_000, height % 40_000), stride % 1_000_000, Color::BT601_LIMITED) {
            prop_assert!(layout.needed_bytes() <= layout.full_bytes());
        }
        prop_assert!(Layout::new(format, (0, 5), 0, Color::BT601_LIMITED).is_err());
    }
}

#[test]
fn planes_follow_each_other_as_v4l2_says() {
    let planes = |format, size, stride| Layout::new(format, size, stride, Color::BT601_LIMITED).unwrap().planes;
    let plane = |offset_bytes, stride_bytes| Plane { offset_bytes, stride_bytes };
    assert_eq!(planes(PixelFormat::Nv12, (640, 480), 704)[1], plane(704 * 480, 704));
    assert_eq!(planes(PixelFormat::Yu12, (640, 480), 704)[1..], [plane(704 * 480, 352), plane(704 * 480 + 352 * 240, 352)]);
    let narrow = Layout::new(PixelFormat::Yuyv, (640, 480), 1279, Color::BT601_LIMITED).unwrap_err();
    assert!(narrow.contains("1279 bytes a row, expected 1280"), "{narrow}");
}

fn picture(width: u32, height: u32) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 128]))
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(&picture(width, height)).unwrap();
    bytes
}

/// The JPEG without its Huffman tables, as webcams send it: the tables of the encoder are those of the standard.
fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (jpeg[..2].to_vec(), &jpeg[2..]);
    while rest[1] != 0xda {
        let (segment, tail) = rest.split_at(2 + usize::from(u16::from_be_bytes([rest[2], rest[3]])));
        if segment[1] != 0xc4 {
            out.extend(segment);
        }
        rest = tail;
    }
    [out, rest.to_vec()].concat()
}

#[test]
fn a_jpeg_decodes_with_stray_bytes_and_without_tables() {
    let (width, height) = (64, 48);
    let layout = Layout::new(PixelFormat::Mjpeg, (width, height), 0, Color::BT601_LIMITED).unwrap();
    let good = jpeg(width, height);
    let bare = without_tables(&good);
    assert!(bare.len() + 300 < good.len());
    let stray = [&[0, 0xff, 3][..], &good, &[0; 100]].concat();
    for bytes in [&good, &bare, &stray] {
        let mut rgb = Vec::new();
        Converter::default().convert(&layout, bytes, &mut rgb).unwrap();
        for (found, expected) in rgb.iter().zip(picture(width, height).into_raw()) {
            assert!(found.abs_diff(expected) <= 12, "{found} for {expected}");
        }
    }
}

#[test]
fn a_jpeg_of_another_size_or_none_at_all_is_damage() {
    let layout = Layout::new(PixelFormat::Mjpeg, (64, 48), 0, Color::BT601_LIMITED).unwrap();
    for (bytes, expected) in
        [(jpeg(32, 48), "32x48 pixels, expected 64x48"), (vec![], "no start"), (vec![0xff; 99], "no start"), (jpeg(64, 48)[..500].to_vec(), "cut off")]
    {
        let damage = Converter::default().convert(&layout, &bytes, &mut Vec::new()).unwrap_err();
        assert!(damage.to_string().contains(expected), "{damage}");
    }
}
