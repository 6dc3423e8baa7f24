use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::weights::{self, Weights};
use amis_data::label_mapping;
use amis_data::loader::{Loader, LoaderOptions};
use tch::{Kind, Tensor};

use super::log::{Log, LogRecord};
use super::networks::networks;
use super::state::{self, State};
use super::update::{Update, Updater, mix};
use super::{Observer, Run, finish};
use crate::model::Segmenter;
use crate::{Error, Result, device};

/// Iterations between two lines of losses in the log; reading a loss makes the host wait for the device.
const LOG_EVERY: usize = 10;
/// Decoded training images kept in memory, in bytes.
const TRAIN_CACHE_BYTES: usize = 2 << 30;

/// A step under way.
struct StepLoop<'a> {
    run: &'a Run<'a>,
    step: usize,
    updater: Updater<'a>,
    /// Rank 0 has it.
    log: Option<Log>,
    best: Option<f64>,
    best_weights: Weights,
    /// Time spent on the step by earlier starts.
    seconds_before: f64,
    started: Instant,
    per_epoch: usize,
    total: usize,
}

/// Trains one step to its end and writes its checkpoint.
///
/// # Errors
/// As [`super::run`].
pub(super) fn train_step(run: &Run<'_>, step: usize, parent: Option<&Checkpoint>, observer: &mut dyn Observer) -> Result<Checkpoint> {
    let mut this = StepLoop::new(run, step, parent)?;
    let done = this.resume()?;
    this.agree("starting weights", done)?;
    this.write_log(&LogRecord::Started {
        step,
        iteration: done,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        device: device::name(run.device),
        precision: run.config.train.precision,
        threads: tch::get_num_threads().max(1) as usize,
    })?;
    observer.step_started(step, &run.config.task.steps[step], run.plan.images[step].len(), this.total, done);
    this.iterate(done, observer)?;
    let best = Segmenter::new(&run.config.model, &run.plan.groups(step), run.config.position_grid(), &this.best_weights, run.device, false)?;
    let checkpoint = finish::write(run, step, &best, parent)?;
    this.write_log(&LogRecord::Finished { step, iteration: this.total, seconds: this.seconds() })?;
    Ok(checkpoint)
}

impl<'a> StepLoop<'a> {
    fn new(run: &'a Run<'a>, step: usize, parent: Option<&Checkpoint>) -> Result<Self> {
        let total = run.iterations(step);
        Ok(Self {
            run,
            step,
            updater: Updater::new(run, step, total, networks(run, step, parent)?),
            log: run.ranks.is_first().then(|| Log::open(run, step)).transpose()?,
            best: None,
            best_weights: Weights::new(),
            seconds_before: 0.0,
            started: Instant::now(),
            per_epoch: run.per_epoch(step),
            total,
        })
    }

    /// Takes up a saved state; returns the iterations it has behind it.
    fn resume(&mut self) -> Result<usize> {
        let Some(state) = state::load(self.run.dir, self.step)? else { return Ok(0) };
        let (config, groups) = (self.run.config, self.run.plan.groups(self.step));
        self.updater.networks.new =
            Segmenter::new(&config.model, &groups, config.position_grid(), &state.model, self.run.device, true)?.in_precision(config.train.precision);
        self.updater.optimizer.restore(state.updates, state.scaler, &state.optimizer, &self.updater.networks.new.params)?;
        (self.best, self.best_weights, self.seconds_before) = (state.best_miou, state.best, state.seconds);
        Ok(state.iteration)
    }

    /// Makes sure that all ranks have the same weights.
    fn agree(&self, what: &'static str, iteration: usize) -> Result<()> {
        let own = || -> Result<Vec<u8>> { Ok([weights::to_bytes(&self.updater.networks.new.params.to_weights()?)?, iteration.to_le_bytes().into()].concat()) };
        self.run.ranks.agree(what, own)
    }

