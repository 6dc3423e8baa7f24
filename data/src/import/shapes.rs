//! What all formats are read into.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{EXPORT_AGAIN, annotation};
use crate::Result;

/// Largest coordinate: far outside any image, and safe to compute with.
const MAX_COORDINATE: f64 = 1e6;

/// An export, read.
#[derive(Debug, Default)]
pub(super) struct Export {
    pub(super) pictures: Vec<Picture>,
    /// Class names in the order that gives them ids where no list does.
    pub(super) class_names: Vec<String>,
    /// Annotations that are no regions, by kind.
    pub(super) left_out: BTreeMap<String, usize>,
    /// Whether small shapes are painted over large ones, whatever the order in the file.
    pub(super) large_first: bool,
}

/// An image with what was drawn on it.
#[derive(Debug)]
pub(super) struct Picture {
    /// File that describes it.
    pub(super) source: PathBuf,
    /// Its file name there, with `/` between folders.
    pub(super) file_name: String,
    /// Width and height there.
    pub(super) size: (u32, u32),
    /// In the order of painting: later ones cover earlier ones.
    pub(super) shapes: Vec<Shape>,
}

/// One annotation.
#[derive(Debug)]
pub(super) struct Shape {
    /// Where it stands in the file, for messages.
    pub(super) place: String,
    pub(super) class: String,
    pub(super) area: Area,
}

/// The pixels of an annotation.
#[derive(Debug)]
pub(super) enum Area {
    /// Closed polygons in pixels; pixel (0, 0) reaches from 0 to 1. One that lies wholly in the others is a hole.
    Rings(Vec<Ring>),
    /// A mask.
    Runs(Runs),
}

/// Corners of a closed polygon.
pub(super) type Ring = Vec<[f64; 2]>;

/// A mask in a box: lengths of alternating runs, outside first.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Whether runs go down the columns, as in COCO, or along the rows.
    pub(super) by_column: bool,
    pub(super) counts: Vec<u32>,
}

impl Picture {
    /// An error about one of its shapes.
    pub(super) fn wrong(&self, place: &str, reason: impl Into<String>) -> crate::Error {
        annotation(&self.source, format!("{place} on {}", self.file_name), reason, EXPORT_AGAIN)
    }

    /// Checks everything that painting relies on.
    ///
    /// # Errors
    /// Names the shape.
    pub(super) fn check(&self) -> Result<()> {
        for shape in &self.shapes {
            match &shape.area {
                Area::Rings(rings) => {
                    for ring in rings {
                        if ring.len() < 3 {
                            return Err(self.wrong(&shape.place, format!("a polygon of {} corners, expected at least 3", ring.len())));
                        }
                        if let Some(bad) = ring.iter().flatten().find(|v| !(-MAX_COORDINATE..=MAX_COORDINATE).contains(*v)) {
                            return Err(self.wrong(&shape.place, format!("a coordinate of {bad}")));
                        }
                    }
                }
                Area::Runs(runs) => {
                    let (sum, pixels) = (runs.counts.iter().map(|&n| u64::from(n)).sum::<u64>(), u64::from(runs.width) * u64::from(runs.height));
                    if sum != pixels {
                        let size = format!("{}x{}", runs.width, runs.height);
                        return Err(self.wrong(&shape.place, format!("its mask has runs for {sum} pixels, expected {pixels} for {size}")));
                    }
                    let ends = [(runs.left, runs.width, self.size.0), (runs.top, runs.height, self.size.1)];
                    if ends.iter().any(|&(from, length, side)| u64::from(from) + u64::from(length) > u64::from(side)) {
                        let [at, mask, image] = [(runs.left, runs.top), (runs.width, runs.height), self.size].map(|(a, b)| format!("{a}x{b}"));
                        return Err(self.wrong(&shape.place, format!("its mask of {mask} pixels at {at} leaves the image of {image}")));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Corners from a flat list `x1, y1, x2, y2, ...`.
pub(super) fn ring(flat: &[f64]) -> Option<Ring> {
    let (points, rest) = flat.as_chunks::<2>();
    rest.is_empty().then(|| points.to_vec())
}

/// Corners of an ellipse or circle.
pub(super) fn ellipse(center: [f64; 2], radii: [f64; 2]) -> Ring {
    const CORNERS: usize = 128;
    let corner = |i: usize| {
        let angle = i as f64 * std::f64::consts::TAU / CORNERS as f64;
        [center[0] + radii[0] * angle.cos(), center[1] + radii[1] * angle.sin()]
    };
    (0..CORNERS).map(corner).collect()
}

/// Corners of a rectangle, turned by some degrees (clockwise on the screen) about its middle.
pub(super) fn rectangle([x0, y0]: [f64; 2], [x1, y1]: [f64; 2], degrees: f64) -> Ring {
    let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
    let (sin, cos) = degrees.to_radians().sin_cos();
    let turn = |[x, y]: [f64; 2]| [cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos];
    [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(|corner| if degrees == 0.0 { corner } else { turn(corner) }).to_vec()
}
