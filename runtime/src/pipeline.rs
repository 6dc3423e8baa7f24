//! The whole road of a frame: capture, inference and presentation in three threads, handed over through one slot each.
//!
//! A realtime source never waits: what is not taken in time is replaced by the next frame and counted as dropped. Any other source waits, and
//! every frame of it is shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::exchange::Slot;
use crate::model::Model;
use crate::overlay::Overlay;
use crate::sink::{self, Sink, View};
use crate::source::{self, Frame, Source};
use crate::stats::{FrameRate, STAGES, Summary, Times, peak_rss_mib};
use crate::{Error, Result};

/// What to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The bundle.
    pub bundle: PathBuf,
    /// Name of the source, see [`source::open`].
    pub source: String,
    /// Names of the sinks, see [`sink::open`].
    pub sinks: Vec<String>,
    /// Ends after so many frames, warm-up not counted; none: when the source ends.
    pub frames: Option<u64>,
    /// Frames at the start that go all the way but are not counted.
    pub warmup_frames: u64,
    /// Opacity of the class colours, 0 to 1.
    pub opacity: f32,
    /// Threads of the inference; 0: one a physical core.
    pub threads: usize,
    /// Precision of the graph: "fp32", "int8".
    pub precision: String,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Frames shown, warm-up not counted.
    pub frames: u64,
    /// Frames that there will be, if that is known.
    pub total: Option<u64>,
    /// Frames a second over the last second.
    pub fps: f64,
}

/// Opened parts of a run.
pub struct Parts {
    /// Where frames come from.
    pub source: Box<dyn Source>,
    /// What turns them into classes.
    pub model: Model,
    /// Where results go.
    pub sinks: Vec<Box<dyn Sink>>,
}

impl Parts {
    /// Opens bundle, source and sinks.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(options: &RunOptions) -> Result<Self> {
        refuse_own_folder(options)?;
        let source = source::open(&options.source)?;
        let model = Model::open(&options.bundle, &options.precision, options.threads)?;
        let run = sink::Run { classes: &model.manifest().classes, fps: source.fps(), realtime: source.realtime() };
        let sinks = options.sinks.iter().map(|name| sink::open(name, &run)).collect::<Result<_>>()?;
        Ok(Self { source, model, sinks })
    }
}

/// Overlays carry the names of their pictures: written into the pictures' folder they would replace them.
fn refuse_own_folder(options: &RunOptions) -> Result<()> {
    let path = |name: &str, scheme: &str| name.strip_prefix(scheme).and_then(|rest| rest.split('?').next()).map(PathBuf::from);
    let canonical = |path: PathBuf| path.canonicalize().ok();
    let image_folder = || path(&options.source, "image:").and_then(canonical).and_then(|p| p.parent().map(Path::to_owned));
    let Some(pictures) = path(&options.source, "dir:").and_then(canonical).or_else(image_folder) else { return Ok(()) };
    let is_pictures = |sink: &String| path(sink, "dir:").and_then(canonical).as_ref() == Some(&pictures);
    if options.sinks.iter().any(is_pictures) {
        return Err(Error::Sink { path: pictures, reason: "the source's pictures lie there and would be replaced; name another folder".into() });
    }
    Ok(())
}

/// Runs a bundle on a source until the source ends, `options.frames` are shown, or `stop` is set; then completes the sinks.
///
/// `progress` is called after every frame.
///
/// # Errors
/// The first failure of any station. What the sinks got until then is completed.
pub fn run(options: &RunOptions, stop: &AtomicBool, progress: impl FnMut(Progress) + Send) -> Result<Summary> {
    run_parts(Parts::open(options)?, options, stop, progress)
}

