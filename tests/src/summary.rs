use std::collections::BTreeMap;

use amis_artifacts::live::{LiveFrame, LiveRun};
use amis_artifacts::metrics::StepMetrics;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// `summary.json` of the demo.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The run with all parts of AMIS.
    pub steps: Vec<StepSummary>,
    /// The same with cross-entropy alone, from the same base.
    pub finetune: Vec<StepSummary>,
    /// Exported graph against the trained network, worst of all steps.
    pub verification: Verification,
    /// The last model on a moving scene.
    pub run: RunFigures,
    /// A field update during a live run.
    pub update: UpdateFigures,
    /// Duration by station.
    pub seconds: BTreeMap<String, f64>,
}

/// One step.
#[derive(Debug, Serialize, Deserialize)]
pub struct StepSummary {
    /// Step, 0 is the base.
    pub step: usize,
    /// Names of all classes known.
    pub classes: Vec<String>,
    /// IoU by class, 0..1; null if absent and never predicted.
    pub iou: BTreeMap<String, Option<f64>>,
    /// Mean over the base classes, without background.
    pub miou_old: Option<f64>,
    /// Mean over the classes of later steps.
    pub miou_new: Option<f64>,
    /// Mean over all classes, with background.
    pub miou_all: Option<f64>,
}

/// Exported graph against the trained network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verification {
    /// Largest difference of a logit.
    pub max_abs_diff: f64,
    /// Share of pixels with the same class.
    pub argmax_agreement: f64,
}

/// The last model on a moving scene.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunFigures {
    /// Frames a second.
    pub fps: f64,
    /// Frames that nobody saw.
    pub dropped: u64,
    /// Longest time between two finished frames.
    pub max_gap_ms: f64,
}

/// A field update during a live run.
#[derive(Debug, Serialize, Deserialize)]
pub struct UpdateFigures {
    /// Classes of the model before it and after it.
    pub classes: [usize; 2],
    /// Frames that nobody saw.
    pub dropped: u64,
    /// Longest time between two frames of the whole run.
    pub max_gap_ms: f64,
}

impl UpdateFigures {
    pub(crate) fn of(live: &LiveRun) -> Self {
        let classes = |frame: Option<&LiveFrame>| frame.map_or(0, |frame| frame.classes);
        let gaps = live.frames.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms);
        Self { classes: [classes(live.frames.first()), classes(live.frames.last())], dropped: live.dropped, max_gap_ms: gaps.fold(0.0, f64::max) }
    }
}

/// The steps in the result of `amis-train run`.
pub(crate) fn steps(run: &Value) -> Result<Vec<StepSummary>> {
    let wrong = |e: serde_json::Error| Error::Result { command: "amis-train run".into(), reason: e.to_string() };
    let metrics: Vec<StepMetrics> = serde_json::from_value(run["steps"].clone()).map_err(wrong)?;
    let step = |m: StepMetrics| StepSummary {
        step: m.step,
        classes: m.classes.iter().map(|c| c.name.clone()).collect(),
        iou: m.classes.iter().map(|c| (c.name.clone(), c.iou)).collect(),
        miou_old: m.old.miou,
        miou_new: m.new.miou,
        miou_all: m.all_with_background.miou,
    };
    Ok(metrics.into_iter().map(step).collect())
}

/// Part of a program's result as a value of its own.
pub(crate) fn part<T: for<'a> Deserialize<'a>>(command: &str, value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|e| Error::Result { command: command.into(), reason: e.to_string() })
}
