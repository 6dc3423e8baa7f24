//! Logits `[C, h, w]` to class ids at any size: bilinear interpolation and argmax in one pass, no full-size logits.
//!
//! The interpolation is PyTorch's `interpolate(..., mode="bilinear", align_corners=False)`.

mod axis;

use amis_artifacts::classes::{IGNORE, MAX_CLASSES};
use amis_artifacts::image_spec::ImageSpec;

use crate::{Error, Result};
use axis::{Axis, Cell};

/// Turns network outputs of one shape into class maps of one size; keeps its tables and buffers between frames.
pub struct ClassMapper {
    /// `[C, h, w]`.
    shape: [usize; 3],
    rows: Axis,
    columns: Axis,
    /// Class with the largest logit at each low-resolution position `[h, w]`.
    winners: Vec<u8>,
    /// Classes that may be largest somewhere in a cell.
    rivals: Vec<u8>,
    /// Largest value so far and its class, along one cell's columns.
    best: Vec<f32>,
    best_class: Vec<u32>,
}

impl ClassMapper {
    /// Maps logits `[C, h, w]` that cover a whole picture to `width_px * height_px` class ids.
    ///
    /// # Errors
    /// A size is 0, or there are more classes than labels have values.
    pub fn new(shape: [usize; 3], width_px: u32, height_px: u32) -> Result<Self> {
        Self::with_axes(shape, Axis::resize(shape[1], height_px), Axis::resize(shape[2], width_px))
    }

    /// Maps logits of a network input back to the frame that was fitted into it: a letterbox's borders are dropped, and what a crop cut off is
    /// [`IGNORE`], because the network has not seen it.
    ///
    /// # Errors
    /// As [`Self::new`], or a frame that the specification cannot place.
    pub fn for_frame(shape: [usize; 3], spec: &ImageSpec, frame_width_px: u32, frame_height_px: u32) -> Result<Self> {
        let place = spec.place(frame_width_px, frame_height_px)?;
        let rows = Axis::placed(shape[1], spec.height_px, place.scaled_height_px, place.top_px, frame_height_px);
        let columns = Axis::placed(shape[2], spec.width_px, place.scaled_width_px, place.left_px, frame_width_px);
        Self::with_axes(shape, rows, columns)
    }

    fn with_axes(shape: [usize; 3], rows: Axis, columns: Axis) -> Result<Self> {
        let [classes, h, w] = shape;
        if classes == 0 || classes > MAX_CLASSES || h == 0 || w == 0 || rows.len() == 0 || columns.len() == 0 {
            let reason = format!("logits {shape:?} to {}x{} pixels; expected 1 to {MAX_CLASSES} classes and no size of 0", columns.len(), rows.len());
            return Err(Error::Logits { reason });
        }
        let longest = columns.cells().iter().map(Cell::len).max().unwrap_or(0);
        Ok(Self { shape, rows, columns, winners: vec![0; h * w], rivals: Vec::new(), best: vec![0.0; longest], best_class: vec![0; longest] })
    }

    /// Width of the class map.
    pub fn width_px(&self) -> usize {
        self.columns.len()
    }

    /// Height of the class map.
    pub fn height_px(&self) -> usize {
        self.rows.len()
    }

    /// For every row and every column of the map the position of the logits before it, -1 where there is none, and the share of the one behind it.
    pub(crate) fn tables(&self) -> [(Vec<i32>, &[f32]); 2] {
        [&self.rows, &self.columns].map(|axis| (axis.lows(), axis.weights()))
    }

    /// Class ids of `logits` `[C, h, w]`, `width_px * height_px` bytes into `map`. Of equal values the lower id wins.
    ///
    /// # Errors
    /// `logits` has another length, or holds a value that is not a number.
    pub fn run(&mut self, logits: &[f32], map: &mut Vec<u8>) -> Result<()> {
        let [classes, h, w] = self.shape;
        if logits.len() != classes * h * w {
            return Err(Error::Logits { reason: format!("{} values, expected {} for {:?}", logits.len(), classes * h * w, self.shape) });
        }
        argmax(logits, &mut self.winners, &mut self.best)?;
        map.clear();
        map.resize(self.width_px() * self.height_px(), IGNORE);
        let Self { rows, columns, winners, rivals, best, best_class, .. } = self;
        let width = columns.len();
        for row in rows.cells() {
            for column in columns.cells() {
                find_rivals(logits, winners, [row.low, row.high].map(|y| [column.low, column.high].map(|x| y * w + x)), rivals);
                for y in row.pixels() {
                    let line = &mut map[y * width..][column.pixels()];
                    if let [only] = rivals[..] {
                        line.fill(only);
                        continue;
                    }
                    let ends = |class: u8| {
                        let at = |x: usize| interpolate(rows.weights()[y], [row.low, row.high].map(|y| logits[(usize::from(class) * h + y) * w + x]));
                        [at(column.low), at(column.high)]
                    };
                    let rivals = rivals.iter().map(|&class| (class, ends(class)));
                    largest(rivals, &columns.weights()[column.pixels()], &mut best[..line.len()], &mut best_class[..line.len()]);
                    line.iter_mut().zip(&*best_class).for_each(|(to, &class)| *to = class as u8);
                }
            }
        }
        Ok(())
    }
}

