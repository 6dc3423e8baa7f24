use std::path::PathBuf;

use amis_artifacts::checkpoint::{self, Checkpoint, CheckpointManifest};
use amis_artifacts::metrics::{ConfusionMatrix, StepMetrics};
use amis_artifacts::weights::{HostTensor, Weights};
use amis_data::label_mapping;
use amis_data::loader::{Loader, LoaderOptions};

use super::{Run, plan};
use crate::eval;
use crate::guard::guarded;
use crate::model::Segmenter;
use crate::{Error, Result};

/// Validation images that a checkpoint keeps with their logits, for verifying exports.
const SAMPLES: usize = 4;

/// The finished checkpoint of a step, if the run has it already.
///
/// # Errors
/// A checkpoint that is damaged, or was made with another parent.
pub(super) fn find(run: &Run<'_>, step: usize, parent: Option<&Checkpoint>) -> Result<Option<Checkpoint>> {
    let dir = folder(run, step);
    // Network file systems remember for a while that a file was not there: a rank that is about to read it must not have asked.
    if !run.ranks.any(run.ranks.is_first() && dir.join("checkpoint.json").exists()) {
        return Ok(None);
    }
    let found = Checkpoint::open(&dir)?;
    let expected = parent.map(Checkpoint::sha256).transpose()?;
    if found.manifest.parent_sha256 != expected {
        let reason = format!("step-{step} there descends from another step {}", step.saturating_sub(1));
        return Err(Error::ForeignRun { path: run.dir.into(), reason });
    }
    Ok(Some(found))
}

/// Evaluates the finished network of a step and writes its checkpoint folder.
///
/// # Errors
/// A validation image that cannot be read, or a full disk.
pub(super) fn write(run: &Run<'_>, step: usize, model: &Segmenter, parent: Option<&Checkpoint>) -> Result<Checkpoint> {
    let matrix = validate(run, step, model)?;
    if run.ranks.is_first() {
        write_folder(run, step, model, parent, matrix)?;
    }
    run.ranks.wait();
    Ok(Checkpoint::open(&folder(run, step))?)
}

fn folder(run: &Run<'_>, step: usize) -> PathBuf {
    run.dir.join(format!("step-{step}"))
}

fn write_folder(run: &Run<'_>, step: usize, model: &Segmenter, parent: Option<&Checkpoint>, matrix: ConfusionMatrix) -> Result<()> {
    let classes = run.plan.classes.prefix(model.groups.classes())?;
    let future_classes = run.config.task.future_classes;
    let metrics = StepMetrics { future_classes, ..StepMetrics::new(step, &classes, &model.groups, matrix) };
    let manifest = CheckpointManifest {
        format_version: checkpoint::FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        step,
        classes,
        groups: model.groups.clone(),
        image_spec: run.config.image_spec(),
        model: model.spec.clone(),
        position_grid: model.position_grid,
        config: plan::resolved(run.config)?,
        weights_sha256: String::new(),
        parent_sha256: parent.map(Checkpoint::sha256).transpose()?,
        image_lists: run.plan.list_refs(step),
    };
    checkpoint::write(&folder(run, step), manifest, &model.params.to_weights()?, &samples(run, step, model)?, &metrics)?;
    Ok(())
}

/// Confusion matrix over the validation list, all classes seen so far; every rank evaluates its part of the list, and all get the sum.
pub(super) fn validate(run: &Run<'_>, step: usize, model: &Segmenter) -> Result<ConfusionMatrix> {
    let names = run.ranks.part(&run.plan.val);
    let mut matrix = if names.is_empty() { ConfusionMatrix::new(model.groups.classes()) } else { evaluate(run, step, model, names)? };
    run.ranks.sum_counts(matrix.counts_mut());
    Ok(matrix)
}

fn evaluate(run: &Run<'_>, step: usize, model: &Segmenter, names: Vec<String>) -> Result<ConfusionMatrix> {
    let loader = Loader::start(validation(run, step, names)?)?;
    let (height_px, width_px) = (run.config.image.height_px, run.config.image.width_px);
    let doing = || format!("validating on {} images of {width_px}x{height_px} pixels at once", eval::BATCH);
    guarded(doing, || eval::evaluate(model, loader, height_px, width_px, run.device))
}

fn validation(run: &Run<'_>, step: usize, names: Vec<String>) -> Result<LoaderOptions> {
    let folder = run.plan.folder.clone();
    let mapping = label_mapping::eval(&run.plan.steps, step, run.config.task.future_classes, folder.layout().zero())?;
    Ok(eval::loading(folder, names, mapping, run.config.image_spec(), run.config.train.workers))
}

/// A few validation inputs, spread over the list, with their logits.
fn samples(run: &Run<'_>, step: usize, model: &Segmenter) -> Result<Weights> {
    let every = run.plan.val.len().div_ceil(SAMPLES);
    let names: Vec<String> = run.plan.val.iter().step_by(every).cloned().collect();
    let mut samples = Weights::new();
    for batch in Loader::start(validation(run, step, names)?)? {
        let batch = batch?;
        let (images, _) = eval::to_tensors(&batch, run.config.image.height_px, run.config.image.width_px, run.device)?;
        let logits = model.logits(&images);
        let shape = images.size().iter().map(|&n| n as usize).collect();
        samples.insert("input".into(), HostTensor { shape, data: batch.input });
        samples.insert("logits".into(), crate::model::to_host(&logits)?);
    }
    Ok(samples)
}
