//! Where a device stands: what serves, what is on its way, what was bad; and the table of what may happen next.
//!
//! | phase \ event  | `Fetch`, `Install` | `Fetched` | `Committed` | `Started` | `Healthy` | `GaveUp` | `Failed`      | `RolledBack` |
//! | -------------- | ------------------ | --------- | ----------- | --------- | --------- | -------- | ------------- | ------------ |
//! | `idle`         | fetching, installing | -       | -           | idle      | -         | idle     | -             | idle, back   |
//! | `fetching`     | -                  | installing | -          | fetching  | -         | idle     | idle, bad     | -            |
//! | `installing`   | -                  | -         | probation   | installing | -        | idle     | idle, bad     | -            |
//! | `probation`    | -                  | -         | -           | probation, or idle, back, bad | idle | probation | idle, back, bad | idle, back, bad |
//!
//! "-" is refused and changes nothing; "back" makes the previous release the current one; "bad" keeps the version with its reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of `state.json` that this code writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// A release that was started so often without getting through its probation is a crash loop.
pub const MAX_STARTS: u32 = 3;
/// Bad versions that are kept.
const MAX_BAD: usize = 32;

/// `state.json`: the one truth of a device. Whatever it names as current is complete and was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// `FORMAT_VERSION` at the time of writing.
    pub format_version: u32,
    /// Name of the model; none before the first release.
    pub name: Option<String>,
    /// Version that serves.
    pub current: Option<u64>,
    /// Version that served before, still on disk.
    pub previous: Option<u64>,
    /// What goes on.
    pub phase: Phase,
    /// Versions that are not tried again, and why.
    pub bad: BTreeMap<u64, Bad>,
    /// The latest time that a signature vouched for, in seconds since 1970.
    pub trusted_unix_s: u64,
    /// How the last look for an update ended.
    pub last_check: Option<Check>,
}

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing.
    Idle,
    /// A version is fetched.
    Fetching(u64),
    /// A version is unpacked, built and tested.
    Installing(u64),
    /// The current version serves on trial.
    Probation {
        /// How often a run has started with it.
        starts: u32,
    },
}

/// Why a version is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bad {
    /// What it did, with numbers.
    pub reason: String,
    /// When, by the device's clock, in seconds since 1970.
    pub unix_s: u64,
    /// The last events of the run that it spoiled.
    pub log: Vec<String>,
}

/// A look for an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// When, by the device's clock, in seconds since 1970.
    pub unix_s: u64,
    /// Whether that clock can be right: it is not behind what signatures vouch for.
    pub clock_trusted: bool,
    /// What came of it.
    pub result: String,
    /// Whether that was an error.
    pub failed: bool,
}

/// What happens to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A version that the repository offers is to be fetched.
    Fetch(u64),
    /// A version that lies here is to be installed.
    Install(u64),
    /// Its file is here, whole.
    Fetched,
    /// It is on disk, tested; from now on it is the current one, on trial.
    Committed {
        /// Name of the model.
        name: String,
    },
    /// A run starts.
    Started,
    /// The trial is over, and all was well.
    Healthy,
    /// It was left, and may be tried again.
    GaveUp,
    /// The version is bad.
    Failed(Bad),
    /// A person wants the one before.
    RolledBack(Bad),
}

impl Default for State {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            name: None,
            current: None,
            previous: None,
            phase: Phase::Idle,
            bad: BTreeMap::new(),
            trusted_unix_s: 0,
            last_check: None,
        }
    }
}