/// Classes that can be largest between four corners, in order: those that no winner of a corner exceeds at every corner.
fn find_rivals(logits: &[f32], winners: &[u8], corners: [[usize; 2]; 2], rivals: &mut Vec<u8>) {
    let corners = corners.as_flattened();
    let plane = winners.len();
    rivals.clear();
    let first = winners[corners[0]];
    if corners.iter().all(|&at| winners[at] == first) {
        return rivals.push(first);
    }
    let value = |class: u8, at: usize| logits[usize::from(class) * plane + at];
    for class in 0..(logits.len() / plane) as u8 {
        let exceeded = |by: u8| corners.iter().all(|&at| value(by, at) > value(class, at));
        if !corners.iter().any(|&at| exceeded(winners[at])) {
            rivals.push(class);
        }
    }
}

/// Class with the largest value at each of the pixels along a line, from each class's values at both ends.
fn largest(rivals: impl Iterator<Item = (u8, [f32; 2])>, weights: &[f32], best: &mut [f32], best_class: &mut [u32]) {
    best.fill(f32::NEG_INFINITY);
    for (class, ends) in rivals {
        for ((best, best_class), &weight) in best.iter_mut().zip(best_class.iter_mut()).zip(weights) {
            let value = interpolate(weight, ends);
            let better = value > *best;
            *best = if better { value } else { *best };
            *best_class = if better { u32::from(class) } else { *best_class };
        }
    }
}

fn interpolate(weight: f32, [low, high]: [f32; 2]) -> f32 {
    (1.0 - weight) * low + weight * high
}

/// Class with the largest value at each position of `[C, h, w]`; `best` is working space.
fn argmax(logits: &[f32], winners: &mut [u8], best: &mut Vec<f32>) -> Result<()> {
    let plane = winners.len();
    let room = best.len().max(plane);
    best.resize(room, 0.0);
    let best = &mut best[..plane];
    best.fill(f32::NEG_INFINITY);
    winners.fill(0);
    let mut finite = true;
    for (class, values) in logits.chunks_exact(plane).enumerate() {
        for ((best, winner), &value) in best.iter_mut().zip(winners.iter_mut()).zip(values) {
            finite &= value.is_finite();
            if value > *best {
                (*best, *winner) = (value, class as u8);
            }
        }
    }
    if finite { Ok(()) } else { Err(Error::Logits { reason: "it holds values that are not finite numbers".into() }) }
}

/// Class ids of logits `[C, h, w]` at `height_px` by `width_px`. For one picture; [`ClassMapper`] keeps its tables for many.
///
/// # Errors
/// As [`ClassMapper`].
pub fn class_map(logits: &[f32], shape: [usize; 3], width_px: u32, height_px: u32) -> Result<Vec<u8>> {
    let mut map = Vec::new();
    ClassMapper::new(shape, width_px, height_px)?.run(logits, &mut map)?;
    Ok(map)
}

/// Class ids at the size of a frame that was fitted into the network's input by `spec`.
///
/// # Errors
/// As [`ClassMapper`].
pub fn class_map_for_frame(logits: &[f32], shape: [usize; 3], spec: &ImageSpec, frame_width_px: u32, frame_height_px: u32) -> Result<Vec<u8>> {
    let mut map = Vec::new();
    ClassMapper::for_frame(shape, spec, frame_width_px, frame_height_px)?.run(logits, &mut map)?;
    Ok(map)
}

/// Logits `[C, h, w]` interpolated to `[C, height_px, width_px]`, for comparing full-size outputs.
///
/// # Errors
/// A size is 0, or `logits` has another length than `shape` says.
pub fn upsample(logits: &[f32], shape: [usize; 3], width_px: u32, height_px: u32) -> Result<Vec<f32>> {
    let [classes, h, w] = shape;
    if logits.is_empty() || logits.len() != classes * h * w || width_px == 0 || height_px == 0 {
        let reason =
            format!("{} values of shape {shape:?} to {width_px}x{height_px} pixels; expected as many values as the shape says and no size of 0", logits.len());
        return Err(Error::Logits { reason });
    }
    let (rows, columns) = (Axis::resize(h, height_px), Axis::resize(w, width_px));
    let mut out = Vec::with_capacity(classes * rows.len() * columns.len());
    for plane in logits.chunks_exact(h * w) {
        for row in rows.cells() {
            for &weight in &rows.weights()[row.pixels()] {
                for column in columns.cells() {
                    let ends = [column.low, column.high].map(|x| interpolate(weight, [row.low, row.high].map(|y| plane[y * w + x])));
                    out.extend(columns.weights()[column.pixels()].iter().map(|&weight| interpolate(weight, ends)));
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
