//! How long every station takes, and how steady pictures come.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that is told apart, in microseconds: one hour; longer counts as this.
const MAX_US: u64 = 3_600_000_000;

/// Distribution of a duration.
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // Refused are only bounds in the wrong order and more than five digits.
        let histogram = Histogram::new_with_bounds(1, MAX_US, 3).unwrap_or_else(|_| unreachable!("the bounds are constants"));
        Self(histogram)
    }
}

impl Times {
    /// Counts one duration.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record((time.as_micros() as u64).min(MAX_US));
    }

    /// Its percentiles.
    pub fn summary(&self) -> Percentiles {
        let ms = |us: u64| us as f64 / 1000.0;
        let at = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        Percentiles { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: ms(self.0.max()) }
    }
}

/// Percentiles of a duration, in milliseconds, exact to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of all were quicker.
    pub p50_ms: f64,
    /// 95 % were quicker.
    pub p95_ms: f64,
    /// 99 % were quicker.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// The stations of a frame, in order; the names in [`Summary::stages`].
pub const STAGES: [&str; 6] = ["capture", "preprocess", "infer", "class_map", "overlay", "sink"];

/// What ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelInfo {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: u64,
    /// Precision of the graph.
    pub precision: String,
    /// Names of the classes, in order of their ids.
    pub classes: Vec<String>,
}

/// Result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Frames that went through all stations, warm-up not counted.
    pub frames: u64,
    /// Frames a second, from the start of the first to the end of the last.
    pub fps: f64,
    /// Frames of a realtime source that nobody saw: replaced by a newer one before their turn, or lost in the source.
    pub dropped: u64,
    /// Longest time between two finished frames.
    pub max_gap_ms: f64,
    /// Length of the run.
    pub seconds: f64,
    /// Percentiles by station, see [`STAGES`]. `capture` includes waiting for the source.
    pub stages: BTreeMap<&'static str, Percentiles>,
    /// Largest resident memory of the process so far; 0 where the system does not tell.
    pub rss_mib: f64,
    /// What ran.
    pub model: ModelInfo,
}

/// Largest resident memory of this process so far, in MiB.
pub fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Frames a second over the last second.
#[derive(Default)]
pub struct FrameRate(VecDeque<Instant>);

impl FrameRate {
    /// Counts a frame that was finished at `now` and gives the rate.
    pub fn tick(&mut self, now: Instant) -> f64 {
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
    fn percentiles_are_those_of_the_durations() {
        let mut times = Times::default();
        (1..=1000).for_each(|ms| times.add(Duration::from_millis(ms)));
        let found = times.summary();
        for (found, expected) in [(found.p50_ms, 500.0), (found.p95_ms, 950.0), (found.p99_ms, 990.0), (found.max_ms, 1000.0)] {
            assert!((found / expected - 1.0).abs() < 2e-3, "{found} for {expected}");
        }
    }

    #[test]
    fn the_rate_follows_the_last_second() {
        let (mut rate, start) = (FrameRate::default(), Instant::now());
        assert_eq!(rate.tick(start), 0.0);
        let slow: Vec<f64> = (1..=10).map(|i| rate.tick(start + Duration::from_millis(500 * i))).collect();
        assert!((slow[9] - 2.0).abs() < 1e-6);
        let fast: Vec<f64> = (1..=50).map(|i| rate.tick(start + Duration::from_millis(5000 + 20 * i))).collect();
        assert!((fast[49] - 50.0).abs() < 1e-6);
    }

    #[test]
    fn memory_is_that_of_this_process() {
        assert!(peak_rss_mib() > 1.0);
    }
}
