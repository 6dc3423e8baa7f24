use std::fmt;

use amis_artifacts::image_spec::MAX_FRAME_PX;

use super::Color;

/// How the pixels of a picture are stored; the names are V4L2's. The numbers are those of `runtime/kernels/frame.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum PixelFormat {
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
    /// Red, green, blue.
    Rgb24,
    /// Blue, green, red.
    Bgr24,
    /// Luma alone.
    Grey,
    /// A JPEG a frame.
    Mjpeg,
}

impl PixelFormat {
    /// All, the one that costs least to use first: a camera is asked for the first that it has.
    pub(crate) const ALL: [Self; 9] = [Self::Yuyv, Self::Uyvy, Self::Nv12, Self::Nv21, Self::Yu12, Self::Rgb24, Self::Bgr24, Self::Mjpeg, Self::Grey];

    /// Name for people and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Yuyv => "YUYV",
            Self::Uyvy => "UYVY",
            Self::Nv12 => "NV12",
            Self::Nv21 => "NV21",
            Self::Yu12 => "YU12",
            Self::Rgb24 => "RGB24",
            Self::Bgr24 => "BGR24",
            Self::Grey => "GREY",
            Self::Mjpeg => "MJPEG",
        }
    }

    /// The four letters that V4L2 has for it.
    pub(crate) fn fourcc(self) -> [u8; 4] {
        match self {
            Self::Yuyv => *b"YUYV",
            Self::Uyvy => *b"UYVY",
            Self::Nv12 => *b"NV12",
            Self::Nv21 => *b"NV21",
            Self::Yu12 => *b"YU12",
            Self::Rgb24 => *b"RGB3",
            Self::Bgr24 => *b"BGR3",
            Self::Grey => *b"GREY",
            Self::Mjpeg => *b"MJPG",
        }
    }

    /// The format with these four letters, if it is one of ours.
    pub(crate) fn from_fourcc(letters: [u8; 4]) -> Option<Self> {
        if &letters == b"JPEG" { Some(Self::Mjpeg) } else { Self::ALL.into_iter().find(|format| format.fourcc() == letters) }
    }

    /// The size to ask for, where a driver would grant an odd one: with 4:2:0 it would leave out chroma of the last line, each driver in its own way.
    pub(crate) fn whole_pairs(self, (width_px, height_px): (u32, u32)) -> (u32, u32) {
        let pairs = matches!(self, Self::Nv12 | Self::Nv21 | Self::Yu12);
        if pairs { (width_px.next_multiple_of(2), height_px & !1) } else { (width_px, height_px) }
    }

    /// Bytes of one row of a plane, without padding; none for a plane that it has not.
    fn row_bytes(self, plane: usize, width_px: u32) -> Option<usize> {
        let (width, pairs) = (width_px as usize, width_px.div_ceil(2) as usize);
        match (self, plane) {
            (Self::Yuyv | Self::Uyvy, 0) => Some(4 * pairs),
            (Self::Rgb24 | Self::Bgr24, 0) => Some(3 * width),
            (Self::Grey | Self::Nv12 | Self::Nv21 | Self::Yu12, 0) => Some(width),
            (Self::Nv12 | Self::Nv21, 1) => Some(2 * pairs),
            (Self::Yu12, 1 | 2) => Some(pairs),
            _ => None,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a plane lies in the picture's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plane {
    /// From the start of the picture to its first row.
    pub(crate) offset_bytes: usize,
    /// From the start of a row to the start of the next one.
    pub(crate) stride_bytes: usize,
}

/// Where a picture's pixels lie in its bytes, and what they mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    /// How pixels are stored.
    pub(crate) format: PixelFormat,
    /// Width.
    pub(crate) width_px: u32,
    /// Height.
    pub(crate) height_px: u32,
    /// As many as the format has; MJPEG has none.
    pub(crate) planes: [Plane; 3],
    /// What the numbers mean; JPEG knows that by itself.
    pub(crate) color: Color,
}

impl Layout {
    /// V4L2's rule: planes follow each other without a gap, all with the stride of the first, halved where a row has half the bytes. A stride of 0
    /// means rows without padding.
    ///
    /// # Errors
    /// A size or a stride that cannot be; the text says what was found and what was expected.
    pub fn new(format: PixelFormat, (width_px, height_px): (u32, u32), stride_bytes: usize, color: Color) -> Result<Self, String> {
        if !(1..=MAX_FRAME_PX).contains(&width_px) || !(1..=MAX_FRAME_PX).contains(&height_px) {
            return Err(format!("{width_px}x{height_px} pixels, expected 1x1 to {MAX_FRAME_PX}x{MAX_FRAME_PX}"));
        }
        let row_bytes = format.row_bytes(0, width_px).unwrap_or(0);
        let stride = if stride_bytes == 0 { row_bytes } else { stride_bytes };
        if !(row_bytes..=16 * MAX_FRAME_PX as usize).contains(&stride) {
            return Err(format!("{stride} bytes a row, expected {row_bytes} or a few more for {width_px} pixels of {format}"));
        }
        let chroma_stride = match format {
            PixelFormat::Yu12 => stride.div_ceil(2),
            // An odd width without padding: a row of pairs is a byte longer than a row of luma.
            _ => stride.max(format.row_bytes(1, width_px).unwrap_or(0)),
        };
        let (chroma, chroma_rows) = (stride * height_px as usize, height_px.div_ceil(2) as usize);
        let planes = [
            Plane { offset_bytes: 0, stride_bytes: stride },
            Plane { offset_bytes: chroma, stride_bytes: chroma_stride },
            Plane { offset_bytes: chroma + chroma_stride * chroma_rows, stride_bytes: chroma_stride },
        ];
        Ok(Self { format, width_px, height_px, planes, color })
    }

    /// The fewest bytes that hold the picture: the last row needs no padding. 0 for MJPEG.
    pub(crate) fn needed_bytes(&self) -> usize {
        self.end(|plane, row| plane.stride_bytes * (self.rows(plane) - 1) + row)
    }

    /// Bytes with padding after every row, the last one too.
    pub fn full_bytes(&self) -> usize {
        self.end(|plane, _| plane.stride_bytes * self.rows(plane))
    }

    /// The bytes of a plane, with padding after every row and no more: the converters take what is behind for a row of an odd height.
    pub(super) fn plane<'a>(&self, index: usize, bytes: &'a [u8]) -> &'a [u8] {
        let plane = &self.planes[index];
        &bytes[plane.offset_bytes..plane.offset_bytes + plane.stride_bytes * self.rows(plane)]
    }

    fn end(&self, bytes: impl Fn(&Plane, usize) -> usize) -> usize {
        let ends = self.planes.iter().enumerate().filter_map(|(i, plane)| Some(plane.offset_bytes + bytes(plane, self.format.row_bytes(i, self.width_px)?)));
        ends.max().unwrap_or(0)
    }

    fn rows(&self, plane: &Plane) -> usize {
        // Only luma starts at 0, and only 4:2:0 has other planes.
        if plane.offset_bytes == 0 { self.height_px as usize } else { self.height_px.div_ceil(2) as usize }
    }
}
