//! What the kernels are given: structures of C, and tables of weights that are the same for every frame.

use amis_artifacts::image_spec::{ChannelOrder, ImageSpec};

use crate::pixels::{Layout, PixelFormat, YuvRange};
use crate::{Error, Result};

/// Where the pixels of a frame lie and what their numbers mean: `Frame` in `frame.cuh`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(super) struct FrameLayout {
    format: i32,
    pub(super) width_px: i32,
    pub(super) height_px: i32,
    stride_bytes: i32,
    chroma_stride_bytes: i32,
    chroma_bytes: [i32; 2],
    black: f32,
    gain: f32,
    red_v: f32,
    green_u: f32,
    green_v: f32,
    blue_u: f32,
}

impl FrameLayout {
    /// # Errors
    /// Frames that are no pixels (MJPEG), or too large for the numbers of the kernels.
    pub(super) fn new(layout: &Layout) -> Result<Self> {
        let cannot = |reason| Error::Gpu { action: "read such frames with the kernels", reason };
        if layout.format == PixelFormat::Mjpeg {
            return Err(cannot("MJPEG is to be decoded first".into()));
        }
        if i32::try_from(layout.full_bytes()).is_err() {
            return Err(cannot(format!("{} bytes a frame, expected at most {}", layout.full_bytes(), i32::MAX)));
        }
        let [luma, second, third] = layout.planes;
        let (black, gain, chroma_gain) = match layout.color.range {
            YuvRange::Full => (0.0, 1.0, 1.0),
            YuvRange::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
        };
        let shares = layout.color.matrix.get_kr_kb();
        let (red, blue) = (f64::from(shares.kr), f64::from(shares.kb));
        let green = 1.0 - red - blue;
        Ok(Self {
            format: layout.format as i32,
            width_px: layout.width_px as i32,
            height_px: layout.height_px as i32,
            stride_bytes: luma.stride_bytes as i32,
            chroma_stride_bytes: second.stride_bytes as i32,
            chroma_bytes: [second.offset_bytes as i32, third.offset_bytes as i32],
            black,
            gain,
            red_v: (2.0 * (1.0 - red) * chroma_gain) as f32,
            green_u: (-2.0 * (1.0 - blue) * blue / green * chroma_gain) as f32,
            green_v: (-2.0 * (1.0 - red) * red / green * chroma_gain) as f32,
            blue_u: (2.0 * (1.0 - blue) * chroma_gain) as f32,
        })
    }
}

/// The network's input: `Input` in `preprocess.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct InputLayout {
    pub(super) width_px: i32,
    pub(super) height_px: i32,
    taps_x: i32,
    taps_y: i32,
    fill: [i32; 3],
    bgr: i32,
}

impl InputLayout {
    pub(super) fn new(spec: &ImageSpec, columns: &Taps, rows: &Taps) -> Self {
        Self {
            width_px: spec.width_px as i32,
            height_px: spec.height_px as i32,
            taps_x: columns.taps as i32,
            taps_y: rows.taps as i32,
            fill: spec.mean.map(|m| (m * 255.0).round() as i32),
            bgr: i32::from(spec.channels == ChannelOrder::Bgr),
        }
    }
}

/// Along one side of the input: which pixels of the frame count, and how much.
#[derive(Debug, Clone)]
pub(super) struct Taps {
    /// First pixel of the frame for every position of the input; -1 outside the frame.
    pub(super) first: Vec<i32>,
    /// `taps` weights for every position, of the first pixel and those behind it.
    pub(super) weights: Vec<f32>,
    taps: usize,
}

impl Taps {
    /// Columns and rows for frames of this size.
    ///
    /// # Errors
    /// A frame that the specification cannot place.
    pub(super) fn of(spec: &ImageSpec, frame_width_px: u32, frame_height_px: u32) -> Result<[Self; 2]> {
        let place = spec.place(frame_width_px, frame_height_px)?;
        let columns = Self::new(frame_width_px, place.scaled_width_px, place.left_px, spec.width_px);
        Ok([columns, Self::new(frame_height_px, place.scaled_height_px, place.top_px, spec.height_px)])
    }

    /// A triangle over each position, widened where the frame shrinks: the image spec's only filter.
    fn new(frame: u32, scaled: u32, offset: i32, input: u32) -> Self {
        let ratio = f64::from(frame) / f64::from(scaled);
        let reach = ratio.max(1.0);
        let span = |position: u32| {
            let at = i64::from(position) - i64::from(offset);
            let center = (at as f64 + 0.5) * ratio;
            let from = ((center - reach + 0.5).max(0.0)) as u32;
            let to = ((center + reach + 0.5) as u32).min(frame);
            (0..i64::from(scaled)).contains(&at).then_some((center, from, to))
        };
        let spans: Vec<_> = (0..input).map(span).collect();
        let taps = spans.iter().flatten().map(|(_, from, to)| (to - from) as usize).max().unwrap_or(0);
        let mut weights = vec![0.0; taps * spans.len()];
        for (weights, &(center, from, to)) in weights.chunks_mut(taps.max(1)).zip(&spans).filter_map(|(w, span)| Some((w, span.as_ref()?))) {
            let triangle = |pixel: u32| (1.0 - ((f64::from(pixel) + 0.5 - center) / reach).abs()).max(0.0);
            let sum: f64 = (from..to).map(triangle).sum();
            weights.iter_mut().zip(from..to).for_each(|(weight, pixel)| *weight = (triangle(pixel) / sum) as f32);
        }
        Self { first: spans.iter().map(|span| span.map_or(-1, |(_, from, _)| from as i32)).collect(), weights, taps }
    }
}

/// How pixels of a class are coloured: `Ink` in `overlay.cu`.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Ink {
    /// Share of the frame, of 256.
    pub(crate) keep: i32,
    /// What is added to red, green and blue, of 256.
    pub(crate) add: [i32; 3],
    /// Colour of the line around the class; the fourth is unused.
    pub(crate) border: [u8; 4],
}
