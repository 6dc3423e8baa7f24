//! Checks a data set before training starts.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::folder::DataFolder;
use crate::{Error, Result};

/// Problems that a report keeps in full; all are counted.
pub const MAX_KEPT_PROBLEMS: usize = 50;

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// Images checked.
    pub images: usize,
    /// Images with a problem.
    pub problem_count: usize,
    /// The first [`MAX_KEPT_PROBLEMS`] problems in order of the names; each names its file.
    pub problems: Vec<Error>,
    /// Pixels with each label value, over the images that could be read.
    pub pixels: Box<[u64; 256]>,
}

/// Reads every image with its labels, in parallel: both files are there, can be decoded, have the same size, and every label value is one of `allowed`.
///
/// `progress` is called from the worker threads with the number of images done.
pub fn check(folder: &DataFolder, names: &[String], allowed: &[u8], progress: &(dyn Fn(usize) + Sync)) -> Report {
    let mut known = [false; 256];
    for &value in allowed {
        known[usize::from(value)] = true;
    }
    let done = AtomicUsize::new(0);
    let one = |name: &String| {
        let result = check_one(folder, name, &known);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        result
    };
    let mut report = Report { images: names.len(), problem_count: 0, problems: Vec::new(), pixels: Box::new([0; 256]) };
    // In pieces, so that what is kept in memory does not grow with the data set.
    for piece in names.chunks(1024) {
        let results: Vec<_> = piece.par_iter().map(one).collect();
        for result in results {
            report.add(result);
        }
    }
    report
}

impl Report {
    /// True if no problem was found.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn add(&mut self, result: Result<Box<[u64; 256]>>) {
        match result {
            Ok(pixels) => self.pixels.iter_mut().zip(pixels.iter()).for_each(|(sum, count)| *sum += count),
            Err(problem) => {
                self.problem_count += 1;
                if self.problems.len() < MAX_KEPT_PROBLEMS {
                    self.problems.push(problem);
                }
            }
        }
    }
}

fn check_one(folder: &DataFolder, name: &str, known: &[bool; 256]) -> Result<Box<[u64; 256]>> {
    let (_, labels) = folder.read_pair(name)?;
    let mut pixels = Box::new([0; 256]);
    for &value in &labels.values {
        pixels[usize::from(value)] += 1;
    }
    match labels.values.iter().position(|&value| !known[usize::from(value)]) {
        None => Ok(pixels),
        Some(at) => {
            let (x, y) = (at as u32 % labels.width_px, at as u32 / labels.width_px);
            Err(Error::UnknownLabel { path: folder.label_path(name), x, y, value: labels.values[at] })
        }
    }
}
