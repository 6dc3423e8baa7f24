//! Hand-over between threads: slots for one item each, so that nothing grows and nothing old is shown.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A place for one item between a thread that puts and a thread that takes.
pub(crate) struct Slot<T> {
    row: Arc<Row<T>>,
    place: usize,
}

/// Slots under one lock, so that a thread can wait for any of them.
struct Row<T> {
    places: Mutex<Vec<Place<T>>>,
    changed: Condvar,
}

struct Place<T> {
    item: Option<T>,
    closed: bool,
}

/// A way through a thread that serves several: from one slot to another in the same row.
pub(crate) struct Way<'a, T> {
    pub(crate) from: &'a Slot<T>,
    pub(crate) to: &'a Slot<T>,
    /// Whether nothing is taken while an item lies in `to`.
    pub(crate) waits: bool,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self { row: Row::new(1), place: 0 }
    }

    /// So many slots in one row.
    pub(crate) fn row(count: usize) -> impl Iterator<Item = Self> {
        let row = Row::new(count);
        (0..count).map(move |place| Self { row: Arc::clone(&row), place })
    }

    /// Puts an item in place of the one that lies there, which comes back. Once closed, `item` itself comes back.
    pub(crate) fn replace(&self, item: T) -> Option<T> {
        let mut places = self.row.lock();
        let place = &mut places[self.place];
        if place.closed {
            return Some(item);
        }
        let old = place.item.replace(item);
        self.row.changed.notify_all();
        old
    }

    /// Puts an item when the slot is empty; false once closed.
    pub(crate) fn put(&self, item: T) -> bool {
        let mut places = self.row.lock();
        while places[self.place].item.is_some() && !places[self.place].closed {
            places = self.row.wait(places);
        }
        if places[self.place].closed {
            return false;
        }
        places[self.place].item = Some(item);
        self.row.changed.notify_all();
        true
    }

    /// Takes the item, waiting for one; none once closed and empty.
    pub(crate) fn take(&self) -> Option<T> {
        let mut places = self.row.lock();
        while places[self.place].item.is_none() && !places[self.place].closed {
            places = self.row.wait(places);
        }
        let item = places[self.place].item.take();
        self.row.changed.notify_all();
        item
    }

    /// Takes the item if there is one.
    pub(crate) fn try_take(&self) -> Option<T> {
        let item = self.row.lock()[self.place].item.take();
        if item.is_some() {
            self.row.changed.notify_all();
        }
        item
    }

    /// Closes the slot when the guard goes, however its thread ends, so that the other side never waits for ever.
    pub(crate) fn close_at_end(&self) -> CloseAtEnd<'_, T> {
        CloseAtEnd(self)
    }
}

/// Takes the item of one of `ways`, waiting for one, and tells of which: of those that have one, the first from number `first` on, in a circle. None once no way
/// can bring any more.
pub(crate) fn take_turn<T>(ways: &[Way<'_, T>], first: usize) -> Option<(usize, T)> {
    let row = &ways.first()?.from.row;
    let mut places = row.lock();
    loop {
        let mut open = false;
        for number in (first..first + ways.len()).map(|number| number % ways.len()) {
            let Way { from, to, waits } = &ways[number];
            if places[to.place].closed {
                continue;
            }
            open |= places[from.place].item.is_some() || !places[from.place].closed;
            let held = *waits && places[to.place].item.is_some();
            if !held && let Some(item) = places[from.place].item.take() {
                row.changed.notify_all();
                return Some((number, item));
            }
        }
        if !open {
            return None;
        }
        places = row.wait(places);
    }
}

impl<T> Row<T> {
    fn new(count: usize) -> Arc<Self> {
        let places = (0..count).map(|_| Place { item: None, closed: false }).collect();
        Arc::new(Self { places: Mutex::new(places), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place<T>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, places: MutexGuard<'a, Vec<Place<T>>>) -> MutexGuard<'a, Vec<Place<T>>> {
        self.changed.wait(places).unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Slot::close_at_end`].
pub(crate) struct CloseAtEnd<'a, T>(&'a Slot<T>);

impl<T> Drop for CloseAtEnd<'_, T> {
    fn drop(&mut self) {
        let CloseAtEnd(Slot { row, place }) = self;
        row.lock()[*place].closed = true;
        row.changed.notify_all();
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

    #[test]
    fn turns_go_round_among_those_that_have_something() {
        let slots: Vec<Slot<i32>> = Slot::row(6).collect();
        let ways: Vec<Way<'_, i32>> = slots.chunks(2).zip([false, true, true]).map(|(pair, waits)| Way { from: &pair[0], to: &pair[1], waits }).collect();
        (0..3).for_each(|n| assert!(ways[n].from.put(n as i32)));
        assert_eq!(take_turn(&ways, 1), Some((1, 1)));
        assert_eq!(take_turn(&ways, 2), Some((2, 2)));
        assert_eq!(take_turn(&ways, 3), Some((0, 0)));
        // The first replaces what was not taken, the second waits for it: so the first has two turns.
        assert!(ways[0].to.put(7) && ways[1].to.put(8));
        assert!(ways[1].from.put(11) && ways[0].from.put(10));
        assert_eq!(take_turn(&ways, 1), Some((0, 10)));
        assert!(ways[0].from.put(12));
        assert_eq!(take_turn(&ways, 1), Some((0, 12)));
        assert_eq!((ways[1].to.take(), take_turn(&ways, 1)), (Some(8), Some((1, 11))));
        // Whose result nobody wants has no turn, and without any way that is open it ends.
        assert!(ways[0].from.put(13) && ways[2].from.put(14));
        drop((ways[0].to.close_at_end(), ways[1].from.close_at_end(), ways[2].from.close_at_end()));
        assert_eq!((take_turn(&ways, 0), take_turn(&ways, 0)), (Some((2, 14)), None));
    }
}
