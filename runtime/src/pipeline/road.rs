//! The threads, and what they hand over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use amis_artifacts::classes::{BACKGROUND, ClassList, IGNORE};

use super::Lane;
use super::present::Presenter;
use crate::Result;
use crate::exchange::{Slot, Way, take_turn};
use crate::model::{Model, Prediction};
use crate::source::{Frame, Next, Source};
use crate::stats::{Journal, Monitor, Stage, Worker};
use crate::swap::Swap;

/// A frame on its way, with its class map. Its buffers go round.
#[derive(Default)]
pub(super) struct Job {
    pub(super) frame: Frame,
    pub(super) map: Vec<u8>,
    /// How unsure the model is, 0 to 1.
    pub(super) entropy: f32,
    /// Of the model that made the map.
    pub(super) classes: Option<Arc<ClassList>>,
    /// When its capture began; the run's clock starts with the first that counts.
    pub(super) started: Option<Instant>,
    /// Counts up from 0 with every frame that the source gave.
    number: u64,
}

/// What the threads share.
pub(super) struct Road<'a> {
    tracks: Vec<Track>,
    /// Frames of lower numbers are not counted.
    warmup: u64,
    journal: &'a Journal,
    swap: &'a Swap,
    /// Set from outside.
    stop: &'a AtomicBool,
    /// A thread has failed, so that the others end too.
    failed: AtomicBool,
}

/// What the threads share about one camera.
struct Track {
    captured: Slot<Job>,
    classified: Slot<Job>,
    spare: Mutex<Vec<Job>>,
    realtime: bool,
    monitor: Arc<Monitor>,
}

impl<'a> Road<'a> {
    pub(super) fn new(lanes: &[Lane], warmup: u64, journal: &'a Journal, swap: &'a Swap, stop: &'a AtomicBool) -> Self {
        let mut slots = Slot::row(2 * lanes.len());
        let mut tracks = Vec::with_capacity(lanes.len());
        for (lane, (captured, classified)) in lanes.iter().zip(std::iter::from_fn(|| slots.next().zip(slots.next()))) {
            let (realtime, monitor) = (lane.source.realtime(), Arc::clone(&lane.monitor));
            tracks.push(Track { captured, classified, spare: Mutex::new(Vec::new()), realtime, monitor });
        }
        Self { tracks, warmup, journal, swap, stop, failed: AtomicBool::new(false) }
    }

    /// The thread that reads camera `number`.
    pub(super) fn capture(&self, number: usize, source: &mut dyn Source, wanted: Option<u64>) -> Result<()> {
        let track = &self.tracks[number];
        let _close = track.captured.close_at_end();
        self.noticed(self.read(track, source, wanted))
    }

    fn read(&self, track: &Track, source: &mut dyn Source, wanted: Option<u64>) -> Result<()> {
        let mut next_index = None;
        // A realtime source runs until enough frames are shown; here it is not known how many will be dropped.
        let limit = if track.realtime { None } else { wanted };
        for number in (0..).take_while(|n| limit.is_none_or(|limit| *n < limit)) {
            let mut job = track.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let start = Instant::now();
            if !self.next(track, source, &mut job.frame)? {
                break;
            }
            self.count(track, number, Stage::Capture, start.elapsed());
            self.drop_frames(track, number, next_index.map_or(0, |next| job.frame.index.saturating_sub(next)));
            next_index = Some(job.frame.index + 1);
            (job.number, job.started) = (number, Some(start));
            if !self.hand_over(track, &track.captured, job) {
                break;
            }
        }
        Ok(())
    }

    /// The next frame; false at the end of the source or of the run.
    fn next(&self, track: &Track, source: &mut dyn Source, frame: &mut Frame) -> Result<bool> {
        while !self.stop.load(Ordering::Relaxed) && !self.failed.load(Ordering::Relaxed) {
            let busy = track.monitor.busy(Worker::Capture);
            let next = source.next(frame)?;
            drop(busy);
            match next {
                Next::Frame => return Ok(true),
                Next::NotYet => {}
                Next::End => break,
            }
        }
        Ok(false)
    }

    /// The thread that owns the model.
    pub(super) fn infer(&self, model: &mut Model) -> Result<()> {
        let _ends = self.swap.close_at_end();
        let _closed: Vec<_> = self.tracks.iter().map(|track| (track.captured.close_at_end(), track.classified.close_at_end())).collect();
        self.noticed(self.predict(model))
    }

    fn predict(&self, model: &mut Model) -> Result<()> {
        let ways: Vec<Way<'_, Job>> = self.tracks.iter().map(Track::way).collect();
        let mut turn = 0;
        while let Some((number, mut job)) = take_turn(&ways, turn) {
            turn = number + 1;
            let track = &self.tracks[number];
            self.swap.take_over(model, number, (job.frame.width_px, job.frame.height_px));
            job.classes = Some(Arc::clone(model.classes()));
            let busy = track.monitor.busy(Worker::Infer);
            let Prediction { timing: took, entropy } = model.predict(number, &job.frame, &mut job.map)?;
            job.entropy = entropy;
            drop(busy);
            self.journal.inferred(took.infer, is_blank(&job.map));
            for (stage, took) in [(Stage::Preprocess, took.preprocess), (Stage::Infer, took.infer), (Stage::ClassMap, took.class_map)] {
                self.count(track, job.number, stage, took);
            }
            self.hand_over(track, &track.classified, job);
        }
        Ok(())
    }

    /// The thread that shows the frames of camera `number`.
    pub(super) fn present<P: FnMut(super::Progress)>(&self, number: usize, presenter: &mut Presenter<'_, P>, wanted: Option<u64>) -> Result<()> {
        let track = &self.tracks[number];
        let _close = (track.classified.close_at_end(), track.captured.close_at_end());
        for _ in (0..).take_while(|n| wanted.is_none_or(|wanted| *n < wanted)) {
            let Some(job) = track.classified.take() else { break };
            self.noticed(presenter.show(&job))?;
            track.give_back(job);
        }
        Ok(())
    }

    /// Lets the others end when one has failed.
    fn noticed(&self, result: Result<()>) -> Result<()> {
        result.inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }

    /// False once the other side has ended.
    fn hand_over(&self, track: &Track, slot: &Slot<Job>, job: Job) -> bool {
        if !track.realtime {
            return slot.put(job);
        }
        let number = job.number;
        match slot.replace(job) {
            None => true,
            Some(same) if same.number == number => false,
            Some(older) => {
                self.drop_frames(track, older.number, 1);
                track.give_back(older);
                true
            }
        }
    }

    fn count(&self, track: &Track, number: u64, stage: Stage, took: Duration) {
        if number >= self.warmup {
            track.monitor.station(stage, took);
        }
    }

    fn drop_frames(&self, track: &Track, number: u64, frames: u64) {
        if number >= self.warmup && frames > 0 {
            track.monitor.dropped(frames);
        }
    }
}

/// Whether there is nothing but background, judged by a sample of the pixels: a prime step meets every column.
fn is_blank(map: &[u8]) -> bool {
    map.iter().step_by(61).all(|&class| class == BACKGROUND || class == IGNORE)
}

impl Track {
    /// Through the model.
    fn way(&self) -> Way<'_, Job> {
        Way { from: &self.captured, to: &self.classified, waits: !self.realtime }
    }

    fn give_back(&self, job: Job) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }
}