    fn write_log(&mut self, record: &LogRecord) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.write(record))
    }

    fn save(&self, iteration: usize) -> Result<()> {
        let state = State {
            step: self.step,
            iteration,
            best_miou: self.best,
            seconds: self.seconds(),
            updates: self.updater.optimizer.updates(),
            scaler: self.updater.optimizer.scaler().cloned(),
            model: self.updater.networks.new.params.to_weights()?,
            optimizer: self.updater.optimizer.to_weights()?,
            best: self.best_weights.clone(),
        };
        state::save(self.run.dir, state)
    }

    /// Time spent on the step, over all starts.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn iterate(&mut self, done: usize, observer: &mut dyn Observer) -> Result<()> {
        let eval_every = self.per_epoch * self.run.config.train.eval_every;
        let save_every = Duration::from_secs(self.run.config.train.save_every_s);
        let (mut since, mut images, mut saved) = (Instant::now(), 0, Instant::now());
        let mut loader = Loader::start(self.loading(done)?)?;
        while let Some(batch) = loader.next() {
            let batch = batch?;
            let iteration = batch.iteration;
            images += self.run.config.train.batch;
            let micro_batch = self.updater.micro_batch();
            let update = self.updater.update(&batch)?;
            loader.give_back(batch);
            if self.updater.micro_batch() < micro_batch {
                self.write_log(&LogRecord::Split { step: self.step, iteration, micro_batch: self.updater.micro_batch() })?;
            }
            let mut total_loss = None;
            let finished = iteration + 1;
            let validates = finished.is_multiple_of(eval_every) || finished == self.total;
            // Before a validation too: weights after a loss that is no number are never kept.
            if iteration.is_multiple_of(LOG_EVERY) || validates {
                let rate = images as f64 / since.elapsed().as_secs_f64();
                total_loss = Some(self.log_losses(iteration, &update, rate)?);
                (since, images) = (Instant::now(), 0);
            }
            observer.iteration(finished, total_loss);
            if validates {
                self.validate(finished, observer)?;
            }
            let stops = self.run.ranks.any(self.run.stop.load(Ordering::Relaxed));
            if self.run.ranks.is_first() && (validates || stops || saved.elapsed() >= save_every) {
                self.save(finished)?;
                saved = Instant::now();
            }
            if stops {
                return Err(Error::Stopped { step: self.step, iteration: finished });
            }
        }
        Ok(())
    }

    fn loading(&self, done: usize) -> Result<LoaderOptions> {
        let config = self.run.config;
        Ok(LoaderOptions {
            folder: self.run.plan.folder.clone(),
            names: self.run.plan.images[self.step].clone(),
            mapping: label_mapping::train(&self.run.plan.steps, self.step)?,
            spec: config.crop_spec(),
            augment: Some(config.augment),
            batch: config.train.batch,
            own: self.run.own.clone(),
            seed: mix(config.train.seed, self.step, 0),
            first_iteration: done,
            end_iteration: Some(self.total),
            workers: config.train.workers,
            cache_bytes: TRAIN_CACHE_BYTES,
        })
    }

    /// Reads what the device has computed, all at once, because that makes the host wait.
    fn log_losses(&mut self, iteration: usize, update: &Update, images_per_s: f64) -> Result<f64> {
        let Update { lr, losses, gradient_norm } = update;
        let scalars: Vec<Tensor> =
            losses.terms.iter().map(|(_, value)| value).chain(&losses.gate).chain([gradient_norm]).map(|value| value.to_kind(Kind::Double)).collect();
        let mut values = Vec::<f64>::try_from(Tensor::f_stack(&scalars, 0)?)?;
        // The gradients are those of all ranks already.
        let gradient_norm = values.pop().filter(|norm| norm.is_finite());
        self.run.ranks.sum_numbers(&mut values);
        let (values, gate) = values.split_at(losses.terms.len());
        let mut terms = BTreeMap::new();
        for (&(term, _), &value) in losses.terms.iter().zip(values) {
            if !value.is_finite() {
                return Err(Error::Diverged { step: self.step, iteration, term, value });
            }
            terms.insert(term.to_owned(), value);
        }
        let total = terms.values().sum();
        self.write_log(&LogRecord::Losses {
            step: self.step,
            iteration,
            lr: *lr,
            terms,
            gradient_norm,
            loss_scale: self.updater.optimizer.scaler().map(|scaler| scaler.scale),
            gate: gate.first().copied(),
            images_per_s,
        })?;
        Ok(total)
    }

    /// Keeps the weights with the best mean IoU over the step's own classes (AMIS.md section 4).
    fn validate(&mut self, iteration: usize, observer: &mut dyn Observer) -> Result<()> {
        self.agree("weights", iteration)?;
        let matrix = finish::validate(self.run, self.step, &self.updater.networks.new)?;
        let groups = &self.updater.networks.new.groups;
        let own = if self.step == 0 { 1..groups.classes() } else { groups.old_classes()..groups.classes() };
        let own_miou = matrix.mean_iou(own).miou.unwrap_or(0.0);
        let best = self.best.is_none_or(|b| own_miou > b);
        if best {
            self.best = Some(own_miou);
            self.best_weights = self.updater.networks.new.params.to_weights()?;
        }
        let iou = (0..groups.classes()).map(|c| matrix.iou(c)).collect();
        self.write_log(&LogRecord::Validation { step: self.step, iteration, own_miou, iou, best })?;
        observer.validated(iteration / self.per_epoch, own_miou, best);
        Ok(())
    }
}
