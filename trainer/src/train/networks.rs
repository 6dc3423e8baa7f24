use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use tch::Device;

use super::{Plan, Run};
use crate::config::Config;
use crate::model::{GAMMA, Segmenter, add_group, initial_weights};
use crate::pretrained::Pretrained;
use crate::{Error, Result};

/// The network to train and, in an incremental step that needs it, the frozen one of the step before.
pub(super) struct Networks {
    pub(super) new: Segmenter,
    pub(super) old: Option<Segmenter>,
    /// Whether the gates of the Global Attention Block start closed, in a network that was imported without it.
    pub(super) closed_gates: bool,
}

/// Networks at the start of a step. Step 0 starts at random; later steps copy the parent and add a group of classes.
///
/// # Errors
/// No parent, or one of other classes or sizes: never a fresh model in its place.
pub(super) fn networks(run: &Run<'_>, step: usize, parent: Option<&Checkpoint>) -> Result<Networks> {
    let (config, groups) = (run.config, run.plan.groups(step));
    let segmenter = |groups: &_, weights: &_, device: Device, trainable| -> Result<Segmenter> {
        Ok(Segmenter::new(&config.model, groups, config.position_grid(), weights, device, trainable)?.in_precision(config.train.precision))
    };
    if step == 0 {
        let mut weights = initial_weights(&config.model, &groups, config.position_grid(), config.train.seed);
        if let Some(file) = &config.train.pretrained {
            let report = Pretrained::open(file, &config.model)?.load_into(&mut weights, config.position_grid())?;
            if run.ranks.is_first() {
                tracing::info!("{}", report.summary());
                files::write_json(&run.dir.join("pretrained.json"), &report)?;
            }
        }
        return Ok(Networks { new: segmenter(&groups, &weights, run.device, true)?, old: None, closed_gates: false });
    }
    let expected = run.dir.join(format!("step-{}", step - 1));
    let parent = parent.ok_or_else(|| Error::Parent { step, parent: expected, reason: "no checkpoint there".into() })?;
    check_parent(config, &run.plan, step, parent)?;
    let mut weights = parent.weights()?;
    let old = if config.method.is_more_than_finetuning() { Some(segmenter(&groups.without_last(), &weights, run.device, false)?) } else { None };
    add_group(&mut weights, &groups, config.model.dim as usize, config.method.weight_transfer, config.train.seed);
    let closed_gates = weights.get(GAMMA).is_some_and(|gamma| gamma.data.iter().all(|&v| v == 0.0));
    Ok(Networks { new: segmenter(&groups, &weights, run.device, true)?, old, closed_gates })
}

/// The checkpoint that is given instead of training its step and those before, checked before the folder is claimed.
///
/// # Errors
/// Not there, of other classes or sizes than the run, or of its last step.
pub(super) fn given(config: &Config, plan: &Plan) -> Result<Option<Checkpoint>> {
    let Some(base) = &config.train.base_checkpoint else { return Ok(None) };
    let base = Checkpoint::open(base)?;
    let (step, steps) = (base.manifest.step + 1, plan.steps.len());
    if step > steps {
        let reason = format!("it is step {}, and the configuration has {steps} steps", step - 1);
        return Err(Error::Parent { step, parent: base.dir, reason });
    }
    check_parent(config, plan, step, &base)?;
    Ok(Some(base))
}

/// A parent knows exactly the classes of the steps before, in this order, in a network of these sizes, with the same input.
fn check_parent(config: &Config, plan: &Plan, step: usize, parent: &Checkpoint) -> Result<()> {
    let manifest = &parent.manifest;
    let wrong = |reason: String| Err(Error::Parent { step, parent: parent.dir.clone(), reason });
    if manifest.step + 1 != step {
        return wrong(format!("it is step {}, expected {}", manifest.step, step - 1));
    }
    if manifest.model != config.model {
        return wrong(format!("its network is {:?}, expected {:?}", manifest.model, config.model));
    }
    if manifest.position_grid != config.position_grid() {
        return wrong(format!("its position grid is {:?}, expected {:?}", manifest.position_grid, config.position_grid()));
    }
    if manifest.image_spec != config.image_spec() {
        return wrong(format!("its input is {:?}, expected {:?}", manifest.image_spec, config.image_spec()));
    }
    if manifest.groups != plan.groups(step - 1) {
        return wrong(format!("its classes by step are {:?}, expected {:?}", manifest.groups.0, plan.groups(step - 1).0));
    }
    match plan.classes.must_extend(&manifest.classes) {
        Ok(()) => Ok(()),
        Err(error) => wrong(error.to_string()),
    }
}
