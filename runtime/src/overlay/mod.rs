//! The picture for people: class colours over the frame, borders, and a legend.

mod canvas;
mod legend;

use amis_artifacts::classes::{BACKGROUND, ClassList, IGNORE, palette_color};

use crate::source::Frame;
use canvas::Canvas;
use legend::Legend;

/// An RGB picture.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Pixels, `height_px * width_px * 3` bytes.
    pub rgb: Vec<u8>,
    /// Width.
    pub width_px: u32,
    /// Height.
    pub height_px: u32,
}

/// Draws overlays of one model; keeps its buffers between frames.
pub struct Overlay {
    inks: Box<[Ink; 256]>,
    legend: Legend,
    picture: Picture,
}

/// How pixels of a class are coloured: `(frame * keep + add) / 256`.
#[derive(Clone, Copy)]
struct Ink {
    keep: u16,
    add: [u16; 3],
    border: [u8; 3],
}

/// Side of the squares of the pattern over regions that the network has not seen.
const HATCH_PX: usize = 4;

impl Overlay {
    /// Overlays with this opacity (0: only the frame, 1: only colours) and title, usually name and version of the model.
    ///
    /// Background is left as it is, and what the network has not seen is hatched.
    pub fn new(classes: ClassList, title: &str, opacity: f32) -> Self {
        let alpha = (opacity.clamp(0.0, 1.0) * 256.0).round() as u16;
        let ink = |id: usize| {
            let border = classes.get(id as u8).map_or(palette_color(id as u8), |c| c.color);
            let alpha = if id == usize::from(BACKGROUND) { 0 } else { alpha };
            Ink { keep: 256 - alpha, add: border.map(|c| u16::from(c) * alpha), border }
        };
        let mut inks: Box<[Ink; 256]> = Box::new(std::array::from_fn(ink));
        inks[usize::from(IGNORE)] = Ink { keep: 96, add: [0; 3], border: [0; 3] };
        Self { inks, legend: Legend::new(classes, title), picture: Picture::default() }
    }

    /// Draws a frame with its class map (`width_px * height_px` ids) and the frame rate. The picture lives until the next call.
    ///
    /// Small frames get the legend on a panel at their right, so that it hides nothing; the picture is wider than the frame then.
    pub fn draw(&mut self, frame: &Frame, map: &[u8], fps: f64) -> &Picture {
        let (width, height) = (frame.width_px as usize, frame.height_px as usize);
        let place = self.legend.place(width, height);
        let stride = width + place.panel_width_px;
        (self.picture.width_px, self.picture.height_px) = (stride as u32, frame.height_px);
        self.picture.rgb.resize(stride * height * 3, 0);
        for (y, (line, ids)) in frame.rgb.chunks_exact(width * 3).zip(map.chunks_exact(width)).enumerate() {
            let below = map.get((y + 1) * width..(y + 2) * width).unwrap_or(ids);
            self.blend(y, line, ids, below, stride);
        }
        let mut canvas = Canvas { rgb: &mut self.picture.rgb, width: stride, height };
        self.legend.draw(&mut canvas, place, map, fps);
        &self.picture
    }

    /// Colours one line of the frame into the picture.
    fn blend(&mut self, y: usize, line: &[u8], ids: &[u8], below: &[u8], stride: usize) {
        let out = &mut self.picture.rgb[y * stride * 3..][..line.len()];
        let right = ids[1..].iter().chain(ids.last());
        let pixels = line.as_chunks::<3>().0.iter().zip(out.as_chunks_mut::<3>().0);
        for ((x, (from, to)), ((&id, &right), &below)) in pixels.enumerate().zip(ids.iter().zip(right).zip(below)) {
            let ink = &self.inks[usize::from(id)];
            if id != right || id != below {
                let other = if id == right { below } else { right };
                // A line against the background has the colour of what it surrounds.
                *to = self.inks[usize::from(if id == BACKGROUND { other } else { id })].border;
            } else if id == IGNORE && (x / HATCH_PX + y / HATCH_PX).is_multiple_of(2) {
                *to = *from;
            } else {
                *to = std::array::from_fn(|c| ((u16::from(from[c]) * ink.keep + ink.add[c]) >> 8) as u8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn overlay(opacity: f32) -> Overlay {
        Overlay::new(ClassList::from_names(&["background", "road"]).unwrap(), "yard 3", opacity)
    }

    fn grey(width_px: u32, height_px: u32) -> Frame {
        Frame { rgb: vec![100; (width_px * height_px * 3) as usize], width_px, height_px, ..Frame::default() }
    }

    fn pixel(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
        picture.rgb.as_chunks().0[(y * picture.width_px + x) as usize]
    }

    #[test]
    fn classes_are_tinted_and_background_is_not() {
        let mut map = vec![0; 64 * 64];
        map[64 * 32..].fill(1);
        let mut overlay = overlay(0.5);
        let picture = overlay.draw(&grey(64, 64), &map, 0.0);
        assert_eq!(pixel(picture, 5, 5), [100; 3]);
        // Half of 100 and half of the palette's [128, 0, 0].
        assert_eq!(pixel(picture, 5, 50), [114, 50, 50]);
        assert_eq!(pixel(picture, 5, 31), [128, 0, 0]);
    }

    #[test]
    fn what_was_not_seen_is_hatched() {
        let mut overlay = overlay(0.5);
        let picture = overlay.draw(&grey(64, 64), &[IGNORE; 64 * 64], 0.0);
        assert_eq!((pixel(picture, 0, 0), pixel(picture, 4, 0)), ([100; 3], [37; 3]));
    }

    #[test]
    fn a_small_frame_keeps_all_its_pixels_beside_the_panel() {
        let mut overlay = overlay(0.5);
        let picture = overlay.draw(&grey(240, 180), &[0; 240 * 180], 12.0);
        assert!(picture.width_px > 240 && picture.height_px == 180);
        assert!((0..180).all(|y| (0..240).all(|x| pixel(picture, x, y) == [100; 3])));
    }

    #[test]
    fn any_size_can_be_drawn() {
        for (width, height) in [(1, 1), (1, 500), (500, 1), (17, 33), (640, 16), (2000, 30), (30, 2000)] {
            let map = vec![1; (width * height) as usize];
            let mut overlay = overlay(0.7);
            let picture = overlay.draw(&grey(width, height), &map, 1e9);
            assert_eq!(picture.rgb.len(), (picture.width_px * picture.height_px * 3) as usize);
        }
    }
}
