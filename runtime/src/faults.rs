//! What goes wrong in a source without ending it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts faults by kind; readers may look at any time.
#[derive(Debug, Default)]
pub struct Faults(Mutex<BTreeMap<&'static str, u64>>);

impl Faults {
    /// Counts one fault of a kind, such as "short buffer".
    pub fn add(&self, kind: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// Kinds that have happened, with their number.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
