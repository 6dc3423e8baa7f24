//! The last station: overlay and sinks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use amis_artifacts::classes::ClassList;

use super::road::Job;
use super::{Progress, RunOptions};
use crate::overlay::Overlay;
use crate::sink::{Sink, View};
use crate::stats::{FrameRate, Journal, Monitor, Stage, Summary, Worker};
use crate::{Error, Result};

/// Shows the frames of one camera.
pub(super) struct Presenter<'a, P> {
    overlay: Overlay,
    classes: Arc<ClassList>,
    opacity: f32,
    sinks: Vec<Box<dyn Sink>>,
    journal: &'a Journal,
    monitor: Arc<Monitor>,
    tally: &'a Mutex<Tally<P>>,
    rate: FrameRate,
    /// So many frames are shown before they count.
    warmup: u64,
    shown: u64,
}

/// Counts the frames of all cameras for whoever watches the run.
pub(super) struct Tally<P> {
    frames: u64,
    total: Option<u64>,
    rate: FrameRate,
    progress: P,
}

impl<P: FnMut(Progress)> Tally<P> {
    pub(super) fn new(total: Option<u64>, progress: P) -> Self {
        Self { frames: 0, total, rate: FrameRate::default(), progress }
    }

    fn count(&mut self) {
        self.frames += 1;
        let fps = self.rate.tick(Instant::now());
        (self.progress)(Progress { frames: self.frames, total: self.total, fps });
    }
}

impl<'a, P: FnMut(Progress)> Presenter<'a, P> {
    pub(super) fn new(
        sinks: Vec<Box<dyn Sink>>,
        classes: &Arc<ClassList>,
        options: &RunOptions,
        tally: &'a Mutex<Tally<P>>,
        (journal, monitor): (&'a Journal, Arc<Monitor>),
    ) -> Self {
        let overlay = Overlay::new(classes, &journal.title(), options.opacity);
        let (classes, rate) = (Arc::clone(classes), FrameRate::default());
        Self { overlay, classes, opacity: options.opacity, sinks, journal, monitor, tally, rate, warmup: options.warmup_frames, shown: 0 }
    }

    pub(super) fn show(&mut self, job: &Job) -> Result<()> {
        let _busy = self.monitor.busy(Worker::Present);
        let start = Instant::now();
        let fps = self.rate.tick(start);
        if let Some(classes) = job.classes.as_ref().filter(|classes| !Arc::ptr_eq(classes, &self.classes)) {
            self.classes = Arc::clone(classes);
            self.overlay = Overlay::new(classes, &self.journal.title(), self.opacity);
        }
        let overlay = self.overlay.draw(&job.frame, &job.map, fps);
        let drawn = Instant::now();
        let view = View { frame: &job.frame, map: &job.map, overlay, entropy: job.entropy, classes: &self.classes };
        self.sinks.iter_mut().try_for_each(|sink| sink.show(&view))?;
        self.shown += 1;
        if self.shown > self.warmup {
            self.monitor.station(Stage::Overlay, drawn - start);
            self.monitor.station(Stage::Sink, drawn.elapsed());
            self.monitor.shown(job.started, job.frame.captured);
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).count();
        }
        Ok(())
    }

    /// Completes every sink, also after one has failed, and gives the first failure.
    pub(super) fn finish(&mut self) -> Result<()> {
        let finish = |sink: &mut Box<dyn Sink>| {
            let _busy = self.monitor.busy(Worker::Present);
            sink.finish().err()
        };
        let failures: Vec<Error> = self.sinks.iter_mut().filter_map(finish).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    pub(super) fn summary(&self) -> Summary {
        self.monitor.summary()
    }
}