impl State {
    /// The state after an event.
    ///
    /// # Errors
    /// The reason if the event cannot happen now; see the table.
    pub fn after(&self, event: Event) -> Result<Self, String> {
        let mut next = self.clone();
        match (self.phase, event) {
            (Phase::Idle, Event::Fetch(version)) => {
                self.may_take(version)?;
                next.phase = Phase::Fetching(version);
            }
            (Phase::Idle, Event::Install(version)) => {
                self.may_take(version)?;
                next.phase = Phase::Installing(version);
            }
            (Phase::Fetching(version), Event::Fetched) => next.phase = Phase::Installing(version),
            (Phase::Installing(version), Event::Committed { name }) => {
                next.previous = self.current;
                next.current = Some(version);
                next.name = Some(name);
                next.phase = Phase::Probation { starts: 0 };
            }
            (Phase::Fetching(_) | Phase::Installing(_), Event::GaveUp) => next.phase = Phase::Idle,
            (Phase::Fetching(version) | Phase::Installing(version), Event::Failed(bad)) => {
                next.keep_bad(version, bad);
                next.phase = Phase::Idle;
            }
            (Phase::Probation { starts }, Event::Started) if starts < MAX_STARTS => next.phase = Phase::Probation { starts: starts + 1 },
            (Phase::Probation { starts }, Event::Started) => {
                let reason = format!("its run ended {starts} times before its probation was over");
                next.go_back(Bad { reason, unix_s: super::clock::now_unix_s(), log: vec![] });
            }
            (Phase::Probation { .. }, Event::Healthy) => next.phase = Phase::Idle,
            (Phase::Probation { .. }, Event::Failed(bad) | Event::RolledBack(bad)) => next.go_back(bad),
            (Phase::Idle, Event::RolledBack(bad)) if self.previous.is_some() => next.go_back(bad),
            (Phase::Idle, Event::RolledBack(_)) => return Err("there is no previous release on disk".into()),
            (_, Event::Started | Event::GaveUp) => {}
            (phase, event) => return Err(format!("{} cannot happen while the device is {phase}", event.name())),
        }
        Ok(next)
    }

    /// Only what is newer than the current one and was not bad.
    fn may_take(&self, version: u64) -> Result<(), String> {
        if let Some(current) = self.current.filter(|&current| version <= current) {
            return Err(format!("version {version} is not newer than version {current}, which is installed; `amis-run rollback` goes back"));
        }
        match self.bad.get(&version) {
            Some(bad) => Err(format!("version {version} was bad: {}", bad.reason)),
            None => Ok(()),
        }
    }

    /// Leaves the current release for the previous one; the first release stays, since nothing else could serve.
    fn go_back(&mut self, bad: Bad) {
        if let Some(version) = self.current {
            self.keep_bad(version, bad);
        }
        if let Some(previous) = self.previous.take() {
            self.current = Some(previous);
        }
        self.phase = Phase::Idle;
    }

