use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Pixels to draw on; what lies outside is left out.
pub(super) struct Canvas<'a> {
    pub(super) rgb: &'a mut [u8],
    pub(super) width: usize,
    pub(super) height: usize,
}

/// A size of the font.
#[derive(Debug, Clone, Copy)]
pub(super) struct Font(RasterHeight);

impl Font {
    /// The size that reads well on a picture of this height.
    pub(super) fn for_height(height_px: usize) -> Self {
        Self(match height_px {
            0..600 => RasterHeight::Size16,
            600..900 => RasterHeight::Size20,
            900..1300 => RasterHeight::Size24,
            _ => RasterHeight::Size32,
        })
    }

    /// Height of a line.
    pub(super) fn line_px(self) -> usize {
        self.0 as usize
    }

    /// Width of a character.
    pub(super) fn char_px(self) -> usize {
        get_raster_width(FontWeight::Regular, self.0)
    }
}

impl Canvas<'_> {
    /// Mixes a colour into a rectangle; `alpha` 256 covers.
    pub(super) fn fill(&mut self, (left, top): (usize, usize), (width, height): (usize, usize), color: [u8; 3], alpha: u16) {
        for y in top..(top + height).min(self.height) {
            for x in left..(left + width).min(self.width) {
                self.mix(x, y, color, alpha);
            }
        }
    }

    /// Writes a line of text from its upper left corner; characters that the font has not are written as `?`.
    pub(super) fn text(&mut self, (left, top): (usize, usize), font: Font, text: &str, color: [u8; 3]) {
        let fallback = get_raster('?', FontWeight::Regular, font.0);
        for (place, character) in text.chars().enumerate() {
            let Some(glyph) = get_raster(character, FontWeight::Regular, font.0).or(fallback) else { continue };
            for (y, row) in glyph.rows().enumerate() {
                for (x, &coverage) in row.iter().enumerate() {
                    self.mix(left + place * font.char_px() + x, top + y, color, u16::from(coverage) + u16::from(coverage >> 7));
                }
            }
        }
    }

    fn mix(&mut self, x: usize, y: usize, color: [u8; 3], alpha: u16) {
        if x < self.width && y < self.height {
            let pixel = &mut self.rgb.as_chunks_mut::<3>().0[y * self.width + x];
            *pixel = std::array::from_fn(|c| ((u16::from(pixel[c]) * (256 - alpha) + u16::from(color[c]) * alpha) >> 8) as u8);
        }
    }
}
