//! What may happen to logits before they become classes: smoothing over time, and thresholds of confidence.

use amis_artifacts::classes::{BACKGROUND, ClassList};

use crate::{Error, Result};

/// A change of brightness that is motion, in units of the normalised input: some 14 of 255 levels, averaged over a cell of the network's output.
const MOTION: f32 = 0.25;

/// How logits are refined; by default not at all.
#[derive(Debug, Clone, Default)]
pub struct RefineOptions {
    /// Weight of the past, 0 to less than 1: 0 is none, 0.8 averages over about five frames.
    pub smooth: f32,
    /// Least probability that makes a class: of a class by its name, or of all. Below it is background.
    pub confidence: Vec<(Option<String>, f32)>,
}

/// Refines the logits of one model for one camera; keeps the past.
#[derive(Clone)]
pub struct Refine {
    smooth: f32,
    /// Logarithm of the least probability of each class, -infinity where any will do; empty if there is none.
    thresholds: Vec<f32>,
    /// Smoothed logits `[C, h, w]`.
    smoothed: Vec<f32>,
    /// Brightness of every cell `[h, w]` when it last had moved or was new.
    brightness: Vec<f32>,
    out: Vec<f32>,
}

impl Refine {
    /// For a model of these classes; none if there is nothing to do.
    ///
    /// # Errors
    /// A class that is not there.
    pub fn new(options: &RefineOptions, classes: &ClassList) -> Result<Option<Self>> {
        let mut thresholds = Vec::new();
        for (name, least) in &options.confidence {
            thresholds.resize(classes.len(), f32::NEG_INFINITY);
            let log = least.ln();
            match name {
                None => thresholds.fill(log),
                Some(name) => {
                    let class = classes.by_name(name).ok_or_else(|| unknown(name, classes))?;
                    thresholds[usize::from(class.id)] = log;
                }
            }
        }
        let none = thresholds.is_empty() && options.smooth == 0.0;
        let (smoothed, brightness, out) = (Vec::new(), Vec::new(), Vec::new());
        Ok((!none).then_some(Self { smooth: options.smooth, thresholds, smoothed, brightness, out }))
    }

    /// Refines `logits` `[C, h, w]` that the network made of `input` `[3, H, W]` of this size.
    pub(crate) fn run(&mut self, logits: &[f32], [classes, h, w]: [usize; 3], input: &[f32], size: (usize, usize)) -> &[f32] {
        self.out.clear();
        self.out.extend_from_slice(logits);
        if self.smooth > 0.0 {
            self.smooth(classes, (h, w), input, size);
        }
        if !self.thresholds.is_empty() {
            self.threshold(h * w);
        }
        &self.out
    }

    /// Mixes the past into every cell in which nothing moves.
    fn smooth(&mut self, classes: usize, (h, w): (usize, usize), input: &[f32], (height, width): (usize, usize)) {
        let (plane, weight) = (h * w, self.smooth);
        if self.smoothed.len() != classes * plane {
            self.smoothed.clear();
            self.smoothed.extend_from_slice(&self.out);
            self.brightness.clear();
            self.brightness.resize(plane, f32::INFINITY);
        }
        for cell in 0..plane {
            let (y, x) = (cell / w, cell % w);
            let (rows, columns) = (y * height / h..((y + 1) * height / h).max(y * height / h + 1), x * width / w..((x + 1) * width / w).max(x * width / w + 1));
            let now = brightness(input, (height, width), rows, columns);
            let moved = (now - self.brightness[cell]).abs() > MOTION;
            // Compared with the last motion and not with the last frame: slow changes add up.
            let weight = if moved { 0.0 } else { weight };
            if moved {
                self.brightness[cell] = now;
            }
            for at in (cell..classes * plane).step_by(plane) {
                self.smoothed[at] = weight * self.smoothed[at] + (1.0 - weight) * self.out[at];
            }
        }
        self.out.copy_from_slice(&self.smoothed);
    }

    /// Makes background win where the leading class is less probable than it has to be.
    ///
    /// A class is probable enough if its logit exceeds the logarithm of the sum of all exponentials plus that of its threshold, so the logit of background is raised
    /// to this and no other changes. Both are smooth, so they are interpolated like any logits and borders stay as fine as without thresholds.
    fn threshold(&mut self, plane: usize) {
        for cell in 0..plane {
            let cells = || self.out[cell..].iter().step_by(plane).copied().enumerate();
            let largest = cells().map(|(_, logit)| logit).fold(f32::NEG_INFINITY, f32::max);
            let sum = largest + cells().map(|(_, logit)| (logit - largest).exp()).sum::<f32>().ln();
            let leader = cells().filter(|(class, _)| *class != usize::from(BACKGROUND)).max_by(|(_, a), (_, b)| a.total_cmp(b));
            let Some((leader, _)) = leader else { continue };
            let background = &mut self.out[usize::from(BACKGROUND) * plane + cell];
            *background = background.max(sum + self.thresholds[leader]);
        }
    }
}

