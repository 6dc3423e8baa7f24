//! Confusion matrix, IoU and the two means that are reported side by side.

use serde::{Deserialize, Serialize};

use crate::classes::{ClassList, IGNORE};
use crate::model_spec::Groups;

/// Pixel counts, rows are truth, columns prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// An empty matrix of `classes` by `classes`.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Counts pixels. Truth that is [`IGNORE`] or a class of a later step is left out, as in the reference; so is a prediction outside the classes.
    ///
    /// Slices of different length count up to the shorter.
    pub fn add(&mut self, truth: &[u8], prediction: &[u8]) {
        for (&t, &p) in truth.iter().zip(prediction) {
            let (t, p) = (usize::from(t), usize::from(p));
            if t < self.classes && p < self.classes && t != usize::from(IGNORE) {
                self.counts[t * self.classes + p] += 1;
            }
        }
    }

    /// All counts, row by row: processes that evaluated parts of a list add theirs up.
    pub fn counts_mut(&mut self) -> &mut [u64] {
        &mut self.counts
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Pixels of class `truth` that were taken for `prediction`.
    pub fn count(&self, truth: usize, prediction: usize) -> u64 {
        self.counts[truth * self.classes + prediction]
    }

    /// Pixels whose truth is this class.
    pub fn truth_total(&self, class: usize) -> u64 {
        (0..self.classes).map(|p| self.count(class, p)).sum()
    }

    /// Intersection over union, 0..1; none if the class is absent and never predicted.
    pub fn iou(&self, class: usize) -> Option<f64> {
        let predicted: u64 = (0..self.classes).map(|t| self.count(t, class)).sum();
        let hit = self.count(class, class);
        let union = self.truth_total(class) + predicted - hit;
        (union > 0).then(|| hit as f64 / union as f64)
    }

    /// Share of the class's pixels that were found, 0..1; none if the class is absent.
    pub fn accuracy(&self, class: usize) -> Option<f64> {
        let total = self.truth_total(class);
        (total > 0).then(|| self.count(class, class) as f64 / total as f64)
    }

    /// Both means over these classes.
    pub fn mean_iou(&self, classes: std::ops::Range<usize>) -> MeanIou {
        let ious: Vec<f64> = classes.filter_map(|c| self.iou(c)).collect();
        let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let non_zero: Vec<f64> = ious.iter().copied().filter(|&v| v > 0.0).collect();
        MeanIou { miou: mean(&ious), miou_mbs: mean(&non_zero) }
    }
}

/// Mean IoU, 0..1, in two readings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanIou {
    /// The true mean: absent and never predicted is skipped; present but never predicted, or predicted but absent, counts 0.
    pub miou: Option<f64>,
    /// As the MBS code computes it: the mean of the IoUs that are not zero.
    pub miou_mbs: Option<f64>,
}

/// One class after a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Class id.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Intersection over union, 0..1; none if absent and never predicted.
    pub iou: Option<f64>,
    /// Share of its pixels found, 0..1; none if absent.
    pub accuracy: Option<f64>,
    /// Pixels with this truth.
    pub pixels: u64,
}

/// What the classes of later steps count as in an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FutureClasses {
    /// Their pixels take part in nothing, as in the reference code.
    #[default]
    Ignore,
    /// Their pixels are background: what a network that does not know the class should say.
    Background,
}

/// What is measured after a step (`metrics.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Step, 0 is the base.
    pub step: usize,
    /// What pixels of later classes counted as.
    #[serde(default)]
    pub future_classes: FutureClasses,
    /// Every class seen so far.
    pub classes: Vec<ClassMetrics>,
    /// Classes of the first step, without background.
    pub old: MeanIou,
    /// Classes of the first step, with background.
    pub old_with_background: MeanIou,
    /// Classes of all later steps; empty after the base step.
    pub new: MeanIou,
    /// All classes seen, without background.
    pub all: MeanIou,
    /// All classes seen, with background: the figure that papers call "all".
    pub all_with_background: MeanIou,
    /// The counts behind it.
    pub confusion: ConfusionMatrix,
}

impl StepMetrics {
    /// Metrics of step `step` from its confusion matrix over the classes of `groups`, with later classes ignored.
    pub fn new(step: usize, classes: &ClassList, groups: &Groups, confusion: ConfusionMatrix) -> Self {
        let first_step_end = groups.0.iter().take(2).map(|&n| n as usize).sum();
        let all = groups.classes();
        let class = |c: &crate::classes::Class| ClassMetrics {
            id: c.id,
            name: c.name.clone(),
            iou: confusion.iou(usize::from(c.id)),
            accuracy: confusion.accuracy(usize::from(c.id)),
            pixels: confusion.truth_total(usize::from(c.id)),
        };
        Self {
            step,
            future_classes: FutureClasses::Ignore,
            classes: classes.iter().take(all).map(class).collect(),
            old: confusion.mean_iou(1..first_step_end),
            old_with_background: confusion.mean_iou(0..first_step_end),
            new: confusion.mean_iou(first_step_end..all),
            all: confusion.mean_iou(1..all),
            all_with_background: confusion.mean_iou(0..all),
            confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_two_means_differ_where_a_class_is_missed() {
        let mut matrix = ConfusionMatrix::new(4);
        // Class 1 half found, class 2 present but never predicted, class 3 absent and never predicted.
        matrix.add(&[0, 1, 1, 2, IGNORE, 9], &[0, 1, 0, 0, 1, 1]);
        assert_eq!(matrix.iou(1), Some(0.5));
        assert_eq!(matrix.iou(2), Some(0.0));
        assert_eq!(matrix.iou(3), None);
        assert_eq!(matrix.mean_iou(1..4), MeanIou { miou: Some(0.25), miou_mbs: Some(0.5) });
        assert_eq!(matrix.accuracy(1), Some(0.5));
    }

    #[test]
    fn predicted_but_absent_counts_as_zero() {
        let mut matrix = ConfusionMatrix::new(2);
        matrix.add(&[0, 0], &[0, 1]);
        assert_eq!(matrix.iou(1), Some(0.0));
        assert_eq!(matrix.mean_iou(1..2), MeanIou { miou: Some(0.0), miou_mbs: None });
    }

    #[test]
    fn old_is_the_first_step_and_new_all_later_ones() {
        let classes = ClassList::from_names(&["background", "a", "b", "c"]).unwrap();
        let mut matrix = ConfusionMatrix::new(4);
        matrix.add(&[0, 1, 2, 3], &[0, 1, 3, 3]);
        let metrics = StepMetrics::new(2, &classes, &Groups(vec![1, 1, 1, 1]), matrix);
        assert_eq!(metrics.old.miou, Some(1.0));
        assert_eq!(metrics.new.miou, Some(0.25));
        assert_eq!(metrics.all_with_background.miou, Some(0.625));
    }
}
