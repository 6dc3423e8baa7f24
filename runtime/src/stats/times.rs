//! Distributions of a duration, since the start and over the last minute.

use std::time::{Duration, Instant};

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

/// Longest time that is told apart, in microseconds: one hour; longer counts as this.
const MAX_US: u64 = 3_600_000_000;
/// The last minute is kept in so many parts; the oldest goes as a whole.
const PARTS: usize = 6;
/// Seconds of a part.
const PART_S: u64 = 10;

/// Percentiles of a duration, in milliseconds; all 0 when there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of all were quicker.
    pub p50_ms: f64,
    /// 95 % were quicker.
    pub p95_ms: f64,
    /// 99 % were quicker.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Mean of all.
    pub mean_ms: f64,
    /// How many there were.
    pub count: u64,
}

/// Every duration of one kind; three digits since the start, two over the last minute. Its size is fixed.
#[derive(Debug)]
pub(super) struct Times {
    all: Histogram<u64>,
    parts: [Histogram<u32>; PARTS],
    /// Which part of the clock the newest one is, counted from `start`.
    newest: u64,
    start: Instant,
}

impl Times {
    pub(super) fn new(start: Instant) -> Self {
        Self { all: histogram(3), parts: std::array::from_fn(|_| histogram(2)), newest: 0, start }
    }

    /// Counts one duration that ended at `now`.
    pub(super) fn add(&mut self, now: Instant, time: Duration) {
        self.advance(now);
        let us = (time.as_micros() as u64).min(MAX_US);
        self.all.saturating_record(us);
        self.parts[self.newest as usize % PARTS].saturating_record(us);
    }

    pub(super) fn since_start(&self) -> Percentiles {
        percentiles(&self.all)
    }

    /// Over the last 50 to 60 seconds.
    pub(super) fn last_minute(&mut self, now: Instant) -> Percentiles {
        self.advance(now);
        let mut sum: Histogram<u32> = histogram(2);
        for part in &self.parts {
            // Refused is only what does not fit the bounds, and they are the same.
            let _ = sum.add(part);
        }
        percentiles(&sum)
    }

    /// Empties the parts that have become too old.
    fn advance(&mut self, now: Instant) {
        let part = part_of(self.start, now);
        for old in (self.newest + 1..=part).take(PARTS) {
            self.parts[old as usize % PARTS].reset();
        }
        self.newest = self.newest.max(part);
    }
}

/// Seconds that [`Times::last_minute`] covers at `now`.
pub(super) fn covered(start: Instant, now: Instant) -> f64 {
    let from = part_of(start, now).saturating_sub(PARTS as u64 - 1) * PART_S;
    now.saturating_duration_since(start).as_secs_f64() - from as f64
}

fn part_of(start: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(start).as_secs() / PART_S
}

fn histogram<C: Counter>(digits: u8) -> Histogram<C> {
    // Refused are only bounds in the wrong order and more than five digits.
    Histogram::new_with_bounds(1, MAX_US, digits).unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

fn percentiles<C: Counter>(histogram: &Histogram<C>) -> Percentiles {
    let ms = |us: u64| us as f64 / 1000.0;
    let at = |quantile: f64| ms(histogram.value_at_quantile(quantile));
    let (max_ms, mean_ms) = (ms(histogram.max()), histogram.mean() / 1000.0);
    Percentiles { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms, mean_ms, count: histogram.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-2, "{found} for {expected}");
    }

    #[test]
    fn percentiles_are_those_of_the_durations() {
        let now = Instant::now();
        let mut times = Times::new(now);
        (1..=1000).for_each(|ms| times.add(now, Duration::from_millis(ms)));
        for found in [times.since_start(), times.last_minute(now)] {
            let pairs = [(found.p50_ms, 500.0), (found.p95_ms, 950.0), (found.p99_ms, 990.0), (found.max_ms, 1000.0), (found.mean_ms, 500.5)];
            pairs.iter().for_each(|&(found, expected)| near(found, expected));
            assert_eq!(found.count, 1000);
        }
    }

    #[test]
    fn the_last_minute_forgets_and_the_rest_does_not() {
        let start = Instant::now();
        let mut times = Times::new(start);
        let at = |second: u64| start + Duration::from_secs(second);
        times.add(at(1), Duration::from_millis(900));
        (2..60).for_each(|second| times.add(at(second), Duration::from_millis(10)));
        near(times.last_minute(at(59)).max_ms, 900.0);
        (60..200).for_each(|second| times.add(at(second), Duration::from_millis(10)));
        assert_eq!(times.since_start().count, 199);
        let recent = times.last_minute(at(199));
        near(recent.max_ms, 10.0);
        assert_eq!(recent.count, 60);
        assert_eq!(covered(start, at(199)), 59.0);
        assert_eq!(times.last_minute(at(100_000)), Percentiles::default());
        near(times.since_start().max_ms, 900.0);
    }
}