/// [`run`] with parts that are open already.
///
/// # Errors
/// As [`run`].
pub fn run_parts(parts: Parts, options: &RunOptions, stop: &AtomicBool, progress: impl FnMut(Progress) + Send) -> Result<Summary> {
    let Parts { mut source, mut model, sinks } = parts;
    let info = model.info();
    let wanted = options.frames.map(|n| n.saturating_add(options.warmup_frames));
    let total = source.frames().map(|n| n.saturating_sub(options.warmup_frames));
    let title = format!("{} v{}", info.name, info.version);
    let overlay = Overlay::new(model.manifest().classes.clone(), &title, options.opacity);
    let mut presenter = Presenter::new(overlay, sinks, options.warmup_frames, total.into_iter().chain(options.frames).min(), progress);
    let road = Road { captured: Slot::new(), classified: Slot::new(), spare: Mutex::new(Vec::new()), realtime: source.realtime(), stop };
    let (captured, inferred, presented) = thread::scope(|scope| {
        let capture = scope.spawn(|| road.capture(source.as_mut(), wanted, options.warmup_frames));
        let infer = scope.spawn(|| road.infer(&mut model, options.warmup_frames));
        let presented = road.present(&mut presenter, wanted);
        (joined(capture.join()), joined(infer.join()), presented)
    });
    let finished = presenter.finish();
    let (captured, inferred) = (captured?, inferred?);
    presented.and(finished)?;
    let [preprocess, infer, class_map] = &inferred.times;
    let times = [&captured.times, preprocess, infer, class_map, &presenter.overlay_times, &presenter.sink_times];
    let stages: BTreeMap<_, _> = STAGES.into_iter().zip(times.map(Times::summary)).collect();
    let seconds = presenter.seconds();
    Ok(Summary {
        frames: presenter.frames,
        fps: if seconds > 0.0 { presenter.frames as f64 / seconds } else { 0.0 },
        dropped: captured.dropped + inferred.dropped,
        max_gap_ms: presenter.max_gap.as_secs_f64() * 1000.0,
        seconds,
        stages,
        rss_mib: peak_rss_mib(),
        model: info,
    })
}

/// A frame on its way, with its class map. Its buffers go round.
#[derive(Default)]
struct Job {
    frame: Frame,
    map: Vec<u8>,
    /// When its capture began; the run's clock starts with the first that counts.
    started: Option<Instant>,
    /// Counts up from 0 with every frame that the source gave.
    number: u64,
}

/// What the threads share.
struct Road<'a> {
    captured: Slot<Job>,
    classified: Slot<Job>,
    spare: Mutex<Vec<Job>>,
    realtime: bool,
    stop: &'a AtomicBool,
}

struct Captured {
    times: Times,
    dropped: u64,
}

struct Inferred {
    /// Preprocess, infer, class map.
    times: [Times; 3],
    dropped: u64,
}

