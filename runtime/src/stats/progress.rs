use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A thread of the pipeline.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Worker {
    /// In the source.
    Capture,
    /// In the model.
    Infer,
    /// In overlay and sinks.
    Present,
}

const NAMES: [&str; 3] = ["the source", "the model", "a sink"];

/// Whether the threads get on: a driver or a library that never returns is seen here and nowhere else.
#[derive(Default)]
pub(super) struct Progress {
    /// Since when each thread is in a call, if it is in one.
    since: Mutex<[Option<Instant>; NAMES.len()]>,
    /// Calls that came back.
    steps: AtomicU64,
}

impl Progress {
    pub(super) fn busy(&self, worker: Worker) -> Busy<'_> {
        self.set(worker, Some(Instant::now()));
        Busy { progress: self, worker }
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// What has not come back for longer than `limit`, and for how long.
    pub(super) fn stuck(&self, limit: Duration) -> Option<(&'static str, Duration)> {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let times = NAMES.into_iter().zip(since).filter_map(|(name, since)| since.map(|since| (name, since.elapsed())));
        times.filter(|(_, time)| *time > limit).max_by_key(|(_, time)| *time)
    }

    fn set(&self, worker: Worker, since: Option<Instant>) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)[worker as usize] = since;
    }
}

/// A call that has not come back yet.
pub(crate) struct Busy<'a> {
    progress: &'a Progress,
    worker: Worker,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.progress.set(self.worker, None);
        self.progress.steps.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_back_is_stuck() {
        let progress = Progress::default();
        drop(progress.busy(Worker::Capture));
        let call = progress.busy(Worker::Infer);
        std::thread::sleep(Duration::from_millis(5));
        assert!(progress.stuck(Duration::from_secs(60)).is_none());
        assert!(progress.stuck(Duration::from_millis(1)).is_some_and(|(name, time)| name == "the model" && time.as_millis() >= 5));
        drop(call);
        assert!(progress.stuck(Duration::ZERO).is_none());
        assert_eq!(progress.steps(), 2);
    }
}
