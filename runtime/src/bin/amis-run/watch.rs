//! Signals, the service manager, and an eye on what hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use amis_runtime::pipeline::{Parts, RunOptions};
use amis_runtime::stats::{Journal, Monitor};
use amis_runtime::swap::Swap;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::state::State;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// A run that was asked to stop and has not after this time is ended.
const STOP_TIME: Duration = Duration::from_secs(4);

/// What acts on a run from outside.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) options: Arc<RunOptions>,
    /// By camera.
    pub(crate) monitors: Vec<Arc<Monitor>>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) swap: Arc<Swap>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn new(options: &RunOptions, parts: &Parts) -> Self {
        let monitors = parts.lanes.iter().map(|lane| Arc::clone(&lane.monitor)).collect();
        let (journal, swap) = (Arc::clone(&parts.journal), Arc::clone(&parts.swap));
        Self { options: Arc::new(options.clone()), monitors, journal, swap, stop: Arc::new(AtomicBool::new(false)) }
    }

    /// What has not come back for longer than `limit`, and for how long.
    fn stuck(&self, limit: Duration) -> Option<(String, Duration)> {
        self.monitors.iter().filter_map(|monitor| monitor.stuck(limit)).max_by_key(|(_, time)| *time)
    }

    /// From now on Ctrl-C and SIGTERM end the run in order, the second time at once, and SIGHUP loads the bundle anew.
    pub(crate) fn listen(&self) {
        let watch = self.clone();
        let mut signals = match Signals::new([SIGINT, SIGTERM, SIGHUP]) {
            Ok(signals) => signals,
            Err(error) => return tracing::warn!("Ctrl-C will not end the run in order: {error}"),
        };
        thread::spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    let watch = watch.clone();
                    thread::spawn(move || watch.swap.change(|| watch.options.open_model(&watch.options.bundle)));
                } else if watch.stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(1);
                }
            }
        });
    }

    /// From now on the service manager is told how the run gets on, and a run that hangs for `limit` ends the process with the reason in `state`.
    pub(crate) fn supervise(&self, limit: Duration, state: Option<State>) {
        let watch = self.clone();
        thread::spawn(move || {
            let mut manager = Manager::default();
            let mut stopping: Option<Instant> = None;
            loop {
                thread::sleep(PERIOD);
                if watch.stop.load(Ordering::Relaxed) {
                    manager.stopping();
                    let since = *stopping.get_or_insert_with(Instant::now);
                    if since.elapsed() > STOP_TIME {
                        let what = watch.stuck(Duration::from_secs(1)).map_or_else(|| "it".to_owned(), |(name, _)| name);
                        give_up(state.as_ref(), &format!("it was asked to stop, and {what} did not come back within {} s", STOP_TIME.as_secs()));
                    }
                }
                match watch.stuck(limit) {
                    Some((name, time)) => give_up(state.as_ref(), &format!("{name} did not come back for {} s", time.as_secs())),
                    None => manager.alive(&watch),
                }
            }
        });
    }
}

/// Ends the process: a thread in a driver cannot be ended otherwise.
pub(crate) fn give_up(state: Option<&State>, reason: &str) -> ! {
    tracing::error!("the run is ended: {reason}");
    if let Some(state) = state {
        state.end(reason);
    }
    std::process::exit(1);
}

/// What systemd was told. Without systemd nothing is.
#[derive(Default)]
struct Manager {
    ready: bool,
    stopping: bool,
    steps: u64,
}

impl Manager {
    /// Feeds the watchdog if the pipeline has done anything since, and tells the first frame.
    fn alive(&mut self, watch: &Watch) {
        if !self.ready && watch.monitors.iter().any(|monitor| monitor.silence().is_some()) {
            self.ready = true;
            tell(&[NotifyState::Ready, NotifyState::Status(&format!("{} serves", watch.journal.title()))]);
        }
        let steps = watch.monitors.iter().map(|monitor| monitor.steps()).sum();
        if steps != std::mem::replace(&mut self.steps, steps) {
            tell(&[NotifyState::Watchdog]);
        }
    }

    fn stopping(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            tell(&[NotifyState::Stopping]);
        }
    }
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager was not told: {error}");
    }
}
