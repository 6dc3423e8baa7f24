use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames a second over the last second.
#[derive(Default)]
pub(crate) struct FrameRate(VecDeque<Instant>);

impl FrameRate {
    /// Counts a frame that was finished at `now` and gives the rate.
    pub(crate) fn tick(&mut self, now: Instant) -> f64 {
        self.0.push_back(now);
        // A slow run still needs two frames to have a rate.
        while self.0.len() > 2 && now.saturating_duration_since(self.0[0]) > Duration::from_secs(1) {
            self.0.pop_front();
        }
        let span = now.saturating_duration_since(self.0[0]).as_secs_f64();
        if span > 0.0 { (self.0.len() - 1) as f64 / span } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_last_second() {
        let (mut rate, start) = (FrameRate::default(), Instant::now());
        assert_eq!(rate.tick(start), 0.0);
        let slow: Vec<f64> = (1..=10).map(|i| rate.tick(start + Duration::from_millis(500 * i))).collect();
        assert!((slow[9] - 2.0).abs() < 1e-6);
        let fast: Vec<f64> = (1..=50).map(|i| rate.tick(start + Duration::from_millis(5000 + 20 * i))).collect();
        assert!((fast[49] - 50.0).abs() < 1e-6);
    }
}
