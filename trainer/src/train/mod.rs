//! The road of a run: base step, then one incremental step per entry of the task, a checkpoint folder for each.

mod finish;
mod log;
mod networks;
mod plan;
mod state;
mod step_loop;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_artifacts::metrics::StepMetrics;
use serde::Serialize;
use tch::Device;

pub use log::{LogRecord, read_log};
pub use plan::Plan;

use crate::config::Config;
use crate::{Error, Result};

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

/// A run in a folder.
struct Run<'a> {
    config: &'a Config,
    plan: Plan,
    dir: &'a Path,
    device: Device,
    stop: &'a AtomicBool,
}

/// Trains all steps of `config` into `dir`. Steps that are finished there are kept; a started one goes on where its state was saved.
///
/// # Errors
/// A data set that does not fit the configuration, a foreign folder or parent, diverging losses, or [`Error::Stopped`] once `stop` is set and the state is saved.
pub fn run(config: &Config, dir: &Path, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<RunSummary> {
    let started = std::time::Instant::now();
    let plan = Plan::new(config)?;
    if !dir.join("config.json").exists() {
        let report = plan.check(&|_| {});
        if !report.is_sound() {
            return Err(Error::dataset(&config.data.root, &report));
        }
    }
    claim_folder(config, dir)?;
    tracing::info!("training on {:?}", Device::cuda_if_available());
    let run = Run { config, plan, dir, device: Device::cuda_if_available(), stop };
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    let mut steps = Vec::new();
    for step in 0..run.plan.steps.len() {
        let (checkpoint, found) = match finish::find(&run, step, checkpoints.last())? {
            Some(checkpoint) => (checkpoint, true),
            None => (step_loop::train_step(&run, step, checkpoints.last(), observer)?, false),
        };
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
        return Ok(files::write_json(&path, &own)?);
    }
    let found: serde_json::Value = files::read_json(&path, "configuration of a run")?;
    match plan::first_difference("", &found, &own) {
        None => Ok(()),
        Some(reason) => Err(Error::ForeignRun { path: dir.into(), reason }),
    }
}
