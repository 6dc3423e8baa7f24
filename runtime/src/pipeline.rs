//! The whole road of a frame: capture, inference and presentation in three threads, handed over through one slot each.
//!
//! A realtime source never waits: what is not taken in time is replaced by the next frame and counted as dropped. Any other source waits, and
//! every frame of it is shown.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use amis_artifacts::classes::{BACKGROUND, ClassList, IGNORE};

use crate::exchange::Slot;
use crate::model::{Model, Prediction};
use crate::overlay::Overlay;
use crate::refine::RefineOptions;
use crate::sink::{self, Sink, View};
use crate::source::{self, Clocked, Frame, Next, Source};
use crate::stats::{FrameRate, Monitor, Stage, Summary, Worker};
use crate::swap::Swap;
use crate::update::Choice;
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
    /// Engine that was built from that graph, to run it on the GPU.
    pub engine: Option<PathBuf>,
    /// What viewers have to bring to the sink `web:`.
    pub token: Option<String>,
    /// What happens to logits before they become classes.
    pub refine: RefineOptions,
    /// Keeps the clock also with a source that could be read faster: pictures, videos.
    pub realtime: bool,
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
    /// Gets the statistics.
    pub monitor: Arc<Monitor>,
    /// Brings other models in.
    pub swap: Arc<Swap>,
}

impl RunOptions {
    /// Opens a bundle as these options say, their own or another.
    ///
    /// # Errors
    /// As [`Model::open`] and [`Model::refine`].
    pub fn open_model(&self, bundle: &Path) -> Result<Model> {
        // An installed release says itself how it runs here.
        let choice = Choice::read(bundle)?;
        let precision = choice.as_ref().map_or(&self.precision, |choice| &choice.precision);
        let engine = choice.as_ref().and_then(|choice| choice.engine(bundle)).or_else(|| self.engine.clone());
        let mut model = Model::open(bundle, precision, self.threads, engine.as_deref())?;
        model.refine(&self.refine)?;
        Ok(model)
    }
}

impl Parts {
    /// Puts opened parts together.
    pub fn new(source: Box<dyn Source>, model: Model, sinks: Vec<Box<dyn Sink>>, monitor: Arc<Monitor>) -> Self {
        let swap = Arc::new(Swap::new(Arc::clone(model.classes()), Arc::clone(&monitor)));
        Self { source, model, sinks, monitor, swap }
    }

    /// Opens bundle, source and sinks.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(options: &RunOptions) -> Result<Self> {
        refuse_own_folder(options)?;
        let mut source = source::open(&options.source)?;
        if options.realtime && !source.realtime() {
            source = Box::new(Clocked::new(source));
        }
        let model = options.open_model(&options.bundle)?;
        let monitor = Arc::new(Monitor::new(model.info(), source.faults()));
        let run = sink::Run { monitor: &monitor, token: options.token.as_deref(), fps: source.fps(), realtime: source.realtime() };
        let sinks = options.sinks.iter().map(|name| sink::open(name, &run)).collect::<Result<_>>()?;
        Ok(Self::new(source, model, sinks, monitor))
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
    let Parts { mut source, mut model, sinks, monitor, swap } = parts;
    let wanted = options.frames.map(|n| n.saturating_add(options.warmup_frames));
    let total = source.frames().map(|n| n.saturating_sub(options.warmup_frames)).into_iter().chain(options.frames).min();
    let classes = Arc::clone(model.classes());
    let overlay = Overlay::new(&classes, &monitor.title(), options.opacity);
    let mut presenter = Presenter {
        overlay,
        classes,
        opacity: options.opacity,
        sinks,
        monitor: &monitor,
        total,
        progress,
        rate: FrameRate::default(),
        warmup: options.warmup_frames,
        shown: 0,
    };
    let road = Road {
        captured: Slot::new(),
        classified: Slot::new(),
        spare: Mutex::new(Vec::new()),
        realtime: source.realtime(),
        warmup: options.warmup_frames,
        monitor: &monitor,
        swap: &swap,
        stop,
    };
    let (captured, inferred, presented) = thread::scope(|scope| {
        let capture = scope.spawn(|| road.capture(source.as_mut(), wanted));
        let infer = scope.spawn(|| road.infer(&mut model));
        let presented = road.present(&mut presenter, wanted);
        (joined(capture.join()), joined(infer.join()), presented)
    });
    let finished = presenter.finish();
    captured.and(inferred).and(presented).and(finished)?;
    Ok(monitor.summary())
}

/// A frame on its way, with its class map. Its buffers go round.
#[derive(Default)]
struct Job {
    frame: Frame,
    map: Vec<u8>,
    /// How unsure the model is, 0 to 1.
    entropy: f32,
    /// Of the model that made the map.
    classes: Option<Arc<ClassList>>,
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
    /// Frames of lower numbers are not counted.
    warmup: u64,
    monitor: &'a Monitor,
    swap: &'a Swap,
    stop: &'a AtomicBool,
}

