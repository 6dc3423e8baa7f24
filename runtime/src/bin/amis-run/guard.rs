//! The run as the judge of a release on trial: it lets it serve on, or goes back.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use amis_artifacts::bundle;
use amis_runtime::Result;
use amis_runtime::stats::Serving;
use amis_runtime::update::{Bad, Config, Device, Error, Event, MAX_STARTS, PROBATION_MINUTES, Phase, Probation, State, Verdict, clock};

use crate::watch::{self, Watch};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// Events of a run that are kept with the reason why it was left.
const LOG_TAIL: usize = 20;

/// What a run on this device starts with: the current release, or the one before if the current one has come to nothing too often.
pub(crate) fn bundle(device: &Device) -> Result<PathBuf> {
    let mut state = device.state()?;
    if matches!(state.phase, Phase::Probation { starts } if starts >= MAX_STARTS) {
        state = device.happen(Event::Started)?;
        tracing::warn!("{}", last_bad(&state));
    }
    match state.current {
        // Follows the state, also when the run is told to load its bundle anew.
        Some(_) => Ok(device.root().join("current")),
        None => {
            Err(Error::Refused { reason: format!("{} has no release yet: `amis-run install` or `amis-run update` brings one", device.root().display()) }.into())
        }
    }
}

fn last_bad(state: &State) -> String {
    state.bad.last_key_value().map_or(String::new(), |(version, bad)| format!("version {version} was left: {}", bad.reason))
}

/// From now on a release on trial is judged, and left if it is bad.
pub(crate) fn guard(device: Device, watch: Watch) {
    thread::spawn(move || {
        let mut guard = Guard { last: watch.journal.serving(), device, watch, before: None, probation: None };
        loop {
            thread::sleep(PERIOD);
            if let Err(error) = guard.look() {
                tracing::warn!("the release on trial cannot be judged: {error}");
                thread::sleep(Duration::from_secs(5));
            }
        }
    });
}

struct Guard {
    device: Device,
    watch: Watch,
    /// How the model that serves does.
    last: Serving,
    /// How the one before did at its end.
    before: Option<Serving>,
    /// Of which version, and its trial.
    probation: Option<(u64, Probation)>,
}

impl Guard {
    fn look(&mut self) -> Result<()> {
        let serving = self.watch.journal.serving();
        let last = std::mem::replace(&mut self.last, serving.clone());
        if last.version != serving.version {
            self.before = Some(last);
        }
        let state = self.device.state()?;
        let version = serving.version;
        if !matches!(state.phase, Phase::Probation { .. }) || state.current != Some(version) {
            self.probation = None;
            return Ok(());
        }
        if self.probation.as_ref().is_none_or(|(of, _)| *of != version) {
            let limit_ms = bundle::read_folder(&self.device.release(version))?.self_test.and_then(|test| test.max_latency_ms);
            self.probation = Some((version, Probation::begin(self.length(), limit_ms, self.before.clone())));
        }
        match self.probation.as_ref().map(|(_, probation)| probation.judge(Instant::now(), &serving)) {
            Some(Verdict::Healthy) => {
                self.device.happen(Event::Healthy)?;
                self.watch.journal.event(format!("version {version} is through its probation after {} frames", serving.frames));
            }
            Some(Verdict::Bad(reason)) => self.go_back(version, reason)?,
            Some(Verdict::Wait) | None => {}
        }
        Ok(())
    }

    /// How long a trial is. A device that is updated by hand has no update.toml.
    fn length(&self) -> Duration {
        let minutes = Config::read(self.device.root()).map_or(PROBATION_MINUTES, |config| config.probation_minutes);
        Duration::from_secs_f64(minutes * 60.0)
    }

    fn go_back(&mut self, version: u64, reason: String) -> Result<()> {
        self.watch.journal.warning(format!("version {version} is left: {reason}"));
        let events = self.watch.journal.events_after(0);
        let log = events.iter().rev().take(LOG_TAIL).rev().map(|event| event.text.clone()).collect();
        let state = self.device.happen(Event::Failed(Bad { reason, unix_s: clock::now_unix_s(), log }))?;
        match state.current.filter(|&current| current != version) {
            Some(previous) => {
                let release = self.device.release(previous);
                if let Err(error) = self.watch.swap.change(|| self.watch.options.open_model(&release)) {
                    // Whoever starts the run again starts it with the release before.
                    watch::give_up(None, &format!("version {version} has to go, and version {previous} does not take over: {error}"));
                }
                Ok(())
            }
            None => {
                self.watch.journal.warning("there is no release before it, so it goes on".to_owned());
                Ok(())
            }
        }
    }
}