impl Road<'_> {
    fn capture(&self, source: &mut dyn Source, wanted: Option<u64>, warmup: u64) -> Result<Captured> {
        let _close = self.captured.close_at_end();
        let (mut times, mut dropped, mut next_index) = (Times::default(), 0, None);
        // A realtime source runs until enough frames are shown; here it is not known how many will be dropped.
        let limit = if self.realtime { None } else { wanted };
        for number in (0..).take_while(|n| limit.is_none_or(|limit| *n < limit)) {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let mut job = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let start = Instant::now();
            if !source.next(&mut job.frame)? {
                break;
            }
            let index = job.frame.index;
            if number >= warmup {
                times.add(start.elapsed());
                dropped += next_index.map_or(0, |next| index.saturating_sub(next));
            }
            next_index = Some(index + 1);
            (job.number, job.started) = (number, Some(start));
            match self.hand_over(&self.captured, job) {
                HandOver::Done => {}
                HandOver::Dropped(number) => dropped += u64::from(number >= warmup),
                HandOver::Closed => break,
            }
        }
        Ok(Captured { times, dropped })
    }

    fn infer(&self, model: &mut Model, warmup: u64) -> Result<Inferred> {
        let (_in, _out) = (self.captured.close_at_end(), self.classified.close_at_end());
        let (mut times, mut dropped) = ([Times::default(), Times::default(), Times::default()], 0);
        while let Some(mut job) = self.captured.take() {
            let took = model.predict(&job.frame, &mut job.map)?;
            if job.number >= warmup {
                times.iter_mut().zip([took.preprocess, took.infer, took.class_map]).for_each(|(times, took)| times.add(took));
            }
            match self.hand_over(&self.classified, job) {
                HandOver::Done => {}
                HandOver::Dropped(number) => dropped += u64::from(number >= warmup),
                HandOver::Closed => break,
            }
        }
        Ok(Inferred { times, dropped })
    }

    fn present<P: FnMut(Progress)>(&self, presenter: &mut Presenter<P>, wanted: Option<u64>) -> Result<()> {
        let _close = (self.classified.close_at_end(), self.captured.close_at_end());
        for _ in (0..).take_while(|n| wanted.is_none_or(|wanted| *n < wanted)) {
            let Some(job) = self.classified.take() else { break };
            presenter.show(&job)?;
            self.give_back(job);
        }
        Ok(())
    }

    fn hand_over(&self, slot: &Slot<Job>, job: Job) -> HandOver {
        if !self.realtime {
            return if slot.put(job) { HandOver::Done } else { HandOver::Closed };
        }
        let number = job.number;
        match slot.replace(job) {
            None => HandOver::Done,
            Some(same) if same.number == number => HandOver::Closed,
            Some(older) => {
                let number = older.number;
                self.give_back(older);
                HandOver::Dropped(number)
            }
        }
    }

    fn give_back(&self, job: Job) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }
}

/// What became of a hand-over.
enum HandOver {
    Done,
    /// The older job with this number made room.
    Dropped(u64),
    /// The other side has ended.
    Closed,
}

/// The last station: overlay, sinks, and the clock of the run.
struct Presenter<P> {
    overlay: Overlay,
    sinks: Vec<Box<dyn Sink>>,
    warmup: u64,
    total: Option<u64>,
    progress: P,
    overlay_times: Times,
    sink_times: Times,
    rate: FrameRate,
    shown: u64,
    /// Shown after warm-up.
    frames: u64,
    started: Option<Instant>,
    last: Option<Instant>,
    max_gap: Duration,
}

impl<P: FnMut(Progress)> Presenter<P> {
    fn new(overlay: Overlay, sinks: Vec<Box<dyn Sink>>, warmup: u64, total: Option<u64>, progress: P) -> Self {
        let (overlay_times, sink_times, rate) = (Times::default(), Times::default(), FrameRate::default());
        let (started, last, max_gap) = (None, None, Duration::ZERO);
        Self { overlay, sinks, warmup, total, progress, overlay_times, sink_times, rate, shown: 0, frames: 0, started, last, max_gap }
    }

    fn show(&mut self, job: &Job) -> Result<()> {
        let start = Instant::now();
        let fps = self.rate.tick(start);
        let overlay = self.overlay.draw(&job.frame, &job.map, fps);
        let drawn = Instant::now();
        let view = View { frame: &job.frame, map: &job.map, overlay };
        self.sinks.iter_mut().try_for_each(|sink| sink.show(&view))?;
        self.shown += 1;
        if self.shown <= self.warmup {
            return Ok(());
        }
        let now = Instant::now();
        self.overlay_times.add(drawn - start);
        self.sink_times.add(now - drawn);
        self.frames += 1;
        self.started = self.started.or(job.started);
        if let Some(last) = self.last.replace(now) {
            self.max_gap = self.max_gap.max(now - last);
        }
        (self.progress)(Progress { frames: self.frames, total: self.total, fps });
        Ok(())
    }

    /// Completes every sink, also after one has failed, and gives the first failure.
    fn finish(&mut self) -> Result<()> {
        let failures: Vec<Error> = self.sinks.iter_mut().filter_map(|sink| sink.finish().err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    fn seconds(&self) -> f64 {
        self.started.zip(self.last).map_or(0.0, |(started, last)| last.saturating_duration_since(started).as_secs_f64())
    }
}

/// Result of a thread; its panic goes on in ours.
fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
