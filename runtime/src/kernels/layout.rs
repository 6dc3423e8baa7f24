//! What the kernels are given: structures of C, and tables of weights that are the same for every frame.

use amis_artifacts::image_spec::{ChannelOrder, ImageSpec};

use crate::Result;

/// How the pixels of a frame are stored; the letters are V4L2's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Format {
    /// Red, green, blue.
    Rgb24,
    /// Blue, green, red.
    Bgr24,
    /// Luma alone.
    Grey,
    /// 4:2:2, `Y U Y V`.
    Yuyv,
    /// 4:2:2, `U Y V Y`.
    Uyvy,
    /// 4:2:0, a plane of luma, a plane of `U V`.
    Nv12,
    /// 4:2:0, a plane of luma, a plane of `V U`.
    Nv21,
    /// 4:2:0, three planes.
    Yu12,
}

/// Shares of red and blue in luma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix {
    /// Share of red.
    pub red: f64,
    /// Share of blue.
    pub blue: f64,
}

impl Matrix {
    /// BT.601: cameras of standard definition, JPEG.
    pub const BT601: Self = Self { red: 0.299, blue: 0.114 };
    /// BT.709: high definition.
    pub const BT709: Self = Self { red: 0.2126, blue: 0.0722 };
}

/// Where the pixels of a frame lie and what their numbers mean: `Frame` in `frame.cuh`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct FrameLayout {
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
    /// RGB without padding, as pictures are decoded.
    pub fn rgb(width_px: u32, height_px: u32) -> Self {
        Self::new(Format::Rgb24, (width_px, height_px), 0, Matrix::BT601, true)
    }

    /// A frame whose planes follow each other without a gap, all with the stride of the first, halved in YU12. A stride of 0 means rows without
    /// padding. `full_range`: black is 0 and white 255, not 16 and 235.
    pub fn new(format: Format, (width_px, height_px): (u32, u32), stride_bytes: u32, matrix: Matrix, full_range: bool) -> Self {
        let pairs = width_px.div_ceil(2);
        let row_bytes = match format {
            Format::Rgb24 | Format::Bgr24 => 3 * width_px,
            Format::Yuyv | Format::Uyvy => 4 * pairs,
            Format::Grey | Format::Nv12 | Format::Nv21 | Format::Yu12 => width_px,
        };
        let stride = if stride_bytes == 0 { row_bytes } else { stride_bytes };
        let chroma_stride = if format == Format::Yu12 { stride.div_ceil(2) } else { stride.max(2 * pairs) };
        let chroma = stride * height_px;
        let (black, gain, chroma_gain) = if full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        let Matrix { red, blue } = matrix;
        let green = 1.0 - red - blue;
        Self {
            format: format as i32,
            width_px: width_px as i32,
            height_px: height_px as i32,
            stride_bytes: stride as i32,
            chroma_stride_bytes: chroma_stride as i32,
            chroma_bytes: [chroma as i32, (chroma + chroma_stride * height_px.div_ceil(2)) as i32],
            black,
            gain,
            red_v: (2.0 * (1.0 - red) * chroma_gain) as f32,
            green_u: (-2.0 * (1.0 - blue) * blue / green * chroma_gain) as f32,
            green_v: (-2.0 * (1.0 - red) * red / green * chroma_gain) as f32,
            blue_u: (2.0 * (1.0 - blue) * chroma_gain) as f32,
        }
    }

    /// Bytes of a whole frame, padding included.
    pub fn bytes(&self) -> usize {
        let rows = |rows: i32, stride: i32| rows as usize * stride as usize;
        let (luma, half) = (rows(self.height_px, self.stride_bytes), (self.height_px + 1) / 2);
        let planes = [Format::Nv12, Format::Nv21].iter().filter(|&&f| f as i32 == self.format).count() + 2 * usize::from(self.format == Format::Yu12 as i32);
        luma + planes * rows(half, self.chroma_stride_bytes)
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
