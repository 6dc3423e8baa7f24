use std::ops::Range;

/// Target pixels along one side that lie between the same two source positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    /// Source position before the pixels.
    pub(super) low: usize,
    /// Source position after them; the same as `low` at the end.
    pub(super) high: usize,
    start: usize,
    end: usize,
}

impl Cell {
    pub(super) fn pixels(&self) -> Range<usize> {
        self.start..self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Where each target pixel along one side takes its value from, by PyTorch's rule for `align_corners=False`.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    cells: Vec<Cell>,
    /// Share of the cell's `high`, per target pixel.
    weights: Vec<f32>,
}

impl Axis {
    /// `source` positions resized to `target` pixels.
    pub(super) fn resize(source: usize, target: u32) -> Self {
        Self::new(source, target, |at| Some(at * source as f64 / f64::from(target)))
    }

    /// From a side of `source` positions that cover an input of `input` pixels, to the pixels of a frame that was scaled to `scaled` pixels
    /// and put at `offset` in the input. Pixels outside the input belong to no cell.
    pub(super) fn placed(source: usize, input: u32, scaled: u32, offset: i32, frame: u32) -> Self {
        Self::new(source, frame, |at| {
            let in_input = at * f64::from(scaled) / f64::from(frame) + f64::from(offset);
            (0.0..f64::from(input)).contains(&in_input).then(|| in_input * source as f64 / f64::from(input))
        })
    }

    /// `position` maps a pixel's centre to source coordinates, in which position `i` reaches from `i` to `i + 1`.
    fn new(source: usize, target: u32, position: impl Fn(f64) -> Option<f64>) -> Self {
        let mut cells: Vec<Cell> = Vec::new();
        let mut weights = vec![0.0; target as usize];
        let last = source.saturating_sub(1);
        for (pixel, weight) in weights.iter_mut().enumerate() {
            let Some(at) = position(pixel as f64 + 0.5) else { continue };
            // PyTorch clamps before the first centre to it; after the last one both neighbours are the last.
            let at = (at - 0.5).max(0.0);
            let low = (at as usize).min(last);
            *weight = (at - low as f64) as f32;
            match cells.last_mut() {
                Some(cell) if cell.low == low => cell.end = pixel + 1,
                _ => cells.push(Cell { low, high: (low + 1).min(last), start: pixel, end: pixel + 1 }),
            }
        }
        Self { cells, weights }
    }

    /// Number of target pixels.
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    pub(super) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Source position before every target pixel; -1 for those that belong to no cell.
    pub(super) fn lows(&self) -> Vec<i32> {
        let mut lows = vec![-1; self.len()];
        self.cells.iter().for_each(|cell| lows[cell.pixels()].fill(cell.low as i32));
        lows
    }

    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }
}
