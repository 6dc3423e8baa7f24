//! Hand-over between two threads: one slot, so that nothing grows and nothing old is shown.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A place for one item between a thread that puts and a thread that takes.
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    item: Option<T>,
    closed: bool,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { item: None, closed: false }), changed: Condvar::new() }
    }

    /// Puts an item in place of the one that lies there, which comes back. Once closed, `item` itself comes back.
    pub(crate) fn replace(&self, item: T) -> Option<T> {
        let mut state = self.lock();
        if state.closed {
            return Some(item);
        }
        let old = state.item.replace(item);
        self.changed.notify_all();
        old
    }

    /// Puts an item when the slot is empty; false once closed.
    pub(crate) fn put(&self, item: T) -> bool {
        let mut state = self.lock();
        while state.item.is_some() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.item = Some(item);
        self.changed.notify_all();
        true
    }

    /// Takes the item, waiting for one; none once closed and empty.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.lock();
        while state.item.is_none() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let item = state.item.take();
        self.changed.notify_all();
        item
    }

    /// Takes the item if there is one.
    pub(crate) fn try_take(&self) -> Option<T> {
        let item = self.lock().item.take();
        if item.is_some() {
            self.changed.notify_all();
        }
        item
    }

    /// Closes the slot when the guard goes, however its thread ends, so that the other side never waits for ever.
    pub(crate) fn close_at_end(&self) -> CloseAtEnd<'_, T> {
        CloseAtEnd(self)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Slot::close_at_end`].
pub(crate) struct CloseAtEnd<'a, T>(&'a Slot<T>);

impl<T> Drop for CloseAtEnd<'_, T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_slot_gives_the_old_item_back() {
        let slot = Slot::new();
        assert_eq!((slot.replace(1), slot.replace(2)), (None, Some(1)));
        assert_eq!((slot.try_take(), slot.try_take()), (Some(2), None));
    }

    #[test]
    fn what_was_put_before_closing_is_still_taken() {
        let slot = Slot::new();
        assert!(slot.put(1));
        drop(slot.close_at_end());
        assert!(!slot.put(2));
        assert_eq!((slot.replace(3), slot.take(), slot.take()), (Some(3), Some(1), None));
    }

    #[test]
    fn a_waiting_put_loses_nothing() {
        let slot = Slot::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _close = slot.close_at_end();
                (0..100).for_each(|i| assert!(slot.put(i)));
            });
            let taken: Vec<i32> = std::iter::from_fn(|| slot.take()).collect();
            assert_eq!(taken, (0..100).collect::<Vec<_>>());
        });
    }
}