    fn keep_bad(&mut self, version: u64, bad: Bad) {
        self.bad.insert(version, bad);
        // The highest are those that could be offered again.
        while self.bad.len() > MAX_BAD {
            self.bad.pop_first();
        }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetching another version",
            Self::Install(_) => "installing another version",
            Self::Fetched => "the end of a download",
            Self::Committed { .. } => "a new release",
            Self::Started => "a start",
            Self::Healthy => "the end of a probation",
            Self::GaveUp => "giving up",
            Self::Failed(_) => "a failure",
            Self::RolledBack(_) => "going back",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Fetching(version) => write!(f, "fetching version {version}"),
            Self::Installing(version) => write!(f, "installing version {version}"),
            Self::Probation { .. } => f.write_str("in its probation"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn bad(reason: &str) -> Bad {
        Bad { reason: reason.into(), unix_s: 1, log: vec![] }
    }

    /// The table above once more, in another form: what serves, what is on trial, what is banned.
    #[derive(Default)]
    struct Oracle {
        serving: Vec<u64>,
        coming: Option<(u64, bool)>,
        trial: Option<u32>,
        banned: Vec<u64>,
    }

    impl Oracle {
        fn back(&mut self) {
            self.banned.extend(self.serving.last());
            if self.serving.len() > 1 {
                self.serving.pop();
            }
            // What served before that is gone from disk or no longer known.
            self.serving.drain(..self.serving.len().saturating_sub(1));
            self.trial = None;
        }

        /// Whether the event is allowed; if so it has happened.
        fn happen(&mut self, event: &Event) -> bool {
            let free = self.coming.is_none() && self.trial.is_none();
            match event {
                Event::Fetch(v) | Event::Install(v) => {
                    let allowed = free && self.serving.last().is_none_or(|c| v > c) && !self.banned.contains(v);
                    if allowed {
                        self.coming = Some((*v, matches!(event, Event::Install(_))));
                    }
                    allowed
                }
                Event::Fetched => match &mut self.coming {
                    Some((_, here @ false)) => {
                        *here = true;
                        true
                    }
                    _ => false,
                },
                Event::Committed { .. } => match self.coming {
                    Some((v, true)) => {
                        self.serving.push(v);
                        let old = self.serving.len().saturating_sub(2);
                        self.serving.drain(..old);
                        (self.coming, self.trial) = (None, Some(0));
                        true
                    }
                    _ => false,
                },
                Event::Started => {
                    match &mut self.trial {
                        Some(starts) if *starts < MAX_STARTS => *starts += 1,
                        Some(_) => self.back(),
                        None => {}
                    }
                    true
                }
                Event::Healthy => self.trial.take().is_some(),
                Event::GaveUp => {
                    self.coming = None;
                    true
                }
                Event::Failed(_) => match (self.coming.take(), self.trial) {
                    (Some((v, _)), _) => {
                        self.banned.push(v);
                        true
                    }
                    (None, Some(_)) => {
                        self.back();
                        true
                    }
                    (None, None) => false,
                },
                Event::RolledBack(_) => {
                    let allowed = self.trial.is_some() || free && self.serving.len() > 1;
                    if allowed {
                        self.back();
                    }
                    allowed
                }
            }
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1u64..7).prop_map(Event::Fetch),
            (1u64..7).prop_map(Event::Install),
            Just(Event::Fetched),
            Just(Event::Committed { name: "yard".into() }),
            Just(Event::Started),
            Just(Event::Healthy),
            Just(Event::GaveUp),
            Just(Event::Failed(bad("all background"))),
            Just(Event::RolledBack(bad("by hand"))),
        ]
    }

    proptest! {
        #[test]
        fn the_table_does_what_the_oracle_says(events in proptest::collection::vec(event(), 0..60)) {
            let (mut state, mut oracle) = (State::default(), Oracle::default());
            for event in events {
                let allowed = oracle.happen(&event);
                match state.after(event.clone()) {
                    Ok(next) => {
                        prop_assert!(allowed, "{event:?} was not refused in {state:?}");
                        state = next;
                    }
                    Err(reason) => prop_assert!(!allowed, "{event:?} was refused in {state:?}: {reason}"),
                }
                prop_assert_eq!(state.current, oracle.serving.last().copied());
                prop_assert_eq!(state.previous, oracle.serving.iter().rev().nth(1).copied());
                prop_assert_eq!(matches!(state.phase, Phase::Probation { .. }), oracle.trial.is_some());
                prop_assert!(oracle.banned.iter().all(|v| state.bad.contains_key(v)) && state.bad.keys().all(|v| oracle.banned.contains(v)));
            }
        }

        #[test]
        fn a_state_comes_back_from_its_file(events in proptest::collection::vec(event(), 0..20)) {
            let state = events.into_iter().fold(State::default(), |state, event| state.after(event).unwrap_or(state));
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        }
    }

    #[test]
    fn a_crash_loop_goes_back_and_is_not_tried_again() {
        let committed = |state: State, v| state.after(Event::Install(v)).unwrap().after(Event::Committed { name: "yard".into() }).unwrap();
        let mut state = committed(State::default(), 1).after(Event::Healthy).unwrap();
        state = committed(state, 2);
        for _ in 0..MAX_STARTS {
            state = state.after(Event::Started).unwrap();
            assert_eq!(state.current, Some(2));
        }
        state = state.after(Event::Started).unwrap();
        assert_eq!((state.current, state.previous, state.phase), (Some(1), None, Phase::Idle));
        assert!(state.bad[&2].reason.contains("ended 3 times"));
        assert!(state.after(Event::Fetch(2)).unwrap_err().contains("was bad"));
        assert!(state.after(Event::Fetch(3)).is_ok());
        assert!(state.after(Event::Fetch(1)).unwrap_err().contains("not newer"));
    }
}
