#![no_main]
//! Buffers of cameras: a byte for the format, one for width, height and padding of the rows each, then the buffer as V4L2 would give it, or JPEG.

use libfuzzer_sys::fuzz_target;

// Without the runtime around it, whose dependencies would take minutes to compile with the sanitizer.
#[path = "../../runtime/src/pixels/mod.rs"]
#[allow(dead_code, unused_imports)]
mod pixels;

use pixels::{Color, Converter, Layout, PixelFormat};

fuzz_target!(|input: (u8, u8, u8, u8, &[u8])| {
    let (format, width_px, height_px, padding, bytes) = input;
    let format = PixelFormat::ALL[usize::from(format) % PixelFormat::ALL.len()];
    let stride = if padding == 0 { 0 } else { usize::from(width_px) * 4 + usize::from(padding) };
    let Ok(layout) = Layout::new(format, (width_px.into(), height_px.into()), stride, Color::BT601_LIMITED) else { return };
    let mut rgb = Vec::new();
    if Converter::default().convert(&layout, bytes, &mut rgb).is_ok() {
        assert_eq!(rgb.len(), usize::from(width_px) * usize::from(height_px) * 3);
    }
});
