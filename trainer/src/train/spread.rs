use amis_artifacts::metrics::{MeanIou, StepMetrics};
use serde::Serialize;

/// One figure after the last step, over runs that differ in their seed alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// Name of a class; `old`, `new` and `all` are means over classes without background, `all with background` is the figure of papers.
    pub figure: String,
    /// IoU of each run, 0..1; none if the class is absent and never predicted.
    pub values: Vec<Option<f64>>,
    /// Mean of the values that are there.
    pub mean: Option<f64>,
    /// Their standard deviation as that of a sample; none for fewer than two.
    pub std: Option<f64>,
}

/// Classes in their order, then the means, of the last steps of runs over the same task.
pub fn spread(last: &[&StepMetrics]) -> Vec<Spread> {
    let classes = last.first().map_or(0, |metrics| metrics.classes.len());
    let class = |number: usize| Spread::new(&last[0].classes[number].name, last.iter().map(|m| m.classes.get(number).and_then(|c| c.iou)).collect());
    type Mean = fn(&StepMetrics) -> &MeanIou;
    let means: [(&str, Mean); 4] = [("old", |m| &m.old), ("new", |m| &m.new), ("all", |m| &m.all), ("all with background", |m| &m.all_with_background)];
    let means = means.into_iter().map(|(name, mean)| Spread::new(name, last.iter().map(|m| mean(m).miou).collect()));
    (0..classes).map(class).chain(means).collect()
}

impl Spread {
    fn new(figure: &str, values: Vec<Option<f64>>) -> Self {
        let found: Vec<f64> = values.iter().flatten().copied().collect();
        let count = found.len() as f64;
        let mean = (!found.is_empty()).then(|| found.iter().sum::<f64>() / count);
        let std = mean.filter(|_| found.len() > 1).map(|mean| (found.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt());
        Self { figure: figure.to_owned(), values, mean, std }
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
        let found = spread(&[&one, &two]);
        assert_eq!(found.iter().map(|s| s.figure.as_str()).collect::<Vec<_>>(), ["background", "a", "b", "old", "new", "all", "all with background"]);
        assert_eq!((found[1].mean, found[1].values.clone()), (Some(0.5), vec![Some(0.25), Some(0.75)]));
        assert!((found[1].std.unwrap() - 0.125f64.sqrt()).abs() < 1e-12);
        assert_eq!((found[2].mean, found[2].std), (None, None));
        assert_eq!((spread(&[&one])[1].mean, spread(&[&one])[1].std), (Some(0.25), None));
        assert_eq!(spread(&[]).len(), 4);
    }
}
