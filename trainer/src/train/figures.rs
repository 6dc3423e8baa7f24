use amis_artifacts::metrics::{MeanIou, StepMetrics};
use serde::Serialize;

use crate::compare::Spread;

/// One figure after the last step, over runs that differ in their seed alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Name of a class; `old`, `new` and `all` are means over classes without background, `all with background` is the figure of papers.
    pub name: String,
    /// IoU of each run, 0..1; none if the class is absent and never predicted.
    pub values: Vec<Option<f64>>,
    /// Over the values that are there.
    #[serde(flatten)]
    pub spread: Spread,
}

/// Classes in their order, then the means, of the last steps of runs over the same task.
pub fn figures(last: &[&StepMetrics]) -> Vec<Figure> {
    let classes = last.first().map_or(0, |metrics| metrics.classes.len());
    let class = |number: usize| Figure::new(&last[0].classes[number].name, last.iter().map(|m| m.classes.get(number).and_then(|c| c.iou)).collect());
    type Mean = fn(&StepMetrics) -> &MeanIou;
    let means: [(&str, Mean); 4] = [("old", |m| &m.old), ("new", |m| &m.new), ("all", |m| &m.all), ("all with background", |m| &m.all_with_background)];
    let means = means.into_iter().map(|(name, mean)| Figure::new(name, last.iter().map(|m| mean(m).miou).collect()));
    (0..classes).map(class).chain(means).collect()
}

impl Figure {
    fn new(name: &str, values: Vec<Option<f64>>) -> Self {
        Self { name: name.to_owned(), spread: Spread::of(values.iter().copied()), values }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use amis_artifacts::classes::ClassList;
    use amis_artifacts::metrics::ConfusionMatrix;
    use amis_artifacts::model_spec::Groups;

    use super::*;

    /// Class 1 found to `hits` of 4 pixels; class 2 is absent.
    fn metrics(hits: usize) -> StepMetrics {
        let mut matrix = ConfusionMatrix::new(3);
        let prediction: Vec<u8> = (0..4).map(|i| u8::from(i < hits)).collect();
        matrix.add(&[1; 4], &prediction);
        StepMetrics::new(1, &ClassList::from_names(&["background", "a", "b"]).unwrap(), &Groups(vec![1, 1, 1]), matrix)
    }

    #[test]
    fn mean_and_sample_deviation_over_what_is_there() {
        let (one, two) = (metrics(1), metrics(3));
        let found = figures(&[&one, &two]);
        assert_eq!(found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["background", "a", "b", "old", "new", "all", "all with background"]);
        assert_eq!((found[1].spread.mean, found[1].values.clone()), (Some(0.5), vec![Some(0.25), Some(0.75)]));
        assert!((found[1].spread.std.unwrap() - 0.125f64.sqrt()).abs() < 1e-12);
        assert_eq!((found[2].spread.mean, found[2].spread.std), (None, None));
        assert_eq!((figures(&[&one])[1].spread.mean, figures(&[&one])[1].spread.std), (Some(0.25), None));
        assert_eq!(figures(&[]).len(), 4);
    }
}
