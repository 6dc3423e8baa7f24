use yuv::{YuvRange, YuvStandardMatrix};

use super::PixelFormat;

/// SMPTE 240M by its definition: the table that the converters have under this name has red and blue exchanged.
pub(super) const MATRIX_240M: YuvStandardMatrix = YuvStandardMatrix::Custom(0.212, 0.087);

/// How the numbers of a picture become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Color {
    /// Weights of luma and chroma.
    pub(crate) matrix: YuvStandardMatrix,
    /// Whether black is 16 or 0, and white 235 or 255.
    pub(crate) range: YuvRange,
}

impl Color {
    /// What JPEG files have, and pictures of which nothing is known.
    pub const BT601_LIMITED: Self = Self { matrix: YuvStandardMatrix::Bt601, range: YuvRange::Limited };

    /// From V4L2's numbers `colorspace`, `ycbcr_enc` and `quantization`; 0 is the default, and the defaults follow `V4L2_MAP_YCBCR_ENC_DEFAULT`
    /// and `V4L2_MAP_QUANTIZATION_DEFAULT` of the kernel's header.
    pub(crate) fn from_v4l2(format: PixelFormat, colorspace: u32, encoding: u32, quantization: u32) -> Self {
        const SMPTE240M: u32 = 2;
        const REC709: u32 = 3;
        const JPEG: u32 = 7;
        const BT2020: u32 = 10;
        const DCI_P3: u32 = 12;
        let matrix = match (encoding, colorspace) {
            (1 | 3 | 5, _) => YuvStandardMatrix::Bt601,
            (2 | 4, _) | (0, REC709 | DCI_P3) => YuvStandardMatrix::Bt709,
            (6 | 7, _) | (0, BT2020) => YuvStandardMatrix::Bt2020,
            (8, _) | (0, SMPTE240M) => MATRIX_240M,
            _ => YuvStandardMatrix::Bt601,
        };
        // Grey counts as RGB here, as in the kernel's own pattern generator.
        let without_chroma = matches!(format, PixelFormat::Rgb24 | PixelFormat::Bgr24 | PixelFormat::Grey);
        let range = match quantization {
            1 => YuvRange::Full,
            2 => YuvRange::Limited,
            _ if without_chroma || colorspace == JPEG => YuvRange::Full,
            _ => YuvRange::Limited,
        };
        Self { matrix, range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_kernel() {
        let of = |format, colorspace, encoding, quantization| {
            let color = Color::from_v4l2(format, colorspace, encoding, quantization);
            (color.matrix, color.range)
        };
        use PixelFormat::{Grey, Rgb24, Yuyv};
        assert_eq!(of(Yuyv, 8, 0, 0), (YuvStandardMatrix::Bt601, YuvRange::Limited));
        assert_eq!(of(Yuyv, 3, 0, 0), (YuvStandardMatrix::Bt709, YuvRange::Limited));
        assert_eq!(of(Yuyv, 7, 0, 0), (YuvStandardMatrix::Bt601, YuvRange::Full));
        assert_eq!(of(Yuyv, 10, 0, 1), (YuvStandardMatrix::Bt2020, YuvRange::Full));
        assert_eq!(of(Yuyv, 8, 2, 2), (YuvStandardMatrix::Bt709, YuvRange::Limited));
        assert_eq!(of(Yuyv, 3, 1, 0), (YuvStandardMatrix::Bt601, YuvRange::Limited));
        assert_eq!(of(Yuyv, 2, 0, 0), (MATRIX_240M, YuvRange::Limited));
        assert_eq!(of(Rgb24, 8, 0, 0).1, YuvRange::Full);
        assert_eq!(of(Rgb24, 8, 0, 2).1, YuvRange::Limited);
        assert_eq!(of(Grey, 8, 0, 0).1, YuvRange::Full);
        assert_eq!(of(Yuyv, u32::MAX, u32::MAX, u32::MAX), (YuvStandardMatrix::Bt601, YuvRange::Limited));
    }
}
