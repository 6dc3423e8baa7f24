//! The whole road of a frame: capture, inference and presentation in three threads, handed over through one slot each.
//!
//! A realtime source never waits: what is not taken in time is replaced by the next frame and counted as dropped. Any other source waits, and
//! every frame of it is shown.
//!
//! Several cameras have a thread of capture and one of presentation each, and share the one of inference, which goes round among those that have a new frame.

mod present;
mod road;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::{self, ScopedJoinHandle};

use self::present::{Presenter, Tally};
use self::road::Road;
use crate::model::Model;
use crate::refine::RefineOptions;
use crate::sink::{self, Sink};
use crate::source::{self, Clocked, Source};
use crate::stats::{Journal, Monitor, Summary};
use crate::swap::Swap;
use crate::update::Choice;
use crate::{Error, Result};

/// What to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The bundle.
    pub bundle: PathBuf,
    /// Name of the source of each camera, see [`source::open`].
    pub sources: Vec<String>,
    /// Names of the sinks, see [`sink::open`].
    pub sinks: Vec<String>,
    /// Ends after so many frames of every camera, warm-up not counted; none: when all sources have ended.
    pub frames: Option<u64>,
    /// Frames of every camera at the start that go all the way but are not counted.
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
    /// Frames shown, of all cameras, warm-up not counted.
    pub frames: u64,
    /// Frames that there will be, if that is known.
    pub total: Option<u64>,
    /// Frames a second over the last second.
    pub fps: f64,
}

/// What belongs to one camera alone.
pub struct Lane {
    /// Where frames come from.
    pub source: Box<dyn Source>,
    /// Where results go.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Gets the statistics.
    pub monitor: Arc<Monitor>,
}

/// Opened parts of a run.
pub struct Parts {
    /// What turns frames into classes.
    pub model: Model,
    /// The cameras.
    pub lanes: Vec<Lane>,
    /// What the cameras share of what is told.
    pub journal: Arc<Journal>,
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
    pub fn new(model: Model, lanes: Vec<Lane>, journal: Arc<Journal>) -> Self {
        let swap = Arc::new(Swap::new(Arc::clone(model.classes()), lanes.len(), Arc::clone(&journal)));
        Self { model, lanes, journal, swap }
    }

    /// Opens bundle, sources and sinks.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn open(options: &RunOptions) -> Result<Self> {
        refuse_own_folder(options)?;
        let sources: Vec<Box<dyn Source>> = options.sources.iter().map(|name| open_source(name, options.realtime)).collect::<Result<_>>()?;
        let model = options.open_model(&options.bundle)?;
        let journal = Journal::new(model.info());
        let camera = |number: usize| (sources.len() > 1).then_some(number + 1);
        let monitors = sources.iter().enumerate().map(|(number, source)| Arc::new(Monitor::new(Arc::clone(&journal), camera(number), source.faults())));
        let monitors: Vec<Arc<Monitor>> = monitors.collect();
        let cameras = sources.iter().zip(&monitors).map(|(source, monitor)| sink::Camera {
            monitor: Arc::clone(monitor),
            fps: source.fps(),
            realtime: source.realtime(),
        });
        let run = sink::Run { cameras: cameras.collect(), journal: Arc::clone(&journal), token: options.token.clone() };
        let mut sinks: Vec<Vec<Box<dyn Sink>>> = sources.iter().map(|_| Vec::new()).collect();
        for name in &options.sinks {
            sinks.iter_mut().zip(sink::open(name, &run)?).for_each(|(sinks, sink)| sinks.push(sink));
        }
        let lanes = sources.into_iter().zip(sinks).zip(monitors).map(|((source, sinks), monitor)| Lane { source, sinks, monitor }).collect();
        Ok(Self::new(model, lanes, journal))
    }
}

fn open_source(name: &str, realtime: bool) -> Result<Box<dyn Source>> {
    let source = source::open(name)?;
    Ok(if realtime && !source.realtime() { Box::new(Clocked::new(source)) } else { source })
}

