//! What goes wrong in a source without ending it: counted by kind, and said in the log and among the events without flooding them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::stats::Journal;

/// Between two lines about the same kind.
const QUIET: Duration = Duration::from_secs(10);

/// Counts faults by kind; readers may look at any time.
#[derive(Debug, Default)]
pub struct Faults {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Where they are told, once there is a run.
    journal: OnceLock<Arc<Journal>>,
}

impl Faults {
    /// Counts one fault of a kind, such as "short buffer".
    pub fn add(&self, kind: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// Kinds that have happened, with their number.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the log says about them is an event of the run from now on.
    pub(crate) fn tell(&self, journal: &Arc<Journal>) {
        // A source belongs to one run.
        let _ = self.journal.set(Arc::clone(journal));
    }

    fn say(&self, text: String) {
        match self.journal.get() {
            Some(journal) => journal.warning(text),
            None => tracing::warn!("{text}"),
        }
    }
}

/// Counts the faults of one source, and says at most one line in ten seconds for each kind.
pub(crate) struct FaultLog {
    source: String,
    faults: Arc<Faults>,
    /// By kind: when a line was written, and how many faults were not said since.
    said: BTreeMap<&'static str, (Instant, u64)>,
}

impl FaultLog {
    pub(crate) fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), faults: Arc::default(), said: BTreeMap::new() }
    }

    /// The counts, which go on while this log is used.
    pub(crate) fn faults(&self) -> Arc<Faults> {
        self.faults.clone()
    }

    /// Counts a fault, and says it if the last line about its kind is long enough ago.
    pub(crate) fn add(&mut self, kind: &'static str, detail: impl Display) {
        self.faults.add(kind);
        let (source, now) = (&self.source, Instant::now());
        match self.said.get_mut(kind) {
            Some((last, unsaid)) if now - *last < QUIET => *unsaid += 1,
            None | Some((_, 0)) => {
                self.faults.say(format!("{source}: {kind}: {detail}"));
                self.said.insert(kind, (now, 0));
            }
            Some((_, more)) => {
                self.faults.say(format!("{source}: {kind}: {detail} ({more} more since the last line)"));
                self.said.insert(kind, (now, 0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ModelInfo, Monitor};

    #[test]
    fn every_fault_is_counted_and_each_kind_said_once_in_ten_seconds() {
        let mut log = FaultLog::new("camera");
        (0..1000).for_each(|i| log.add("stalled", i));
        log.add("corrupt", "x");
        assert_eq!(log.faults().counts(), BTreeMap::from([("corrupt", 1), ("stalled", 1000)]));
        assert_eq!((log.said["stalled"].1, log.said["corrupt"].1), (999, 0));
    }

    #[test]
    fn what_is_said_is_an_event_of_the_run() {
        let mut log = FaultLog::new("/dev/video1");
        log.add("stalled", "before the run");
        let journal = Journal::new(ModelInfo { name: "a".into(), version: 1, precision: "fp32".into(), classes: Vec::new() });
        let _monitor = Monitor::new(Arc::clone(&journal), None, Some(log.faults()));
        (0..9).for_each(|_| log.add("corrupt", "ends early"));
        let events = journal.events_after(0);
        assert!(events.len() == 1 && events[0].warning && events[0].text == "/dev/video1: corrupt: ends early", "{events:?}");
    }
}
