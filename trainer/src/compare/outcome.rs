use amis_artifacts::classes::Class;
use serde::Serialize;

use crate::report::run::{Finished, RunData};

/// Whether a run teaches everything in one step: the bound that incremental learning is measured against.
pub(super) fn is_offline(run: &RunData) -> bool {
    run.config.task.steps.len() == 1
}

/// The preset, which means nothing where there is no incremental step.
pub(super) fn preset(run: &RunData) -> String {
    if is_offline(run) { "offline".into() } else { run.preset().into() }
}

/// What a finished run came to. IoUs are fractions from 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Name of its folder.
    pub run: String,
    /// Preset of the incremental steps; `offline` for a run that teaches everything in one step.
    pub preset: String,
    /// Settings that differ from the other runs of this order and preset, `key=value`; empty where none does.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
    /// Name of the task.
    pub order: String,
    /// Mean IoU over the base classes after the base step, background left out; none for an offline run.
    pub base_miou: Option<f64>,
    /// The same after the last step.
    pub miou_old: Option<f64>,
    /// Mean IoU over the classes of later steps after the last step.
    pub miou_new: Option<f64>,
    /// Mean IoU over all classes and background after the last step.
    pub miou_all: Option<f64>,
    /// `miou_old / base_miou`: what is left of the base classes.
    pub retention: Option<f64>,
    /// Every class, background first.
    pub classes: Vec<OutcomeClass>,
    /// The means after every step.
    pub steps: Vec<StepMeans>,
    /// SHA-256 of the base step's `checkpoint.json`: the same for runs that share it.
    pub base_sha256: Option<String>,
}

/// A class at the end of a run.
#[derive(Debug, Clone, Serialize)]
pub struct OutcomeClass {
    /// Its name.
    pub name: String,
    /// Step that teaches it.
    pub step: usize,
    /// IoU right after that step; none if absent and never predicted.
    pub own_step_iou: Option<f64>,
    /// IoU after the last step.
    pub iou: Option<f64>,
}

/// Mean IoUs after a step.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StepMeans {
    /// Base classes without background.
    pub miou_old: Option<f64>,
    /// Classes of later steps.
    pub miou_new: Option<f64>,
    /// All classes seen so far, with background.
    pub miou_all: Option<f64>,
}

impl Outcome {
    /// The outcome of a run whose steps are all finished. `task` is a run that says which classes are old and which are new: the run itself, or for an
    /// offline run one that learned the same classes step by step.
    pub(super) fn new(run: &RunData, task: &RunData, variant: String) -> Self {
        let base_classes = task.config.task.steps[0].len();
        let means = |finished: &Finished| {
            let confusion = &finished.metrics.confusion;
            StepMeans {
                miou_old: confusion.mean_iou(1..base_classes + 1).miou,
                miou_new: confusion.mean_iou(base_classes + 1..confusion.classes()).miou,
                miou_all: confusion.mean_iou(0..confusion.classes()).miou,
            }
        };
        let steps: Vec<StepMeans> = run.steps.iter().flatten().map(means).collect();
        let last = steps.last().copied();
        let base_miou = steps.first().filter(|_| !is_offline(run)).and_then(|s| s.miou_old);
        let miou_old = last.and_then(|s| s.miou_old);
        let class = |(id, class): (usize, &Class)| OutcomeClass {
            name: class.name.clone(),
            step: task.learned_in(id),
            own_step_iou: run.iou(run.learned_in(id), id),
            iou: run.iou(run.steps.len() - 1, id),
        };
        Self {
            run: run.name.clone(),
            preset: preset(run),
            variant,
            seed: run.config.train.seed,
            order: run.config.task.name.clone(),
            base_miou,
            miou_old,
            miou_new: last.and_then(|s| s.miou_new),
            miou_all: last.and_then(|s| s.miou_all),
            retention: miou_old.zip(base_miou).and_then(|(old, base)| (base > 0.0).then(|| old / base)),
            classes: run.classes.iter().enumerate().map(class).collect(),
            base_sha256: run.step(0).filter(|_| !is_offline(run)).map(|f| f.sha256.clone()),
            steps,
        }
    }

    /// What runs of one group have in common.
    pub(super) fn key(&self) -> [&str; 3] {
        [&self.order, &self.preset, &self.variant]
    }
}