/// Overlays carry the names of their pictures: written into the pictures' folder they would replace them.
fn refuse_own_folder(options: &RunOptions) -> Result<()> {
    let path = |name: &str, scheme: &str| name.strip_prefix(scheme).and_then(|rest| rest.split('?').next()).map(PathBuf::from);
    let canonical = |path: PathBuf| path.canonicalize().ok();
    let folder = |source: &String| {
        let of_image = || path(source, "image:").and_then(canonical).and_then(|p| p.parent().map(Path::to_owned));
        path(source, "dir:").and_then(canonical).or_else(of_image)
    };
    let sinks = (1..=options.sources.len()).flat_map(|camera| options.sinks.iter().map(move |name| sink::of_camera(name, camera)));
    let sinks: Vec<PathBuf> = sinks.filter_map(|name| path(&name, "dir:").and_then(canonical)).collect();
    match options.sources.iter().filter_map(folder).find(|pictures| sinks.contains(pictures)) {
        None => Ok(()),
        Some(path) => Err(Error::Sink { path, reason: "the source's pictures lie there and would be replaced; name another folder".into() }),
    }
}

/// Runs a bundle until all sources have ended, `options.frames` of each are shown, or `stop` is set; then completes the sinks. Gives the statistics of every camera.
///
/// `progress` is called after every frame.
///
/// # Errors
/// The first failure of any station. What the sinks got until then is completed.
pub fn run(options: &RunOptions, stop: &AtomicBool, progress: impl FnMut(Progress) + Send) -> Result<Vec<Summary>> {
    run_parts(Parts::open(options)?, options, stop, progress)
}

/// [`run`] with parts that are open already.
///
/// # Errors
/// As [`run`].
pub fn run_parts(parts: Parts, options: &RunOptions, stop: &AtomicBool, progress: impl FnMut(Progress) + Send) -> Result<Vec<Summary>> {
    let Parts { mut model, lanes, journal, swap } = parts;
    let wanted = options.frames.map(|n| n.saturating_add(options.warmup_frames));
    let total = |lane: &Lane| lane.source.frames().map(|n| n.saturating_sub(options.warmup_frames)).into_iter().chain(options.frames).min();
    let tally = Mutex::new(Tally::new(lanes.iter().map(total).sum(), progress));
    let road = &Road::new(&lanes, options.warmup_frames, &journal, &swap, stop);
    let (mut sources, mut presenters) = (Vec::new(), Vec::new());
    for Lane { source, sinks, monitor } in lanes {
        sources.push(source);
        presenters.push(Presenter::new(sinks, model.classes(), options, &tally, (&journal, monitor)));
    }
    let (captured, inferred, presented) = thread::scope(|scope| {
        let (mut capture, mut present) = (Vec::new(), Vec::new());
        for (number, (source, presenter)) in sources.iter_mut().zip(&mut presenters).enumerate() {
            capture.push(scope.spawn(move || road.capture(number, source.as_mut(), wanted)));
            present.push(scope.spawn(move || road.present(number, presenter, wanted)));
        }
        let infer = scope.spawn(|| road.infer(&mut model));
        (all_joined(capture), all_joined([infer]), all_joined(present))
    });
    let finished = first_failure(presenters.iter_mut().map(Presenter::finish));
    captured.and(inferred).and(presented).and(finished)?;
    Ok(presenters.iter().map(Presenter::summary).collect())
}

/// The first failure, after all have come to an end.
fn first_failure(results: impl Iterator<Item = Result<()>>) -> Result<()> {
    results.fold(Ok(()), Result::and)
}

/// The first failure of these threads; their panic goes on in ours.
fn all_joined<'scope>(threads: impl IntoIterator<Item = ScopedJoinHandle<'scope, Result<()>>>) -> Result<()> {
    first_failure(threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
}
