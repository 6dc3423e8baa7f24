use amis_artifacts::cli::print_line;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use amis_runtime::pipeline::{self, Parts, Progress, RunOptions};
use amis_runtime::refine::RefineOptions;
use amis_runtime::stats::{Percentiles, Report, STAGES, Summary};
use amis_runtime::update::{Device, Event};
use amis_runtime::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::control;
use crate::guard;
use crate::state::State;
use crate::watch::Watch;

const EXAMPLES: &str = "\
Examples:
  amis-run run --bundle street-3.amis --source image:street.jpg --sink dir:overlays
  amis-run run --bundle street-3.amis --source 'dir:in?list=val.txt' --sink 'dir:out?what=mask'
  amis-run run --bundle street-3.amis --source 'v4l2:/dev/video0?width=1280&height=720' --sink video:run.avi
  amis-run run --bundle street-3.amis --source video:street.avi --realtime --sink video:run.avi
  amis-run run --bundle street-3.amis --source synthetic: --sink video:run.avi --sink dir:out
  amis-run run --root /var/lib/amis --source v4l2:/dev/video0 --sink web:127.0.0.1:8080
  amis-run run --bundle street-3.amis --source 'synthetic:?realtime=1' --sink web:0.0.0.0:8080 --token @token
  amis-run run --bundle street-3.amis --source v4l2:/dev/video0 --source v4l2:/dev/video2 --sink web:127.0.0.1:8080 --sink 'dir:out/{camera}'";

/// Default of `--hang-after`: longer than any inference, shorter than patience.
pub(crate) const HANG_AFTER_S: u64 = 30;

/// Arguments of `amis-run run`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Bundle that `amis-export bundle` wrote
    #[arg(long, value_name = "FILE", required_unless_present = "root")]
    bundle: Option<PathBuf>,
    /// Folder of a device that takes updates, usually /var/lib/amis: runs its current release, and judges a new one on trial
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bundle", "precision", "engine"])]
    root: Option<PathBuf>,
    /// Where frames come from: v4l2:/dev/video0, image:PATH, dir:PATH, video:PATH, synthetic: (may stand several times: cameras that share the model)
    #[arg(long = "source", value_name = "NAME", required = true)]
    sources: Vec<String>,
    /// Where results go: web:ADDRESS, lines:PATH, collect:PATH, dir:PATH, video:PATH.avi, null: (may stand several times). {camera} in a path becomes the
    /// number of the camera
    #[arg(long = "sink", value_name = "NAME", required = true)]
    sinks: Vec<String>,
    /// Stop after so many frames of every camera
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Opacity of the class colours, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.5, value_parser = opacity)]
    opacity: f32,
    /// Threads of the inference; 0: one a physical core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Weight of the past in every frame, 0 to 0.99, against flicker; where the picture moves there is no past
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = smooth)]
    smooth: f32,
    /// Least probability that makes a class, for all or for one (may stand several times); below it is background
    #[arg(long, value_name = "[CLASS=]X", value_parser = confidence)]
    confidence: Vec<(Option<String>, f32)>,
    /// What viewers of the sink web: have to bring; @FILE reads it from a file
    #[arg(long, value_name = "TEXT")]
    token: Option<String>,
    /// Folder for the control socket, and for how the run ended; with --root that is DIR/run
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Seconds after which a call to camera driver, model or sink that does not come back ends the process
    #[arg(long, value_name = "SECONDS", default_value_t = HANG_AFTER_S, value_parser = clap::value_parser!(u64).range(1..))]
    hang_after: u64,
    /// Precision of the graph to run
    #[arg(long, value_name = "NAME", default_value = "fp32")]
    precision: String,
    /// Engine that `amis-export engine` built from that graph on this machine: runs on the GPU instead of the CPU
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Keep the clock with pictures and videos too: what is not fetched in time is left out, as with a camera
    #[arg(long)]
    realtime: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn opacity(text: &str) -> std::result::Result<f32, String> {
    text.parse().ok().filter(|x| (0.0..=1.0).contains(x)).ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// Shortest token that is worth asking for.
const MIN_TOKEN: usize = 8;

/// The token of `--token`: the text, or what a file holds. Its characters need no escaping in addresses and headers.
fn token(text: &str) -> Result<String> {
    let token = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => std::fs::read_to_string(path).map_err(|e| Error::Token { reason: format!("cannot be read from {path}: {e}") })?.trim().to_owned(),
    };
    if token.len() < MIN_TOKEN || !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
        return Err(Error::Token { reason: format!("has {} characters, expected at least {MIN_TOKEN} of a-z, A-Z, 0-9 and -._~", token.chars().count()) });
    }
    Ok(token)
}

fn smooth(text: &str) -> std::result::Result<f32, String> {
    text.parse().ok().filter(|x| (0.0..=0.99).contains(x)).ok_or_else(|| "expected a number from 0 to 0.99".to_owned())
}

