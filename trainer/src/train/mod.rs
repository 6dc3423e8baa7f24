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

use std::ops::Range;
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
use crate::distributed::Ranks;
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

/// Shows nothing: what a rank that is not the first does.
struct Silent;

impl Observer for Silent {
    fn step_started(&mut self, _: usize, _: &[String], _: usize, _: usize, _: usize) {}
    fn iteration(&mut self, _: usize, _: Option<f64>) {}
    fn validated(&mut self, _: usize, _: f64, _: bool) {}
    fn step_finished(&mut self, _: &StepMetrics, _: bool) {}
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
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Folder of checkpoints, states and log; the same for all processes that train together.
    pub dir: &'a Path,
    /// This process among them.
    pub ranks: &'a Ranks,
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
    ranks: &'a Ranks,
    /// Positions of every batch that this process trains on.
    own: Range<usize>,
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

/// Trains all steps of `config` into the folder of `place`, those behind `train.base_checkpoint` if there is one. Steps that are finished there are kept; a started one goes on where its state was saved.
///
/// # Errors
/// A data set that does not fit the configuration, a foreign folder or parent, another process in the folder, no memory, diverging losses, or
/// [`Error::Stopped`] once `stop` is set and the state is saved.
pub fn run(config: &Config, place: Place<'_>, observer: &mut dyn Observer) -> Result<RunSummary> {
    let started = std::time::Instant::now();
    let Place { dir, ranks, device, stop } = place;
    let own = ranks.share(config.train.batch)?;
    let plan = Plan::new(config)?;
    let given = networks::given(config, &plan)?;
    let _lock = if ranks.is_first() { Some(prepare(config, &plan, dir)?) } else { None };
    ranks.wait();
    ranks.agree("configuration", || Ok(plan::resolved(config)?.to_string().into_bytes()))?;
    ranks.agree("images", || Ok(format!("{:?} {:?}", plan.images, plan.val).into_bytes()))?;
    let observer = if ranks.is_first() { observer } else { &mut Silent };
    if ranks.is_first() {
        tracing::info!("training on {}{}", device::name(device), ranks.others());
    }
    let run = Run { config, plan, dir, ranks, own, device, stop };
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    let mut steps = Vec::new();
    let first = given.as_ref().map_or(0, |base| base.manifest.step);
    for step in first..run.plan.steps.len() {
        let known = match &given {
            Some(base) if step == first => Some(base.clone()),
            _ => finish::find(&run, step, checkpoints.last())?,
        };
        let (checkpoint, found) = match known {
            Some(checkpoint) => (checkpoint, true),
            None => {
                let doing = || format!("preparing step {step}");
                (guarded(doing, || step_loop::train_step(&run, step, checkpoints.last(), observer))?, false)
            }
        };
        if ranks.is_first() {
            state::clear(dir, step);
        }
        let metrics = checkpoint.metrics()?;
        observer.step_finished(&metrics, found);
        steps.push(metrics);
        checkpoints.push(checkpoint);
    }
    Ok(RunSummary { checkpoints: checkpoints.into_iter().map(|c| c.dir).collect(), steps, seconds: started.elapsed().as_secs_f64() })
}

/// Makes sure that the run can start or go on in its folder, before any of it is written; a new run reads its whole data set once.
fn prepare(config: &Config, plan: &Plan, dir: &Path) -> Result<lock::Lock> {
    if !dir.join("config.json").exists() {
        if let (None, Some(file)) = (&config.train.base_checkpoint, &config.train.pretrained) {
            Pretrained::open(file, &config.model)?;
        }
        let report = plan.check(&|_| {});
        if !report.is_sound() {
            return Err(Error::dataset(&config.data.root, &report));
        }
    }
    let lock = lock::Lock::take(dir)?;
    claim_folder(config, dir)?;
    state::tidy(dir);
    Ok(lock)
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
