use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::look::Look;

/// Looks that are painted at once: every one costs an encoding a frame.
const MAX_LOOKS: usize = 6;

/// What can be had of a frame.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sink) enum Topic {
    /// A JPEG picture.
    Picture(Look),
    /// The class map as PNG.
    ClassMap,
    /// Shares and regions as a line of JSON.
    Result,
}

/// Hands everything that is made of a frame to all who want it. Each waits for the newest and skips what came meanwhile, so nothing queues up.
#[derive(Default)]
pub(in crate::sink) struct Hub {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    channels: BTreeMap<Topic, Channel>,
    closed: bool,
}

#[derive(Default)]
struct Channel {
    subscribers: usize,
    /// Counts what was published.
    number: u64,
    newest: Option<Arc<Vec<u8>>>,
}

/// What [`Subscription::next`] came to.
pub(in crate::sink) enum Next {
    /// Something newer than the last time.
    New(Arc<Vec<u8>>),
    /// Nothing in this time.
    Nothing,
    /// The run has ended.
    Closed,
}

impl Hub {
    /// From now on the topic is made of every frame; none when there are too many looks already.
    pub(in crate::sink) fn subscribe(self: &Arc<Self>, topic: Topic) -> Option<Subscription> {
        let mut state = self.lock();
        let looks = state.channels.keys().filter(|t| matches!(t, Topic::Picture(_))).count();
        if matches!(topic, Topic::Picture(_)) && !state.channels.contains_key(&topic) && looks >= MAX_LOOKS {
            return None;
        }
        state.channels.entry(topic.clone()).or_default().subscribers += 1;
        Some(Subscription { hub: Arc::clone(self), topic, seen: 0 })
    }

    /// Whether anybody wants anything.
    pub(super) fn wanted(&self) -> bool {
        !self.lock().channels.is_empty()
    }

    /// What somebody wants.
    pub(super) fn topics(&self) -> Vec<Topic> {
        self.lock().channels.keys().cloned().collect()
    }

    pub(super) fn publish(&self, topic: &Topic, data: Vec<u8>) {
        if let Some(channel) = self.lock().channels.get_mut(topic) {
            channel.number += 1;
            channel.newest = Some(Arc::new(data));
            self.changed.notify_all();
        }
    }

    /// Ends all waiting.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(in crate::sink) fn closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who wants a topic, until it is dropped.
pub(in crate::sink) struct Subscription {
    hub: Arc<Hub>,
    topic: Topic,
    seen: u64,
}

impl Subscription {
    /// Waits until `deadline` for something newer.
    pub(in crate::sink) fn next(&mut self, deadline: Instant) -> Next {
        let mut state = self.hub.lock();
        loop {
            if state.closed {
                return Next::Closed;
            }
            if let Some(Channel { number, newest: Some(newest), .. }) = state.channels.get(&self.topic)
                && *number > self.seen
            {
                self.seen = *number;
                return Next::New(Arc::clone(newest));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Nothing;
            }
            state = self.hub.changed.wait_timeout(state, left.min(Duration::from_secs(1))).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if let Some(channel) = state.channels.get_mut(&self.topic) {
            channel.subscribers -= 1;
            if channel.subscribers == 0 {
                state.channels.remove(&self.topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn the_newest_is_handed_out_once_to_everyone() {
        let hub = Arc::new(Hub::default());
        let mut both = [hub.subscribe(Topic::Result).unwrap(), hub.subscribe(Topic::Result).unwrap()];
        assert!(matches!(both[0].next(soon()), Next::Nothing));
        hub.publish(&Topic::Result, vec![1]);
        hub.publish(&Topic::Result, vec![2]);
        for one in &mut both {
            assert!(matches!(one.next(soon()), Next::New(data) if *data == [2]));
            assert!(matches!(one.next(soon()), Next::Nothing));
        }
        hub.close();
        assert!(matches!(both[1].next(soon()), Next::Closed));
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_made() {
        let hub = Arc::new(Hub::default());
        let (a, b) = (hub.subscribe(Topic::ClassMap).unwrap(), hub.subscribe(Topic::ClassMap).unwrap());
        drop(a);
        assert_eq!(hub.topics(), [Topic::ClassMap]);
        drop(b);
        assert!(!hub.wanted());
        hub.publish(&Topic::ClassMap, vec![0; 1 << 20]);
        assert!(!hub.wanted());
    }

    #[test]
    fn looks_have_a_limit_and_viewers_of_one_look_have_none() {
        let hub = Arc::new(Hub::default());
        let look = |percent| Topic::Picture(Look { percent, ..Look::default() });
        let _looks: Vec<_> = (0..MAX_LOOKS as u8).map(|percent| hub.subscribe(look(percent)).unwrap()).collect();
        assert!(hub.subscribe(look(99)).is_none() && hub.subscribe(look(0)).is_some() && hub.subscribe(Topic::Result).is_some());
    }
}
