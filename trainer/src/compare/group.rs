use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::outcome::{Outcome, StepMeans, preset};
use crate::report::provenance::flatten;
use crate::report::run::RunData;
use crate::train::plan::FREE_KEYS;

/// Keys that name a run's place in the comparison: they make no variant, nor do those that may change while a run goes on.
const PLACE_KEYS: [&str; 4] = ["task.name", "train.base_checkpoint", "train.preset", "train.seed"];

/// Runs of one order, preset and configuration, over their seeds.
#[derive(Debug, Serialize)]
pub struct Group {
    /// Name of the task.
    pub order: String,
    /// Preset of the incremental steps.
    pub preset: String,
    /// Settings that differ from the other runs of this order and preset; empty where none does.
    pub variant: String,
    /// Seeds of its runs.
    pub seeds: Vec<u64>,
    /// As in [`Outcome`], over the runs.
    pub base_miou: Spread,
    /// As in [`Outcome`], over the runs.
    pub miou_old: Spread,
    /// As in [`Outcome`], over the runs.
    pub miou_new: Spread,
    /// As in [`Outcome`], over the runs.
    pub miou_all: Spread,
    /// As in [`Outcome`], over the runs.
    pub retention: Spread,
    /// Every class, background first.
    pub classes: Vec<GroupClass>,
    /// Means over the runs after every step.
    pub steps: Vec<StepMeans>,
}

/// A class over the runs of a group.
#[derive(Debug, Serialize)]
pub struct GroupClass {
    /// Its name.
    pub name: String,
    /// Step that teaches it.
    pub step: usize,
    /// IoU right after that step.
    pub own_step_iou: Spread,
    /// IoU after the last step.
    pub iou: Spread,
}

/// Mean and sample standard deviation of the values that there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// None without a value.
    pub mean: Option<f64>,
    /// None with fewer than two values.
    pub std: Option<f64>,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = Option<f64>>) -> Self {
        let values: Vec<f64> = values.flatten().collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Self { mean: (!values.is_empty()).then_some(mean), std: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()) }
    }
}

/// What sets each run apart from the runs of the same order and preset: the keys whose values are not the usual ones there, `key=value`.
///
/// The usual value is the most frequent one; of equally frequent ones, that of the run named first.
pub(super) fn variants(runs: &[RunData]) -> Vec<String> {
    let settings: Vec<BTreeMap<String, String>> = runs.iter().map(settings).collect();
    let place = |run: &RunData| (run.config.task.name.clone(), preset(run));
    let variant = |(number, run): (usize, &RunData)| {
        let peers: Vec<&BTreeMap<String, String>> = runs.iter().zip(&settings).filter(|(r, _)| place(r) == place(run)).map(|(_, s)| s).collect();
        let keys: BTreeSet<&String> = peers.iter().flat_map(|s| s.keys()).collect();
        let differing = keys.into_iter().filter(|key| value(&settings[number], key) != usual(&peers, key));
        differing.map(|key| format!("{key}={}", value(&settings[number], key))).collect::<Vec<_>>().join(", ")
    };
    runs.iter().enumerate().map(variant).collect()
}

fn settings(run: &RunData) -> BTreeMap<String, String> {
    let mut settings = flatten(&run.resolved);
    settings.retain(|key, _| !PLACE_KEYS.contains(&key.as_str()) && !FREE_KEYS.contains(&format!(".{key}").as_str()));
    settings
}

/// A key that a run does not know reads as one without a value.
fn value<'a>(settings: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    settings.get(key).map_or("–", String::as_str)
}

fn usual<'a>(peers: &[&'a BTreeMap<String, String>], key: &str) -> &'a str {
    let values: Vec<&str> = peers.iter().map(|s| value(s, key)).collect();
    let count = |value: &str| values.iter().filter(|v| **v == value).count();
    // `max_by_key` keeps the last of equals.
    values.iter().rev().max_by_key(|v| count(v)).copied().unwrap_or("–")
}

/// Sorts the runs by order and preset as they were named first, the usual configuration before its variants, then by seed; and groups them.
pub(super) fn group(runs: &mut [Outcome]) -> Vec<Group> {
    let mut places: Vec<(String, String)> = Vec::new();
    let mut orders: Vec<String> = Vec::new();
    for run in runs.iter() {
        let place = (run.order.clone(), run.preset.clone());
        if !places.contains(&place) {
            places.push(place);
        }
        if !orders.contains(&run.order) {
            orders.push(run.order.clone());
        }
    }
    let rank = |run: &Outcome| {
        let place = (run.order.clone(), run.preset.clone());
        (orders.iter().position(|o| *o == run.order), places.iter().position(|p| *p == place), run.variant.clone(), run.seed)
    };
    runs.sort_by_cached_key(rank);
    runs.chunk_by(|a, b| a.key() == b.key()).map(Group::of).collect()
}

impl Group {
    /// A group of at least one run.
    fn of(runs: &[Outcome]) -> Self {
        let over = |value: fn(&Outcome) -> Option<f64>| Spread::of(runs.iter().map(value));
        let class = |(id, class): (usize, &super::OutcomeClass)| GroupClass {
            name: class.name.clone(),
            step: class.step,
            own_step_iou: Spread::of(runs.iter().map(|r| r.classes[id].own_step_iou)),
            iou: Spread::of(runs.iter().map(|r| r.classes[id].iou)),
        };
        let [order, preset, variant] = runs[0].key().map(str::to_owned);
        Self {
            order,
            preset,
            variant,
            seeds: runs.iter().map(|r| r.seed).collect(),
            base_miou: over(|r| r.base_miou),
            miou_old: over(|r| r.miou_old),
            miou_new: over(|r| r.miou_new),
            miou_all: over(|r| r.miou_all),
            retention: over(|r| r.retention),
            classes: runs[0].classes.iter().enumerate().map(class).collect(),
            steps: (0..runs[0].steps.len()).map(|step| mean_step(runs, step)).collect(),
        }
    }
}

impl Group {
    /// As that of its runs.
    pub(super) fn key(&self) -> [&str; 3] {
        [&self.order, &self.preset, &self.variant]
    }
}

fn mean_step(runs: &[Outcome], step: usize) -> StepMeans {
    let mean = |value: fn(&StepMeans) -> Option<f64>| Spread::of(runs.iter().map(|r| value(&r.steps[step]))).mean;
    StepMeans { miou_old: mean(|s| s.miou_old), miou_new: mean(|s| s.miou_new), miou_all: mean(|s| s.miou_all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_the_sample_standard_deviation() {
        let spread = |values: &[Option<f64>]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[Some(0.25), None, Some(0.75)]), Spread { mean: Some(0.5), std: Some(0.125f64.sqrt()) });
        assert_eq!(spread(&[Some(0.25)]), Spread { mean: Some(0.25), std: None });
        assert_eq!(spread(&[None]), Spread { mean: None, std: None });
    }

    #[test]
    fn the_usual_value_is_the_most_frequent_and_else_the_first() {
        let settings: Vec<BTreeMap<String, String>> = ["1", "2", "2"].map(|v| [("k".to_owned(), v.to_owned())].into()).into();
        assert_eq!(usual(&settings.iter().collect::<Vec<_>>(), "k"), "2");
        assert_eq!(usual(&settings[..2].iter().collect::<Vec<_>>(), "k"), "1");
        assert_eq!(usual(&settings.iter().collect::<Vec<_>>(), "other"), "–");
    }
}