/// Mean of a cell of the input over all channels.
fn brightness(input: &[f32], (height, width): (usize, usize), rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> f32 {
    let count = (rows.len() * columns.len() * 3) as f32;
    let lines = input.chunks_exact(height * width).flat_map(|channel| rows.clone().map(move |y| &channel[y * width..(y + 1) * width]));
    lines.map(|line| line[columns.clone()].iter().sum::<f32>()).sum::<f32>() / count
}

fn unknown(name: &str, classes: &ClassList) -> Error {
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    Error::Class { name: name.to_owned(), known: names.join(", ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Two cells side by side over an input of 2x4 pixels.
    const SHAPE: [usize; 3] = [3, 1, 2];
    const SIZE: (usize, usize) = (2, 4);

    fn refine(smooth: f32, confidence: &[(Option<&str>, f32)]) -> Refine {
        let confidence = confidence.iter().map(|(name, least)| (name.map(str::to_owned), *least)).collect();
        let classes = ClassList::from_names(&["background", "road", "person"]).unwrap();
        Refine::new(&RefineOptions { smooth, confidence }, &classes).unwrap().unwrap()
    }

    /// Class of each cell.
    fn classes(logits: &[f32]) -> Vec<usize> {
        (0..2).map(|cell| (0..3).max_by(|a, b| logits[a * 2 + cell].total_cmp(&logits[b * 2 + cell])).unwrap()).collect()
    }

    /// Logits in which one class leads in both cells.
    fn leads(class: usize, by: f32) -> Vec<f32> {
        (0..6).map(|at| if at / 2 == class { by } else { 0.0 }).collect()
    }

    #[test]
    fn flicker_is_smoothed_and_motion_is_not() {
        let (mut refine, still) = (refine(0.8, &[]), [0.0; 24]);
        for frame in 0..20 {
            let flickering = if frame % 4 == 3 { leads(2, 1.0) } else { leads(1, 1.0) };
            assert_eq!(classes(refine.run(&flickering, SHAPE, &still, SIZE)), [1, 1], "frame {frame}");
        }
        // The right half moves: only there the past is forgotten.
        let moved: Vec<f32> = (0..24).map(|at| if at % 4 >= 2 { 1.0 } else { 0.0 }).collect();
        assert_eq!(classes(refine.run(&leads(2, 1.0), SHAPE, &moved, SIZE)), [1, 2]);
        // What stays is believed in the end.
        let last = (0..10).map(|_| classes(refine.run(&leads(2, 1.0), SHAPE, &moved, SIZE))).last();
        assert_eq!(last, Some(vec![2, 2]));
    }

    #[test]
    fn what_is_not_sure_is_background() {
        // Leading by 1: probability 0.576; by 3: 0.909.
        for (least, by, expected) in [(0.5, 1.0, 2), (0.6, 1.0, 0), (0.6, 3.0, 2), (0.95, 3.0, 0)] {
            assert_eq!(classes(refine(0.0, &[(None, least)]).run(&leads(2, by), SHAPE, &[0.0; 24], SIZE)), [expected; 2], "{least} {by}");
        }
        let mut most_for_person = refine(0.0, &[(None, 0.5), (Some("person"), 0.95)]);
        assert_eq!(classes(most_for_person.run(&leads(2, 3.0), SHAPE, &[0.0; 24], SIZE)), [0; 2]);
        assert_eq!(classes(most_for_person.run(&leads(1, 3.0), SHAPE, &[0.0; 24], SIZE)), [1; 2]);
        // What has no threshold needs none, and a low one never makes a class of what is background without it.
        let mut only_person = refine(0.0, &[(Some("person"), 0.95)]);
        for (class, expected) in [(0, 0), (1, 1), (2, 0)] {
            assert_eq!(classes(only_person.run(&leads(class, 3.0), SHAPE, &[0.0; 24], SIZE)), [expected; 2], "class {class}");
        }
        for least in [0.0, 0.02] {
            let mut low = refine(0.0, &[(None, least)]);
            assert_eq!(classes(low.run(&leads(0, 3.0), SHAPE, &[0.0; 24], SIZE)), [0; 2], "{least}");
            assert_eq!(classes(low.run(&leads(1, 3.0), SHAPE, &[0.0; 24], SIZE)), [1; 2], "{least}");
        }
    }

    #[test]
    fn nothing_to_do_costs_nothing_and_unknown_classes_are_named() {
        let list = ClassList::from_names(&["background", "road"]).unwrap();
        assert!(Refine::new(&RefineOptions::default(), &list).unwrap().is_none());
        let options = RefineOptions { smooth: 0.0, confidence: vec![(Some("cow".into()), 0.5)] };
        let error = Refine::new(&options, &list).err().unwrap().to_string();
        assert!(error.contains("cow") && error.contains("background, road"), "{error}");
    }
}
