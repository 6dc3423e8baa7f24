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
pub(crate) struct RunConfig {
    pub(crate) data: DataConfig,
    pub(crate) task: TaskConfig,
    pub(crate) train: TrainConfig,
}

/// A finished step.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) sha256: String,
    pub(crate) metrics: StepMetrics,
}

/// What a run folder holds.
#[derive(Debug)]
pub(crate) struct RunData {
    pub(crate) dir: PathBuf,
    /// Short name, different from that of the other runs on the page.
    pub(crate) name: String,
    pub(crate) config: RunConfig,
    /// `config.json` as it stands there.
    pub(crate) resolved: Value,
    /// All classes of the task.
    pub(crate) classes: ClassList,
    /// Finished steps, in place; none where a step has no checkpoint yet.
    pub(crate) steps: Vec<Option<Finished>>,
    /// Losses and validations.
    pub(crate) log: Vec<LogRecord>,
}

impl RunData {
    /// Reads everything but the weights.
    ///
    /// # Errors
    /// The folder is no run, or one of its files is damaged.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
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
    pub(crate) fn must_compare_with(&self, main: &Self) -> Result<()> {
        let (found, expected) = (&self.config.task.steps, &main.config.task.steps);
        if found == expected {
            return Ok(());
        }
        let reason = format!("its classes by step are {found:?}, those of {} are {expected:?}", main.dir.display());
        Err(Error::Report { run: self.dir.clone(), reason })
    }

    /// A step, if it is finished.
    pub(crate) fn step(&self, step: usize) -> Option<&Finished> {
        self.steps.get(step)?.as_ref()
    }

    /// The last finished step.
    pub(crate) fn last(&self) -> Option<&Finished> {
        self.steps.iter().flatten().next_back()
    }

    /// Which steps have no checkpoint, for a run that is not finished.
    pub(crate) fn what_is_missing(&self) -> String {
        let missing = |&(step, finished): &(usize, &Option<Finished>)| finished.is_none().then(|| step.to_string());
        let steps: Vec<String> = self.steps.iter().enumerate().filter_map(|s| missing(&s)).collect();
        let base = self.config.train.base_checkpoint.as_ref().filter(|_| self.steps.first().is_some_and(Option::is_none));
        let base = base.map_or(String::new(), |b| format!(" (the base step is to be in {})", b.display()));
        format!("step {} of {} is not finished{base}", steps.join(", "), self.steps.len())
    }

    /// IoU of a class after a step, 0..1.
    pub(crate) fn iou(&self, step: usize, class: usize) -> Option<f64> {
        self.step(step)?.metrics.classes.get(class)?.iou
    }

    /// The preset as it is written in a configuration.
    pub(crate) fn preset(&self) -> &str {
        self.resolved.pointer("/train/preset").and_then(Value::as_str).unwrap_or_default()
    }

    /// Length of an image list of a step, "–" before the step is finished.
    pub(crate) fn images(&self, step: usize, role: &str) -> String {
        let list = self.step(step).and_then(|f| f.checkpoint.manifest.image_lists.iter().find(|l| l.role == role));
        list.map_or("–".into(), |l| l.images.to_string())
    }

    /// Step in which a class is learned; background counts to the base.
    pub(crate) fn learned_in(&self, class: usize) -> usize {
        let mut end = 0;
        let ends = self.config.task.steps.iter().map(|names| {
            end += names.len();
            end
        });
        ends.take_while(|&end| end < class).count()
    }

    /// IoU of a class after the last step, minus the one after the step that taught it. None for a class of the last step.
    pub(crate) fn forgetting(&self, class: usize) -> Option<f64> {
        let (last, learned) = (self.last()?.metrics.step, self.learned_in(class));
        if learned < last { Some(self.iou(last, class)? - self.iou(learned, class)?) } else { None }
    }

    /// Mean of [`Self::forgetting`] over all classes that have one, background left out.
    pub(crate) fn mean_forgetting(&self) -> Option<f64> {
        let values: Vec<f64> = (1..self.classes.len()).filter_map(|class| self.forgetting(class)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

fn finished(dir: &Path, config: &RunConfig, step: usize) -> Result<Option<Finished>> {
    let folder = match &config.train.base_checkpoint {
        Some(base) if Checkpoint::open(base).map_or(0, |c| c.manifest.step) == step => base.clone(),
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

/// Gives runs whose folders have the same name as much of their paths as tells them apart.
pub(crate) fn name_apart(runs: &mut [RunData]) {
    let paths: Vec<PathBuf> = runs.iter().map(|r| r.dir.canonicalize().unwrap_or_else(|_| r.dir.clone())).collect();
    for (run, path) in runs.iter_mut().zip(&paths) {
        let twin = |length: usize| paths.iter().any(|other| other != path && tail(other, length) == tail(path, length));
        let length = (1..path.components().count()).find(|&length| !twin(length));
        run.name = tail(path, length.unwrap_or(1)).display().to_string();
    }
}

/// The last parts of a path.
fn tail(path: &Path, length: usize) -> PathBuf {
    path.components().skip(path.components().count().saturating_sub(length)).collect()
}
