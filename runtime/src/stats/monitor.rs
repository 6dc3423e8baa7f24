use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::progress::{Busy, Progress, Worker};
use super::times::{Times, covered};
use super::{Journal, Minute, Percentiles, STAGES, Summary, memory};
use crate::faults::Faults;

/// A station of a frame.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// Waiting for the source and reading from it.
    Capture,
    /// Frame to network input.
    Preprocess,
    /// The network.
    Infer,
    /// Logits to class map.
    ClassMap,
    /// Class map to picture.
    Overlay,
    /// All sinks.
    Sink,
}

/// Statistics of one camera of a run, filled by its threads and read by whoever shows them.
pub struct Monitor {
    journal: Arc<Journal>,
    /// Counts from 1; none in a run of one camera.
    camera: Option<usize>,
    state: Mutex<State>,
    progress: Progress,
    faults: Option<Arc<Faults>>,
}

struct State {
    opened: Instant,
    stages: [Times; STAGES.len()],
    age: Times,
    gap: Times,
    dropped: u64,
    /// When the capture of the first counted frame began.
    started: Option<Instant>,
    last: Option<Instant>,
}

impl Monitor {
    /// For a source that counts its faults in `faults`, which are events of the run from now on; `camera` is its number in a run of several, from 1.
    pub fn new(journal: Arc<Journal>, camera: Option<usize>, faults: Option<Arc<Faults>>) -> Self {
        if let Some(faults) = &faults {
            faults.tell(&journal);
        }
        let opened = Instant::now();
        let times = || Times::new(opened);
        let state = State { opened, stages: std::array::from_fn(|_| times()), age: times(), gap: times(), dropped: 0, started: None, last: None };
        Self { journal, camera, state: Mutex::new(state), progress: Progress::default(), faults }
    }

    /// Counts how long a station took for a frame.
    pub(crate) fn station(&self, stage: Stage, took: Duration) {
        self.lock().stages[stage as usize].add(Instant::now(), took);
    }

    /// Counts frames that nobody will see.
    pub(crate) fn dropped(&self, frames: u64) {
        self.lock().dropped += frames;
    }

    /// Counts a frame that all sinks have, from when its capture began and when it was taken.
    pub(crate) fn shown(&self, started: Option<Instant>, taken: Instant) {
        let (mut state, now) = (self.lock(), Instant::now());
        state.age.add(now, now.saturating_duration_since(taken));
        state.started = state.started.or(started);
        if let Some(last) = state.last.replace(now) {
            state.gap.add(now, now - last);
        }
    }

    /// Marks that a thread is in a call, until the guard goes.
    pub(crate) fn busy(&self, worker: Worker) -> Busy<'_> {
        self.progress.busy(worker)
    }

    /// Calls to source, model and sinks that came back so far. A run that gets on counts on, also when the source has no frames.
    pub fn steps(&self) -> u64 {
        self.progress.steps()
    }

    /// Which of source, model and sinks has not come back for longer than `limit`, and for how long.
    pub fn stuck(&self, limit: Duration) -> Option<(String, Duration)> {
        let of_camera = self.camera.map(|camera| format!(" of camera {camera}")).unwrap_or_default();
        self.progress.stuck(limit).map(|(name, time)| (format!("{name}{of_camera}"), time))
    }

    /// Its number in a run of several, from 1.
    pub fn camera(&self) -> Option<usize> {
        self.camera
    }

    /// How long ago the last frame was finished; none before the first.
    pub fn silence(&self) -> Option<Duration> {
        self.lock().last.map(|last| last.elapsed())
    }

    /// Where the run is.
    pub fn summary(&self) -> Summary {
        let (mut state, now) = (self.lock(), Instant::now());
        let seconds = state.started.zip(state.last).map_or(0.0, |(started, last)| last.saturating_duration_since(started).as_secs_f64());
        let age = state.age.since_start();
        let rate = |frames: u64, seconds: f64| if seconds > 0.0 { frames as f64 / seconds } else { 0.0 };
        Summary {
            camera: self.camera,
            frames: age.count,
            fps: rate(age.count, seconds),
            dropped: state.dropped,
            max_gap_ms: state.gap.since_start().max_ms,
            seconds,
            stages: by_name(&mut state.stages, |times| times.since_start()),
            age,
            faults: self.faults.as_ref().map(|faults| faults.counts()).unwrap_or_default(),
            minute: state.minute(now),
            rss_mib: memory::peak_rss_mib(),
            rss_now_mib: memory::rss_mib(),
            model: self.journal.model(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn minute(&mut self, now: Instant) -> Minute {
        let age = self.age.last_minute(now);
        // A run that began within the minute is not blamed for the time before.
        let covered = covered(self.opened, now).min(self.started.map_or(f64::INFINITY, |started| (now - started).as_secs_f64()));
        let fps = if covered > 0.0 { age.count as f64 / covered } else { 0.0 };
        let stages = by_name(&mut self.stages, |times| times.last_minute(now));
        Minute { frames: age.count, fps, stages, age, gap: self.gap.last_minute(now) }
    }
}

fn by_name(stages: &mut [Times; STAGES.len()], percentiles: impl Fn(&mut Times) -> Percentiles) -> BTreeMap<&'static str, Percentiles> {
    STAGES.into_iter().zip(stages.iter_mut().map(percentiles)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ModelInfo;
    use super::*;

    fn monitor() -> Monitor {
        let model = ModelInfo { name: "a".into(), version: 1, precision: "fp32".into(), classes: vec!["background".into()] };
        Monitor::new(Journal::new(model), None, None)
    }

    #[test]
    fn a_run_without_frames_has_no_figures() {
        let summary = monitor().summary();
        assert_eq!((summary.frames, summary.fps, summary.minute.fps, summary.age), (0, 0.0, 0.0, Percentiles::default()));
    }

    #[test]
    fn age_and_gap_are_taken_when_a_frame_is_shown() {
        let (monitor, start) = (monitor(), Instant::now());
        let taken = start.checked_sub(Duration::from_secs(2)).unwrap();
        for _ in 0..3 {
            monitor.station(Stage::Infer, Duration::from_millis(7));
            monitor.shown(Some(start), taken);
            std::thread::sleep(Duration::from_millis(2));
        }
        let summary = monitor.summary();
        assert!(summary.age.p50_ms >= 2000.0 && summary.max_gap_ms >= 2.0 && summary.minute.age.p50_ms >= 1980.0);
        assert_eq!((summary.frames, summary.minute.gap.count, summary.stages["infer"].count, summary.stages["sink"].count), (3, 2, 3, 0));
    }
}
