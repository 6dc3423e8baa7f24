use std::path::{Path, PathBuf};

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::classes::ClassList;
use amis_artifacts::files;
use amis_artifacts::metrics::StepMetrics;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{DataConfig, TaskConfig, TrainConfig};
use crate::train::{LogRecord, read_log};
use crate::{Error, Result};

/// The parts of `config.json` that the page speaks of; the rest is shown as it is.
#[derive(Debug, Deserialize)]
pub(super) struct RunConfig {
    pub(super) data: DataConfig,
    pub(super) task: TaskConfig,
    pub(super) train: TrainConfig,
}

/// A finished step.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) checkpoint: Checkpoint,
    pub(super) sha256: String,
    pub(super) metrics: StepMetrics,
}

/// What a run folder holds.
#[derive(Debug)]
pub(super) struct RunData {
    pub(super) dir: PathBuf,
    /// Short name, different from that of the other runs on the page.
    pub(super) name: String,
    pub(super) config: RunConfig,
    /// `config.json` as it stands there.
    pub(super) resolved: Value,
    /// All classes of the task.
    pub(super) classes: ClassList,
    /// Finished steps, in place; none where a step has no checkpoint yet.
    pub(super) steps: Vec<Option<Finished>>,
    /// Losses and validations.
    pub(super) log: Vec<LogRecord>,
}

impl RunData {
    /// Reads everything but the weights.
    ///
    /// # Errors
    /// The folder is no run, or one of its files is damaged.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        if !path.is_file() {
            let found = if dir.is_dir() { "the folder has no config.json" } else { "there is no such folder" };
            return Err(Error::Report { run: dir.into(), reason: found.into() });
        }
        let resolved: Value = files::read_json(&path, "configuration of a run")?;
        let malformed = |reason: String| amis_artifacts::Error::Malformed { what: "configuration of a run", path: path.clone(), reason };
        let config: RunConfig = serde_json::from_value(resolved.clone()).map_err(|e| malformed(e.to_string()))?;
        let names: Vec<&str> = std::iter::once("background").chain(config.task.steps.iter().flatten().map(String::as_str)).collect();
        let classes = ClassList::from_names(&names)?;
        let steps = (0..config.task.steps.len()).map(|step| finished(dir, &config, step)).collect::<Result<_>>()?;
        let log = if dir.join("log.jsonl").exists() { read_log(dir)? } else { Vec::new() };
        Ok(Self { dir: dir.into(), name: short_name(dir), config, resolved, classes, steps, log })
    }

    /// Old, new and single classes mean the same only where the steps are the same.
    ///
    /// # Errors
    /// They differ.
    pub(super) fn must_compare_with(&self, main: &Self) -> Result<()> {
        let (found, expected) = (&self.config.task.steps, &main.config.task.steps);
        if found == expected {
            return Ok(());
        }
        let reason = format!("its classes by step are {found:?}, those of {} are {expected:?}", main.dir.display());
        Err(Error::Report { run: self.dir.clone(), reason })
    }

    /// A step, if it is finished.
    pub(super) fn step(&self, step: usize) -> Option<&Finished> {
        self.steps.get(step)?.as_ref()
    }

    /// The last finished step.
    pub(super) fn last(&self) -> Option<&Finished> {
        self.steps.iter().flatten().next_back()
    }

    /// IoU of a class after a step, 0..1.
    pub(super) fn iou(&self, step: usize, class: usize) -> Option<f64> {
        self.step(step)?.metrics.classes.get(class)?.iou
    }

    /// The preset as it is written in a configuration.
    pub(super) fn preset(&self) -> &str {
        self.resolved.pointer("/train/preset").and_then(Value::as_str).unwrap_or_default()
    }

    /// Length of an image list of a step, "–" before the step is finished.
    pub(super) fn images(&self, step: usize, role: &str) -> String {
        let list = self.step(step).and_then(|f| f.checkpoint.manifest.image_lists.iter().find(|l| l.role == role));
        list.map_or("–".into(), |l| l.images.to_string())
    }

    /// Step in which a class is learned; background counts to the base.
    pub(super) fn learned_in(&self, class: usize) -> usize {
        let mut end = 0;
        let ends = self.config.task.steps.iter().map(|names| {
            end += names.len();
            end
        });
        ends.take_while(|&end| end < class).count()
    }

    /// IoU of a class after the last step, minus the one after the step that taught it. None for a class of the last step.
    pub(super) fn forgetting(&self, class: usize) -> Option<f64> {
        let (last, learned) = (self.last()?.metrics.step, self.learned_in(class));
        if learned < last { Some(self.iou(last, class)? - self.iou(learned, class)?) } else { None }
    }

    /// Mean of [`Self::forgetting`] over all classes that have one, background left out.
    pub(super) fn mean_forgetting(&self) -> Option<f64> {
        let values: Vec<f64> = (1..self.classes.len()).filter_map(|class| self.forgetting(class)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

fn finished(dir: &Path, config: &RunConfig, step: usize) -> Result<Option<Finished>> {
    let folder = match &config.train.base_checkpoint {
        Some(base) if step == 0 => base.clone(),
        _ => dir.join(format!("step-{step}")),
    };
    if !folder.join("checkpoint.json").exists() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(&folder)?;
    Ok(Some(Finished { sha256: checkpoint.sha256()?, metrics: checkpoint.metrics()?, checkpoint }))
}

fn short_name(dir: &Path) -> String {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.into());
    whole.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned()
}

/// Gives runs whose folders have the same name their paths instead.
pub(super) fn name_apart(runs: &mut [RunData]) {
    let names: Vec<String> = runs.iter().map(|r| r.name.clone()).collect();
    for run in runs {
        if names.iter().filter(|n| **n == run.name).count() > 1 {
            run.name = run.dir.display().to_string();
        }
    }
}
