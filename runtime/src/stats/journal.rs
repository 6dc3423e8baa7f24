use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::times::Times;
use super::{ModelInfo, Serving};

/// Events that are kept; older ones go.
const MAX_EVENTS: usize = 100;

/// Something that happened once, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Counts up from 1.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Whether somebody should look after it.
    pub warning: bool,
    /// What.
    pub text: String,
}

/// What all cameras of a run share: the model that serves, and what happened.
#[derive(Debug)]
pub struct Journal(Mutex<State>);

#[derive(Debug)]
struct State {
    model: ModelInfo,
    /// Of this model alone.
    inferences: Times,
    blank_frames: u64,
    events: VecDeque<Event>,
    count: u64,
}

impl Journal {
    /// For a run that begins with `model`.
    pub fn new(model: ModelInfo) -> Arc<Self> {
        let (inferences, events) = (Times::new(Instant::now()), VecDeque::with_capacity(MAX_EVENTS));
        Arc::new(Self(Mutex::new(State { model, inferences, blank_frames: 0, events, count: 0 })))
    }

    /// Remembers and logs something that happened.
    pub fn event(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!("{text}");
        self.remember(text, false);
    }

    /// Remembers and logs something that somebody should look after.
    pub fn warning(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::warn!("{text}");
        self.remember(text, true);
    }

    fn remember(&self, text: String, warning: bool) {
        let mut state = self.lock();
        if state.events.len() == MAX_EVENTS {
            state.events.pop_front();
        }
        state.count += 1;
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let number = state.count;
        state.events.push_back(Event { number, unix_ms, warning, text });
    }

    /// Events after the one with this number, oldest first; 0 gives all that are kept.
    pub fn events_after(&self, number: u64) -> Vec<Event> {
        self.lock().events.iter().filter(|e| e.number > number).cloned().collect()
    }

    /// Another model runs from now on.
    pub(crate) fn serves(&self, model: ModelInfo) {
        let mut state = self.lock();
        (state.model, state.inferences, state.blank_frames) = (model, Times::new(Instant::now()), 0);
    }

    /// Counts a frame for the model that serves: how long the network took, and whether it found nothing but background.
    pub(crate) fn inferred(&self, took: Duration, blank: bool) {
        let mut state = self.lock();
        state.inferences.add(Instant::now(), took);
        state.blank_frames += u64::from(blank);
    }

    /// How the model that serves has done since it does.
    pub fn serving(&self) -> Serving {
        let state = self.lock();
        let times = state.inferences.since_start();
        Serving { version: state.model.version, frames: times.count, blank_frames: state.blank_frames, infer_p95_ms: times.p95_ms }
    }

    /// The model that serves.
    pub fn model(&self) -> ModelInfo {
        self.lock().model.clone()
    }

    /// Name and version of the model.
    pub fn title(&self) -> String {
        let state = self.lock();
        format!("{} v{}", state.model.name, state.model.version)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_events_are_kept() {
        let journal = Journal::new(ModelInfo { name: "a".into(), version: 1, precision: "fp32".into(), classes: Vec::new() });
        (0..250).for_each(|i| journal.event(format!("{i}")));
        let all = journal.events_after(0);
        assert_eq!((all.len(), all[0].number, all[99].text.as_str()), (MAX_EVENTS, 151, "249"));
        assert_eq!(journal.events_after(249).len(), 1);
    }
}
