//! The road of a run: base step, then one incremental step per entry of the task, a checkpoint folder for each.

mod draws;
mod events;
mod figures;
mod finish;
mod lock;
mod log;
mod networks;
pub(crate) mod plan;
mod state;
mod step_loop;
mod update;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_artifacts::metrics::StepMetrics;
use amis_data::loader::iterations_per_epoch;
use serde::Serialize;
use tch::Device;

pub use figures::{Figure, figures};
pub use log::{LogRecord, read_log};
pub use plan::Plan;

use crate::config::Config;
use crate::guard::guarded;
use crate::pretrained::Pretrained;
use crate::{Error, Result, device};

/// What a run tells while it goes: the program shows it, the library never prints.
pub trait Observer {
    /// A step begins with `done` of `iterations` behind it.
    fn step_started(&mut self, step: usize, classes: &[String], images: usize, iterations: usize, done: usize);
    /// One iteration is over.
    fn iteration(&mut self, done: usize, total_loss: Option<f64>);
    /// The network was validated; mean IoU over the step's own classes, 0..1.
    fn validated(&mut self, epoch: usize, own_miou: f64, best: bool);
    /// A step is over, or was found finished.
    fn step_finished(&mut self, metrics: &StepMetrics, found_finished: bool);
}

/// Result of a run.
#[derive(Debug, Serialize)]
pub struct RunSummary {
    /// Checkpoint folders in order of the steps.
    pub checkpoints: Vec<PathBuf>,
    /// Metrics after every step.
    pub steps: Vec<StepMetrics>,
    /// Duration in seconds of what this start trained.
    pub seconds: f64,
}

/// Where a run takes place.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Folder of checkpoints, states and log.
    pub dir: &'a Path,
    /// Device to compute on; another one may go on with the run.
    pub device: Device,
    /// Set from outside to end the run after the running iteration.
    pub stop: &'a AtomicBool,
}

/// A run in a folder.
struct Run<'a> {
    config: &'a Config,
    plan: Plan,
    dir: &'a Path,
    device: Device,
    stop: &'a AtomicBool,
}

impl Run<'_> {
    /// Iterations of a step in an epoch.
    fn per_epoch(&self, step: usize) -> usize {
        iterations_per_epoch(self.plan.images[step].len(), self.config.train.batch, true)
    }

    /// Iterations of a whole step.
    fn iterations(&self, step: usize) -> usize {
        self.per_epoch(step) * self.config.phase(step).epochs
    }
}

/// Trains all steps of `config` into the folder of `place`. Steps that are finished there are kept; a started one goes on where its state was saved.
///
/// # Errors
/// A data set that does not fit the configuration, a foreign folder or parent, another process in the folder, no memory, diverging losses, or
/// [`Error::Stopped`] once `stop` is set and the state is saved.
pub fn run(config: &Config, place: Place<'_>, observer: &mut dyn Observer) -> Result<RunSummary> {
    let started = std::time::Instant::now();
    let Place { dir, device, stop } = place;
    let plan = Plan::new(config)?;
    networks::check_base(config, &plan)?;
    if !dir.join("config.json").exists() {
        if let (None, Some(file)) = (&config.train.base_checkpoint, &config.train.pretrained) {
            Pretrained::open(file, &config.model)?;
        }
        let report = plan.check(&|_| {});
        if !report.is_sound() {
            return Err(Error::dataset(&config.data.root, &report));
        }
    }
    let _lock = lock::Lock::take(dir)?;
    claim_folder(config, dir)?;
    state::tidy(dir);
    tracing::info!("training on {}", device::name(device));
    let run = Run { config, plan, dir, device, stop };
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    let mut steps = Vec::new();
    for step in 0..run.plan.steps.len() {
        let (checkpoint, found) = match finish::find(&run, step, checkpoints.last())? {
            Some(checkpoint) => (checkpoint, true),
            None => {
                let doing = || format!("preparing step {step}");
                (guarded(doing, || step_loop::train_step(&run, step, checkpoints.last(), observer))?, false)
            }
        };
        state::clear(dir, step);
        let metrics = checkpoint.metrics()?;
        observer.step_finished(&metrics, found);
        steps.push(metrics);
        checkpoints.push(checkpoint);
    }
    Ok(RunSummary { checkpoints: checkpoints.into_iter().map(|c| c.dir).collect(), steps, seconds: started.elapsed().as_secs_f64() })
}

/// Writes `config.json` into a new folder, or checks that the folder holds the same run.
fn claim_folder(config: &Config, dir: &Path) -> Result<()> {
    let path = dir.join("config.json");
    let own = plan::resolved(config)?;
    if !path.exists() {
        files::write_json(&path, &own)?;
    }
    let found: serde_json::Value = files::read_json(&path, "configuration of a run")?;
    // Through text as well: a number need not be read as the float that was written.
    let own = serde_json::from_str(&own.to_string()).unwrap_or(own);
    match plan::first_difference("", &found, &own) {
        None => Ok(()),
        Some(reason) => Err(Error::ForeignRun { path: dir.into(), reason }),
    }
}
