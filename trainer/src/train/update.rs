//! One update of the weights: targets, losses and gradients of all micro-batches, then the optimizer.

use amis_data::loader::Batch;
use tch::Tensor;

use super::Run;
use super::draws::draws;
use super::networks::Networks;
use crate::eval::to_tensors;
use crate::guard::guarded;
use crate::model::{GAMMA, Mode};
use crate::optim::{Optimizer, learning_rate};
use crate::step::{Losses, Totals, losses, targets};
use crate::{Error, Result};

/// Learning rate of gates that start closed, as a factor: at the common one they hardly move (AMIS.md section 2).
const GATE_LR: f64 = 10.0;

/// The network that learns, with all that an update needs.
pub(super) struct Updater<'a> {
    run: &'a Run<'a>,
    step: usize,
    /// Iterations of the step.
    total: usize,
    pub(super) networks: Networks,
    pub(super) optimizer: Optimizer,
    /// Micro-batches that this process's share of a batch is cut into.
    parts: usize,
}

/// What an update leaves to be logged; on the device, because reading makes the host wait.
pub(super) struct Update {
    pub(super) lr: f64,
    /// Loss terms of this process's share of the batch; those of all processes add up to the terms of the batch.
    pub(super) losses: Losses,
    /// Length of all gradients together.
    pub(super) gradient_norm: Tensor,
}

impl<'a> Updater<'a> {
    pub(super) fn new(run: &'a Run<'a>, step: usize, total: usize, networks: Networks) -> Self {
        let (config, optimizer) = (run.config, &run.config.optimizer);
        Self {
            run,
            step,
            total,
            networks,
            optimizer: Optimizer::new(optimizer.rule, optimizer.weight_decay).clipped(optimizer.clip_norm).for_precision(config.train.precision),
            parts: config.train.accumulate,
        }
    }

    /// Trains on a batch, in smaller micro-batches from now on where memory does not suffice and the configuration allows it.
    ///
    /// # Errors
    /// Out of memory, or gradients that stay infinite.
    pub(super) fn update(&mut self, batch: &Batch) -> Result<Update> {
        let (config, images) = (self.run.config, batch.names.len());
        let (crop, schedule) = (config.image.crop_px, &config.optimizer);
        let seed = mix(config.train.seed, self.step, batch.iteration + 1);
        let mut totals = None;
        let losses = loop {
            let at_once = images.div_ceil(self.parts);
            let doing = || format!("training on {at_once} images of {crop}x{crop} pixels at once");
            match guarded(doing, || self.gradients(batch, seed, &mut totals)) {
                Err(Error::OutOfMemory { doing, reason }) if config.train.batch_auto && self.parts < images => {
                    self.parts = (2 * self.parts).min(images);
                    tracing::warn!("out of memory while {doing} ({reason}); its images are taken in {} parts from now on", self.parts);
                }
                losses => break losses?,
            }
        };
        guarded(|| "adding up the gradients of all processes".into(), || self.run.ranks.sum_gradients(&self.networks.new.params))?;
        let lr = learning_rate(schedule.schedule, config.phase(self.step).lr, schedule.warmup, batch.iteration, self.total);
        let factor = |name: &str| if self.networks.closed_gates && name == GAMMA { GATE_LR } else { 1.0 };
        let doing = || "updating the weights".into();
        let gradient_norm = guarded(doing, || self.optimizer.update(&self.networks.new.params, lr, &factor))?;
        Ok(Update { lr, losses, gradient_norm })
    }

    /// Leaves the gradients of this process's share of the batch in the network, times the optimizer's loss scale. `totals` are those of an earlier try that
    /// ran out of memory.
    fn gradients(&mut self, batch: &Batch, seed: u64, totals: &mut Option<Totals>) -> Result<Losses> {
        let (config, own, Networks { new, old, .. }) = (self.run.config, &self.run.own, &mut self.networks);
        let (images, labels) = to_tensors(batch, config.image.crop_px, config.image.crop_px, self.run.device)?;
        let (count, parts) = (batch.names.len(), self.parts);
        let micro_batches: Vec<_> = (0..parts)
            .map(|part| part * count / parts..(part + 1) * count / parts)
            .filter(|positions| !positions.is_empty())
            .map(|positions| {
                let of_part = |whole: &Tensor| whole.narrow(0, positions.start as i64, positions.len() as i64);
                let images = of_part(&images);
                let targets = targets(old.as_ref(), &images, &of_part(&labels), &config.method);
                (positions, images, targets)
            })
            .collect();
        let totals = match totals {
            Some(totals) => totals,
            None => {
                let sum = Totals::sum(micro_batches.iter().map(|(_, _, targets)| &targets.totals));
                self.run.ranks.sum_tensor(&sum.0)?;
                totals.insert(sum)
            }
        };
        new.params.zero_grad();
        let mut sum = Losses::default();
        for (positions, images, targets) in micro_batches {
            let share = positions.len() as f64 / config.train.batch as f64;
            let mut uniform = draws(seed, own.start + positions.start..own.start + positions.end);
            let losses = losses(new, &images, &targets, totals, &config.method, Mode::Train(&mut uniform));
            self.optimizer.scaled(losses.total()).f_backward()?;
            add(&mut sum, &losses, share);
        }
        Ok(sum)
    }

    /// Images in the largest micro-batch of a batch.
    pub(super) fn micro_batch(&self) -> usize {
        self.run.own.len().div_ceil(self.parts)
    }
}

/// Adds the values of a micro-batch with this share of the batch's images to those before.
fn add(sum: &mut Losses, part: &Losses, share: f64) {
    let values = part.terms.iter().map(|(name, value)| (*name, value.detach()));
    if sum.terms.is_empty() {
        sum.terms = values.collect();
    } else {
        sum.terms.iter_mut().zip(values).for_each(|((_, sum), (_, value))| *sum = &*sum + value);
    }
    // The terms are shares already, by their denominators.
    let gate = part.gate.as_ref().map(|gate| gate.detach() * share);
    sum.gate = match (sum.gate.take(), gate) {
        (Some(sum), Some(gate)) => Some(sum + gate),
        (sum, gate) => sum.or(gate),
    };
}

/// One seed from a run's seed, a step and a place in it.
pub(super) fn mix(seed: u64, step: usize, place: usize) -> u64 {
    let digest = amis_artifacts::files::sha256(format!("{seed}/{step}/{place}").as_bytes());
    u64::from_str_radix(&digest[..16], 16).unwrap_or_default()
}
