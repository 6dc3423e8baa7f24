use serde::{Deserialize, Serialize};

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The same all the time.
    Constant,
    /// `(1 - progress) ^ 0.9`.
    Poly,
}

/// Exponent of the poly schedule (AMIS.md section 4).
const POWER: f64 = 0.9;

/// Learning rate at `iteration` of `total`: rises linearly over `warmup` iterations, then follows the schedule.
pub fn learning_rate(schedule: Schedule, base: f64, warmup: usize, iteration: usize, total: usize) -> f64 {
    if iteration < warmup {
        return base * (iteration + 1) as f64 / warmup as f64;
    }
    match schedule {
        Schedule::Constant => base,
        Schedule::Poly => {
            let progress = (iteration - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
            base * (1.0 - progress.min(1.0)).powf(POWER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_nothing() {
        let rate = |i| learning_rate(Schedule::Poly, 1.0, 10, i, 110);
        assert_eq!(rate(0), 0.1);
        assert_eq!(rate(10), 1.0);
        assert!((rate(60) - 0.5f64.powf(0.9)).abs() < 1e-12);
        assert_eq!(rate(110), 0.0);
        assert_eq!(learning_rate(Schedule::Constant, 1.0, 0, 5, 10), 1.0);
    }
}
