//! Whether a release on trial does as well as the one before.

use std::time::{Duration, Instant};

use crate::stats::Serving;

/// Frames before anything is said.
const MIN_FRAMES: u64 = 20;
/// Without a limit of its own, a release may take so many times as long as the one before.
const SLOWER: f64 = 2.0;
/// Share of frames without any class of which nothing else can be the reason than the model...
const BLANK: f64 = 0.99;
/// ...if the release before had fewer than this.
const NOT_BLANK: f64 = 0.9;

/// A release that serves on trial.
#[derive(Debug)]
pub struct Probation {
    end: Instant,
    limit_ms: Option<f64>,
    before: Option<Serving>,
}

/// What is said of it so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// The trial is over, and all is well.
    Healthy,
    /// It has to go, and why.
    Bad(String),
}

impl Probation {
    /// A trial of `length` from now on. `limit_ms` is what the release itself allows an inference to take, `before` how the one before it did.
    pub fn begin(length: Duration, limit_ms: Option<f64>, before: Option<Serving>) -> Self {
        let before = before.filter(|before| before.frames >= MIN_FRAMES);
        let limit_ms = limit_ms.or_else(|| before.as_ref().map(|before| before.infer_p95_ms * SLOWER));
        Self { end: Instant::now() + length, limit_ms, before }
    }

    /// Judges how it does at a time. It needs frames: a camera that is away makes the trial longer, and nothing else.
    pub fn judge(&self, now: Instant, serving: &Serving) -> Verdict {
        if serving.frames < MIN_FRAMES {
            return Verdict::Wait;
        }
        if let Some(limit) = self.limit_ms.filter(|limit| serving.infer_p95_ms > *limit) {
            let before = self.before.as_ref().map_or(String::new(), |before| format!(" (the release before: {:.1} ms)", before.infer_p95_ms));
            return Verdict::Bad(format!("95 % of its inferences take up to {:.1} ms, allowed are {limit:.1} ms{before}", serving.infer_p95_ms));
        }
        let share = |serving: &Serving| serving.blank_frames as f64 / serving.frames as f64;
        let before = self.before.as_ref().map(share);
        let over = now >= self.end;
        // Without a comparison the whole trial is waited for: it may be night.
        if share(serving) >= BLANK && before.map_or(over, |before| before < NOT_BLANK) {
            let before = before.map_or(String::new(), |before| format!(" (the release before: {:.0} %)", before * 100.0));
            return Verdict::Bad(format!("{:.0} % of its {} frames are background and nothing else{before}", share(serving) * 100.0, serving.frames));
        }
        if over { Verdict::Healthy } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(frames: u64, blank_frames: u64, infer_p95_ms: f64) -> Serving {
        Serving { version: 2, frames, blank_frames, infer_p95_ms }
    }

    fn judged(limit_ms: Option<f64>, before: Option<Serving>, now: Serving, over: bool) -> Verdict {
        let probation = Probation::begin(Duration::from_secs(100), limit_ms, before);
        probation.judge(Instant::now() + Duration::from_secs(if over { 101 } else { 0 }), &now)
    }

    #[test]
    fn it_waits_for_frames_and_for_the_end() {
        let before = Some(serving(500, 10, 20.0));
        assert_eq!(judged(None, before.clone(), serving(MIN_FRAMES - 1, MIN_FRAMES - 1, 900.0), true), Verdict::Wait);
        assert_eq!(judged(None, before.clone(), serving(100, 0, 25.0), false), Verdict::Wait);
        assert_eq!(judged(None, before, serving(100, 0, 25.0), true), Verdict::Healthy);
    }

    #[test]
    fn slow_is_bad_by_its_own_limit_or_by_the_release_before() {
        let bad = |verdict| matches!(verdict, Verdict::Bad(reason) if reason.contains("allowed are"));
        assert!(bad(judged(Some(50.0), None, serving(100, 0, 51.0), false)));
        assert!(bad(judged(None, Some(serving(100, 0, 20.0)), serving(100, 0, 41.0), false)));
        // Its own limit may be wider than twice what was before, and one frame is no measure of what was before.
        assert_eq!(judged(Some(50.0), Some(serving(100, 0, 20.0)), serving(100, 0, 45.0), false), Verdict::Wait);
        assert_eq!(judged(None, Some(serving(1, 0, 1.0)), serving(100, 0, 45.0), false), Verdict::Wait);
    }

    #[test]
    fn only_background_is_bad_unless_there_was_nothing_before_either() {
        let bad = |verdict| matches!(verdict, Verdict::Bad(reason) if reason.contains("background"));
        assert!(bad(judged(None, Some(serving(100, 5, 20.0)), serving(100, 100, 20.0), false)));
        assert_eq!(judged(None, Some(serving(100, 98, 20.0)), serving(100, 100, 20.0), true), Verdict::Healthy);
        assert_eq!(judged(None, None, serving(100, 100, 20.0), false), Verdict::Wait);
        assert!(bad(judged(None, None, serving(100, 100, 20.0), true)));
    }
}
