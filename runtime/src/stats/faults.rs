use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what went wrong without ending the run, by kind. Clones count together: a source keeps one and gives another away.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Faults {
    /// Counts one fault of a kind, such as "short buffer".
    pub fn count(&self, kind: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// How often each kind came so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
