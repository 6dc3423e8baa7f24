//! The picture for people: class colours over the frame, borders, and a legend.

mod canvas;
mod legend;

use amis_artifacts::classes::{BACKGROUND, ClassList, IGNORE, palette_color};

#[cfg(test)]
use crate::kernels;
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
    legend: Option<Legend>,
    picture: Picture,
}

/// How pixels of a class are coloured: `(frame * keep + add) / 256`.
#[derive(Clone, Copy)]
struct Ink {
    keep: u16,
    /// For red, green, blue of a block of pixels, so that a block is one loop over bytes.
    add: [u16; BLOCK_BYTES],
    border: [u8; 3],
}

/// Bytes that are coloured at once: 16 pixels.
const BLOCK_BYTES: usize = 48;
/// Side of the squares of the pattern over regions that the network has not seen.
const HATCH_PX: usize = 4;

impl Overlay {
    /// Overlays with this opacity (0: only the frame, 1: only colours) and title, usually name and version of the model.
    ///
    /// Background is left as it is, and what the network has not seen is hatched.
    pub fn new(classes: &ClassList, title: &str, opacity: f32) -> Self {
        Self { legend: Some(Legend::new(classes.clone(), title)), ..Self::bare(classes, opacity) }
    }

    /// [`Self::new`] without a legend: pictures of the frame's size.
    pub fn bare(classes: &ClassList, opacity: f32) -> Self {
        let alpha = (opacity.clamp(0.0, 1.0) * 256.0).round() as u16;
        let ink = |id: usize| {
            let border = classes.get(id as u8).map_or(palette_color(id as u8), |c| c.color);
            let alpha = if id == usize::from(BACKGROUND) { 0 } else { alpha };
            Ink { keep: 256 - alpha, add: std::array::from_fn(|i| u16::from(border[i % 3]) * alpha), border }
        };
        let mut inks: Box<[Ink; 256]> = Box::new(std::array::from_fn(ink));
        inks[usize::from(IGNORE)] = Ink { keep: 96, add: [0; BLOCK_BYTES], border: [0; 3] };
        Self { inks, legend: None, picture: Picture::default() }
    }

    /// The colours as the kernels take them, by class id.
    #[cfg(test)]
    pub(crate) fn inks(&self) -> [kernels::Ink; 256] {
        let ink = |ink: Ink| kernels::Ink {
            keep: ink.keep.into(),
            add: std::array::from_fn(|c| ink.add[c].into()),
            border: [ink.border[0], ink.border[1], ink.border[2], 0],
        };
        self.inks.map(ink)
    }

    /// Draws a frame with its class map (`width_px * height_px` ids) and the frame rate. The picture lives until the next call.
    ///
    /// Small frames get the legend on a panel at their right, so that it hides nothing; the picture is wider than the frame then.
    pub fn draw(&mut self, frame: &Frame, map: &[u8], fps: f64) -> &Picture {
        let (width, height) = (frame.width_px as usize, frame.height_px as usize);
        let place = self.legend.as_ref().map(|legend| legend.place(width, height));
        let stride = width + place.map_or(0, |place| place.panel_width_px);
        (self.picture.width_px, self.picture.height_px) = (stride as u32, frame.height_px);
        self.picture.rgb.resize(stride * height * 3, 0);
        let mut counts = [0; 256];
        let lines = self.picture.rgb.chunks_exact_mut(stride * 3).zip(frame.rgb.chunks_exact(width * 3)).zip(map.chunks_exact(width));
        for (y, ((out, line), ids)) in lines.enumerate() {
            let out = &mut out[..width * 3];
            colour_line(&self.inks, y, line, ids, out, &mut counts);
            if let Some(below) = map.get((y + 1) * width..(y + 2) * width) {
                mark_edges(&self.inks, ids, below, out);
            }
        }
        if let Some((legend, place)) = self.legend.as_mut().zip(place) {
            legend.draw(&mut Canvas { rgb: &mut self.picture.rgb, width: stride, height }, place, &counts, fps);
        }
        &self.picture
    }
}

/// Colours a line of the frame, marks where classes meet in it, and counts its pixels by class.
fn colour_line(inks: &[Ink; 256], y: usize, line: &[u8], ids: &[u8], out: &mut [u8], counts: &mut [usize; 256]) {
    let mut start = 0;
    for run in ids.chunk_by(|a, b| a == b) {
        let (id, end) = (run[0], start + run.len());
        let ink = &inks[usize::from(id)];
        counts[usize::from(id)] += run.len();
        let (from, to) = (&line[start * 3..end * 3], &mut out[start * 3..end * 3]);
        ink.apply(from, to);
        if id == IGNORE {
            let pixels = from.as_chunks::<3>().0.iter().zip(to.as_chunks_mut::<3>().0);
            let light = pixels.enumerate().filter(|(x, _)| ((start + x) / HATCH_PX + y / HATCH_PX).is_multiple_of(2));
            light.for_each(|(_, (from, to))| *to = *from);
        }
        if let Some(&next) = ids.get(end) {
            out[end * 3 - 3..end * 3].copy_from_slice(&edge(inks, id, next));
        }
        start = end;
    }
}

/// Marks where a line and the one below it have different classes.
fn mark_edges(inks: &[Ink; 256], ids: &[u8], below: &[u8], out: &mut [u8]) {
    for (block, (ids, below)) in ids.chunks(64).zip(below.chunks(64)).enumerate().filter(|(_, (ids, below))| ids != below) {
        let out = &mut out.as_chunks_mut::<3>().0[block * 64..];
        for ((to, &id), &below) in out.iter_mut().zip(ids).zip(below).filter(|((_, id), below)| id != below) {
            *to = edge(inks, id, below);
        }
    }
}

/// Colour of the line between two classes; against background it is that of what it surrounds.
fn edge(inks: &[Ink; 256], id: u8, other: u8) -> [u8; 3] {
    inks[usize::from(if id == BACKGROUND { other } else { id })].border
}

impl Ink {
    /// Colours whole pixels.
    fn apply(&self, from: &[u8], to: &mut [u8]) {
        for (from, to) in from.chunks(BLOCK_BYTES).zip(to.chunks_mut(BLOCK_BYTES)) {
            for ((to, &from), &add) in to.iter_mut().zip(from).zip(&self.add) {
                // At most 255 * 256, so nothing wraps; said in this way it becomes vector code in every profile.
                *to = (u16::from(from).wrapping_mul(self.keep).wrapping_add(add) >> 8) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn overlay(opacity: f32) -> Overlay {
        Overlay::new(&ClassList::from_names(&["background", "road"]).unwrap(), "yard 3", opacity)
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