impl Road<'_> {
    fn capture(&self, source: &mut dyn Source, wanted: Option<u64>) -> Result<()> {
        let _close = self.captured.close_at_end();
        let mut next_index = None;
        // A realtime source runs until enough frames are shown; here it is not known how many will be dropped.
        let limit = if self.realtime { None } else { wanted };
        for number in (0..).take_while(|n| limit.is_none_or(|limit| *n < limit)) {
            let mut job = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let start = Instant::now();
            if !self.next(source, &mut job.frame)? {
                break;
            }
            self.count(number, Stage::Capture, start.elapsed());
            self.drop_frames(number, next_index.map_or(0, |next| job.frame.index.saturating_sub(next)));
            next_index = Some(job.frame.index + 1);
            (job.number, job.started) = (number, Some(start));
            if !self.hand_over(&self.captured, job) {
                break;
            }
        }
        Ok(())
    }

    /// The next frame; false at the end of the source or of the run.
    fn next(&self, source: &mut dyn Source, frame: &mut Frame) -> Result<bool> {
        while !self.stop.load(Ordering::Relaxed) {
            let busy = self.monitor.busy(Worker::Capture);
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

    fn infer(&self, model: &mut Model) -> Result<()> {
        let _ends = (self.captured.close_at_end(), self.classified.close_at_end(), self.swap.close_at_end());
        while let Some(mut job) = self.captured.take() {
            self.swap.take_over(model, (job.frame.width_px, job.frame.height_px));
            job.classes = Some(Arc::clone(model.classes()));
            let busy = self.monitor.busy(Worker::Infer);
            let Prediction { timing: took, entropy } = model.predict(&job.frame, &mut job.map)?;
            job.entropy = entropy;
            drop(busy);
            self.monitor.inferred(took.infer, is_blank(&job.map));
            for (stage, took) in [(Stage::Preprocess, took.preprocess), (Stage::Infer, took.infer), (Stage::ClassMap, took.class_map)] {
                self.count(job.number, stage, took);
            }
            if !self.hand_over(&self.classified, job) {
                break;
            }
        }
        Ok(())
    }

    fn present<P: FnMut(Progress)>(&self, presenter: &mut Presenter<'_, P>, wanted: Option<u64>) -> Result<()> {
        let _close = (self.classified.close_at_end(), self.captured.close_at_end());
        for _ in (0..).take_while(|n| wanted.is_none_or(|wanted| *n < wanted)) {
            let Some(job) = self.classified.take() else { break };
            presenter.show(&job)?;
            self.give_back(job);
        }
        Ok(())
    }

    /// False once the other side has ended.
    fn hand_over(&self, slot: &Slot<Job>, job: Job) -> bool {
        if !self.realtime {
            return slot.put(job);
        }
        let number = job.number;
        match slot.replace(job) {
            None => true,
            Some(same) if same.number == number => false,
            Some(older) => {
                self.drop_frames(older.number, 1);
                self.give_back(older);
                true
            }
        }
    }

    fn give_back(&self, job: Job) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    fn count(&self, number: u64, stage: Stage, took: Duration) {
        if number >= self.warmup {
            self.monitor.station(stage, took);
        }
    }

    fn drop_frames(&self, number: u64, frames: u64) {
        if number >= self.warmup && frames > 0 {
            self.monitor.dropped(frames);
        }
    }
}

/// Whether there is nothing but background, judged by a sample of the pixels: a prime step meets every column.
fn is_blank(map: &[u8]) -> bool {
    map.iter().step_by(61).all(|&class| class == BACKGROUND || class == IGNORE)
}

/// The last station: overlay and sinks.
struct Presenter<'a, P> {
    overlay: Overlay,
    classes: Arc<ClassList>,
    opacity: f32,
    sinks: Vec<Box<dyn Sink>>,
    monitor: &'a Monitor,
    total: Option<u64>,
    progress: P,
    rate: FrameRate,
    /// So many frames are shown before they count.
    warmup: u64,
    shown: u64,
}

impl<P: FnMut(Progress)> Presenter<'_, P> {
    fn show(&mut self, job: &Job) -> Result<()> {
        let _busy = self.monitor.busy(Worker::Present);
        let start = Instant::now();
        let fps = self.rate.tick(start);
        if let Some(classes) = job.classes.as_ref().filter(|classes| !Arc::ptr_eq(classes, &self.classes)) {
            self.classes = Arc::clone(classes);
            self.overlay = Overlay::new(classes, &self.monitor.title(), self.opacity);
        }
        let overlay = self.overlay.draw(&job.frame, &job.map, fps);
        let drawn = Instant::now();
        let view = View { frame: &job.frame, map: &job.map, overlay, entropy: job.entropy, classes: &self.classes };
        self.sinks.iter_mut().try_for_each(|sink| sink.show(&view))?;
        self.shown += 1;
        let Some(frames) = self.shown.checked_sub(self.warmup).filter(|&frames| frames > 0) else { return Ok(()) };
        self.monitor.station(Stage::Overlay, drawn - start);
        self.monitor.station(Stage::Sink, drawn.elapsed());
        self.monitor.shown(job.started, job.frame.captured);
        (self.progress)(Progress { frames, total: self.total, fps });
        Ok(())
    }

    /// Completes every sink, also after one has failed, and gives the first failure.
    fn finish(&mut self) -> Result<()> {
        let failures: Vec<Error> = self.sinks.iter_mut().filter_map(|sink| sink.finish().err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

/// Result of a thread; its panic goes on in ours.
fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