fn confidence(text: &str) -> std::result::Result<(Option<String>, f32), String> {
    let (name, number) = text.rsplit_once('=').map_or((None, text), |(name, number)| (Some(name.to_owned()), number));
    let number = number.parse().ok().filter(|x| (0.0..=1.0).contains(x)).ok_or_else(|| "expected a number from 0 to 1, or CLASS=NUMBER".to_owned())?;
    Ok((name, number))
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let device = args.root.as_deref().map(Device::open).transpose()?;
    let bundle = match (&device, &args.bundle) {
        (Some(device), _) => guard::bundle(device)?,
        (None, bundle) => bundle.clone().unwrap_or_default(),
    };
    let options = RunOptions {
        bundle,
        sources: args.sources.clone(),
        sinks: args.sinks.clone(),
        frames: args.frames,
        warmup_frames: 0,
        opacity: args.opacity,
        threads: args.threads,
        precision: args.precision.clone(),
        engine: args.engine.clone(),
        token: args.token.as_deref().map(token).transpose()?,
        refine: RefineOptions { smooth: args.smooth, confidence: args.confidence.clone() },
        realtime: args.realtime,
    };
    let folder = args.state.clone().or_else(|| device.as_ref().map(Device::run_folder));
    let state = folder.as_deref().map(State::begin).transpose()?;
    let summaries = watched(&options, Duration::from_secs(args.hang_after), state.as_ref(), device, || {}).inspect_err(|error| {
        if let Some(state) = &state {
            state.end(&error.to_string());
        }
    })?;
    if !args.json {
        print(&summaries);
    }
    Ok(Report(summaries))
}

/// Runs with a progress bar on a terminal; Ctrl-C or SIGTERM ends the run in order, the second time at once. With `state`, it can be asked meanwhile; with
/// `device`, its release is judged while it is on trial.
pub(crate) fn watched(
    options: &RunOptions,
    hang_after: Duration,
    state: Option<&State>,
    device: Option<Device>,
    mut on_frame: impl FnMut() + Send,
) -> Result<Vec<Summary>> {
    let parts = Parts::open(options)?;
    let watch = Watch::new(options, &parts);
    watch.listen();
    watch.supervise(hang_after, state.cloned());
    if let Some(state) = state {
        control::serve(&state.socket(), &watch)?;
    }
    if let Some(device) = device {
        // Counted when everything is open: a camera that is away is not the release's fault.
        device.happen(Event::Started)?;
        guard::guard(device, watch.clone());
    }
    let bar = progress_bar();
    let summaries = pipeline::run_parts(parts, options, &watch.stop, |progress: Progress| {
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.frames);
        bar.set_message(format!("{:.1} fps", progress.fps));
        on_frame();
    });
    bar.finish_and_clear();
    let (summaries, stopped) = (summaries?, watch.stop.load(Ordering::Relaxed));
    if summaries.iter().all(|summary| summary.frames == 0) {
        let reason = if stopped { "it was stopped before its first frame" } else { "no frame came through" };
        return Err(Error::NoFrames { uri: options.sources.join(", "), reason: reason.to_owned() });
    }
    if let Some(state) = state {
        state.end(if stopped { "it was asked to stop" } else { "the source ended" });
    }
    Ok(summaries)
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} frames  {msg}  {elapsed} (ETA {eta}) {wide_bar}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The result for people.
pub(crate) fn print(cameras: &[Summary]) {
    let Some(last) = cameras.last() else { return };
    print_line(format_args!("{} v{} {}, {} classes", last.model.name, last.model.version, last.model.precision, last.model.classes.len()));
    cameras.iter().for_each(print_camera);
    print_line(format_args!("largest resident memory {:.0} MiB", last.rss_mib));
}

fn print_camera(summary: &Summary) {
    if let Some(camera) = summary.camera {
        print_line(format_args!("camera {camera}"));
    }
    print_line(format_args!(
        "{} frames in {:.1} s: {:.1} fps, {} dropped, longest gap {:.0} ms",
        summary.frames, summary.seconds, summary.fps, summary.dropped, summary.max_gap_ms
    ));
    print_line(format_args!("{:<12}{:>9}{:>9}{:>9}{:>9}", "station, ms", "p50", "p95", "p99", "max"));
    let row = |name: &str, p: &Percentiles| print_line(format_args!("{name:<12}{:>9.2}{:>9.2}{:>9.2}{:>9.2}", p.p50_ms, p.p95_ms, p.p99_ms, p.max_ms));
    STAGES.into_iter().filter_map(|name| summary.stages.get_key_value(name)).for_each(|(name, p)| row(name, p));
    row("age", &summary.age);
    for (kind, count) in &summary.faults {
        print_line(format_args!("{count} times: {kind}"));
    }
}
