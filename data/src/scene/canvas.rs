//! Shapes painted into an image and its label map at once, so that both always agree.

use super::random::{cell, hash, signed};

/// Red, green, blue, 0..255.
pub(super) type Color = [f32; 3];

/// What a shape is filled with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ink {
    pub(super) label: u8,
    pub(super) color: Color,
    /// Strength of the texture, in grey levels.
    pub(super) grain: f32,
    /// Side of one grain.
    pub(super) grain_px: f32,
    /// Point that the texture is fixed to, so that it moves with its object.
    pub(super) anchor: (f32, f32),
}

/// An image with labels, both row by row.
pub(super) struct Canvas<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: &'a mut [u8],
    pub(super) labels: &'a mut [u8],
}

impl Canvas<'_> {
    /// Pixels whose centre lies in `from..to`, cut to `0..limit`.
    pub(super) fn cells(from: f32, to: f32, limit: usize) -> std::ops::Range<usize> {
        // Float to integer casts saturate: far outside becomes 0 or the limit.
        let edge = |at: f32| ((at - 0.5).ceil().max(0.0) as usize).min(limit);
        let start = edge(from);
        start..edge(to).max(start)
    }

    #[inline]
    pub(super) fn put(&mut self, x: usize, y: usize, label: u8, color: Color) {
        let at = y * self.width + x;
        self.labels[at] = label;
        self.rgb[at * 3..at * 3 + 3].copy_from_slice(&color.map(|v| v as u8));
    }

    fn span(&mut self, y: usize, from: f32, to: f32, ink: &Ink) {
        let grains = 1.0 / ink.grain_px;
        let row = cell((y as f32 + 0.5 - ink.anchor.1) * grains);
        for x in Self::cells(from, to, self.width) {
            let column = cell((x as f32 + 0.5 - ink.anchor.0) * grains);
            let grain = signed(hash(row, column)) * ink.grain;
            self.put(x, y, ink.label, ink.color.map(|v| v + grain));
        }
    }

    /// A figure with horizontal top and bottom: (left, right) at the top and at the bottom.
    pub(super) fn trapezoid(&mut self, top: f32, bottom: f32, at_top: (f32, f32), at_bottom: (f32, f32), ink: &Ink) {
        for y in Self::cells(top, bottom, self.height) {
            let part = (y as f32 + 0.5 - top) / (bottom - top);
            let edge = |a: f32, b: f32| a + (b - a) * part;
            self.span(y, edge(at_top.0, at_bottom.0), edge(at_top.1, at_bottom.1), ink);
        }
    }

    pub(super) fn rect(&mut self, left: f32, top: f32, right: f32, bottom: f32, ink: &Ink) {
        self.trapezoid(top, bottom, (left, right), (left, right), ink);
    }

    pub(super) fn ellipse(&mut self, x: f32, y: f32, radius_x: f32, radius_y: f32, ink: &Ink) {
        for row in Self::cells(y - radius_y, y + radius_y, self.height) {
            let part = (row as f32 + 0.5 - y) / radius_y;
            let half = radius_x * (1.0 - part * part).max(0.0).sqrt();
            self.span(row, x - half, x + half, ink);
        }
    }

    /// Darkens what is there, labels stay: a shadow on the ground.
    pub(super) fn shadow(&mut self, x: f32, y: f32, radius_x: f32, radius_y: f32) {
        for row in Self::cells(y - radius_y, y + radius_y, self.height) {
            let part = (row as f32 + 0.5 - y) / radius_y;
            let half = radius_x * (1.0 - part * part).max(0.0).sqrt();
            let cells = Self::cells(x - half, x + half, self.width);
            let start = row * self.width;
            for value in &mut self.rgb[(start + cells.start) * 3..(start + cells.end) * 3] {
                *value = (u32::from(*value) * 140 / 256) as u8;
            }
        }
    }
}
