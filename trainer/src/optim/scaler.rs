use serde::{Deserialize, Serialize};

/// Scale at the start, PyTorch's.
const START: f64 = 65536.0;
/// Good updates in a row after which the scale is doubled, PyTorch's.
const GROW_AFTER: usize = 2000;
/// Bad updates in a row after which training ends: from the start, the scale has come down to 1/16 then, and scaling is not what is wrong.
const PATIENCE: usize = 20;

/// Scale of the loss in float16, whose smallest gradients would be 0 otherwise: as large as it can be without making the largest ones infinite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// What the loss is multiplied by; a power of two, so that it takes nothing from the gradients.
    pub scale: f64,
    /// Good updates since the scale was changed.
    good: usize,
    /// Bad updates in a row.
    bad: usize,
}

impl Default for Scaler {
    fn default() -> Self {
        Self { scale: START, good: 0, bad: 0 }
    }
}

impl Scaler {
    /// Counts an update whose gradients are finite, or one that is left out because they are not, and sets the scale for the next.
    pub(super) fn count(&mut self, finite: bool) {
        if !finite {
            (self.scale, self.good, self.bad) = (self.scale / 2.0, 0, self.bad + 1);
            return;
        }
        (self.good, self.bad) = (self.good + 1, 0);
        if self.good == GROW_AFTER {
            (self.scale, self.good) = (self.scale * 2.0, 0);
        }
    }

    /// Bad updates in a row, where there were so many that a smaller scale will not help.
    pub(super) fn exhausted(&self) -> Option<usize> {
        (self.bad >= PATIENCE).then_some(self.bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_at_once_and_doubles_after_many_good_updates() {
        let mut scaler = Scaler::default();
        scaler.count(false);
        assert_eq!(scaler.scale, START / 2.0);
        (1..GROW_AFTER).for_each(|_| scaler.count(true));
        assert_eq!(scaler.scale, START / 2.0);
        scaler.count(true);
        assert_eq!(scaler.scale, START);
        // A bad one in between starts the count again.
        (1..GROW_AFTER).for_each(|_| scaler.count(true));
        scaler.count(false);
        scaler.count(true);
        assert_eq!(scaler.scale, START / 2.0);
    }

    #[test]
    fn only_bad_updates_in_a_row_exhaust_it() {
        let mut scaler = Scaler::default();
        (1..PATIENCE).for_each(|_| scaler.count(false));
        scaler.count(true);
        (1..PATIENCE).for_each(|_| scaler.count(false));
        assert_eq!(scaler.exhausted(), None);
        scaler.count(false);
        assert_eq!(scaler.exhausted(), Some(PATIENCE));
    }
}
