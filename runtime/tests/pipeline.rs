//! The whole road on a small network, and the behaviour of its threads with slow and failing stations.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amis_artifacts::bundle::BundleManifest;
use amis_runtime::backend::Backend;
use amis_runtime::model::Model;
use amis_runtime::pipeline::{self, RunOptions};
use amis_runtime::sink::{Sink, View};
use amis_runtime::source::{Frame, Next, Source};
use amis_runtime::stats::{STAGES, Summary};
use amis_runtime::{Error, Result};
use common::{Alone, color_bundle, onnxruntime_present, run_alone, two_halves};

fn options(bundle: &Path, source: &str, sinks: &[String]) -> RunOptions {
    RunOptions { sources: vec![source.into()], sinks: sinks.to_vec(), ..common::options(bundle) }
}

fn run(options: &RunOptions) -> Result<Summary> {
    Ok(pipeline::run(options, &AtomicBool::new(false), |_| {})?.remove(0))
}

#[test]
fn pictures_become_masks_of_their_own_size() {
    if !onnxruntime_present("pictures_become_masks_of_their_own_size") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("colors-3.amis");
    color_bundle(&bundle);
    let (pictures, out) = (dir.path().join("in"), dir.path().join("out"));
    fs::create_dir(&pictures).unwrap();
    two_halves(&pictures.join("a.png"), 96, 64, [220, 20, 20], [20, 20, 220]);
    two_halves(&pictures.join("b.png"), 300, 500, [128, 128, 128], [20, 220, 20]);
    let sinks = [format!("dir:{}?what=both", out.display())];
    let summary = run(&options(&bundle, &format!("dir:{}", pictures.display()), &sinks)).unwrap();
    assert_eq!((summary.frames, summary.dropped), (2, 0));
    for (name, size, left, right) in [("a", (96, 64), [128, 0, 0], [128, 128, 0]), ("b", (300, 500), [0, 0, 0], [0, 128, 0])] {
        let mask = image::open(out.join(format!("{name}.png"))).unwrap().into_rgb8();
        assert_eq!(mask.dimensions(), size);
        for y in 0..size.1 {
            // The border may lie within one patch, as wide as it is in the frame.
            let unsure = size.0 / 12;
            (0..size.0 / 2 - unsure).for_each(|x| assert_eq!(mask.get_pixel(x, y).0, left));
            (size.0 / 2 + unsure..size.0).for_each(|x| assert_eq!(mask.get_pixel(x, y).0, right));
        }
        assert!(out.join(format!("{name}.jpg")).exists());
    }
}

#[test]
fn overlays_never_replace_the_pictures_that_they_show() {
    let dir = tempfile::tempdir().unwrap();
    two_halves(&dir.path().join("a.png"), 8, 8, [220, 20, 20], [20, 20, 220]);
    let sink = [format!("dir:{}/./?what=both", dir.path().display())];
    for source in [format!("dir:{}", dir.path().display()), format!("image:{}", dir.path().join("a.png").display())] {
        let error = run(&options(Path::new("none.amis"), &source, &sink)).unwrap_err();
        assert!(error.to_string().contains("would be replaced"), "{error}");
    }
}

#[test]
fn the_summary_tells_what_ran_and_warmup_is_left_out() {
    if !onnxruntime_present("the_summary_tells_what_ran_and_warmup_is_left_out") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("colors-3.amis");
    color_bundle(&bundle);
    let mut options = options(&bundle, "synthetic:?width=160&height=120", &["null:".into()]);
    (options.frames, options.warmup_frames) = (Some(20), 5);
    let seen = AtomicU64::new(0);
    let summary = pipeline::run(&options, &AtomicBool::new(false), |progress| {
        assert_eq!((progress.frames, progress.total), (seen.fetch_add(1, Ordering::Relaxed) + 1, Some(20)));
    });
    let summary = summary.unwrap().remove(0);
    assert_eq!((summary.frames, summary.dropped, seen.into_inner()), (20, 0, 20));
    assert_eq!((summary.model.name.as_str(), summary.model.version, summary.model.classes.len()), ("colors", 3, 4));
    assert!(summary.fps > 0.0 && summary.rss_mib > 1.0 && summary.max_gap_ms > 0.0);
    let json = serde_json::to_value(&summary).unwrap();
    for stage in STAGES {
        assert!(json["stages"][stage]["p99_ms"].as_f64().is_some_and(|ms| ms < 10_000.0), "{stage}: {json}");
        assert_eq!((json["stages"][stage]["count"].as_u64(), json["minute"]["stages"][stage]["count"].as_u64()), (Some(20), Some(20)), "{stage}");
    }
    assert!(summary.age.p50_ms > 0.0 && summary.minute.fps > 0.0 && summary.minute.gap.count == 19);
}

#[test]
fn a_bundle_without_the_wanted_graph_says_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("colors-3.amis");
    color_bundle(&bundle);
    let mut options = options(&bundle, "synthetic:", &["null:".into()]);
    options.precision = "int8".into();
    let error = run(&options).unwrap_err();
    assert!(matches!(error, Error::NoGraph { .. }) && error.to_string().contains("at int8; it has cpu fp32"), "{error}");
    fs::write(&bundle, "not a bundle").unwrap();
    assert!(matches!(run(&options).unwrap_err(), Error::Artifact(_)));
}

/// A network that takes its time and calls everything class 1, or fails at a call.
struct Slow {
    time: Duration,
    fails_at: Option<u64>,
    calls: u64,
}

impl Backend for Slow {
    fn input_shape(&self) -> [usize; 4] {
        [1, 3, 64, 96]
    }

    fn output_shape(&self) -> [usize; 4] {
        [1, 4, 1, 1]
    }

    fn infer(&mut self, _: &[f32]) -> Result<&[f32]> {
        std::thread::sleep(self.time);
        self.calls += 1;
        if self.fails_at == Some(self.calls) { Err(Error::Infer { reason: "out of order".into() }) } else { Ok(&[0.0, 1.0, 0.0, 0.0]) }
    }
}

/// Frames at a fixed distance.
struct Camera {
    realtime: bool,
    period: Duration,
    frames: u64,
    next: u64,
}

impl Source for Camera {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        std::thread::sleep(self.period);
        *frame = Frame { rgb: vec![0; 16 * 16 * 3], width_px: 16, height_px: 16, index: self.next, name: format!("{}", self.next), captured: Instant::now() };
        self.next += 1;
        Ok(if self.next <= self.frames { Next::Frame } else { Next::End })
    }

    fn realtime(&self) -> bool {
        self.realtime
    }
}

/// Remembers what it was shown, and fails from a frame on.
#[derive(Default)]
struct Witness {
    log: Arc<std::sync::Mutex<(Vec<u64>, bool)>>,
    fails_from: Option<u64>,
}

impl Sink for Witness {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        assert!(view.map.iter().all(|&id| id == 1));
        if self.fails_from.is_some_and(|from| view.frame.index >= from) {
            return Err(Error::Sink { path: "witness".into(), reason: "full".into() });
        }
        self.log.lock().unwrap().0.push(view.frame.index);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.log.lock().unwrap().1 = true;
        Ok(())
    }
}

fn manifest() -> BundleManifest {
    let dir = tempfile::tempdir().unwrap();
    color_bundle(&dir.path().join("x.amis"))
}

fn drive(camera: Camera, slow: Slow, witness: Witness, frames: Option<u64>, stop_after: u64) -> (Result<Summary>, Vec<u64>, bool) {
    let log = witness.log.clone();
    let model = Model::new(Path::new("x.amis"), manifest(), "fp32", Box::new(slow)).unwrap();
    let parts = Alone::new(Box::new(camera), model).parts(vec![Box::new(witness)]);
    let options = RunOptions { frames, ..options(Path::new("x.amis"), "", &[]) };
    let stop = AtomicBool::new(false);
    let summary = run_alone(parts, &options, &stop, |progress| {
        if progress.frames == stop_after {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let log = log.lock().unwrap().clone();
    (summary, log.0, log.1)
}

fn camera(realtime: bool, period_ms: u64, frames: u64) -> Camera {
    Camera { realtime, period: Duration::from_millis(period_ms), frames, next: 0 }
}

fn slow(ms: u64) -> Slow {
    Slow { time: Duration::from_millis(ms), fails_at: None, calls: 0 }
}

#[test]
fn a_realtime_source_drops_old_frames_and_counts_them() {
    let (summary, shown, finished) = drive(camera(true, 5, 60), slow(25), Witness::default(), None, u64::MAX);
    let summary = summary.unwrap();
    assert!(finished && shown.is_sorted_by(|a, b| a < b));
    assert_eq!(summary.frames, shown.len() as u64);
    assert_eq!(summary.frames + summary.dropped, 60, "every frame is shown or counted");
    assert!(summary.dropped >= 10, "{} dropped", summary.dropped);
}

#[test]
fn any_other_source_waits_and_loses_nothing() {
    let (summary, shown, _) = drive(camera(false, 0, 30), slow(3), Witness::default(), None, u64::MAX);
    assert_eq!((summary.unwrap().dropped, shown), (0, (0..30).collect()));
}

#[test]
fn a_realtime_run_shows_as_many_frames_as_were_asked_for() {
    let (summary, shown, _) = drive(camera(true, 2, u64::MAX), slow(10), Witness::default(), Some(8), u64::MAX);
    assert_eq!((summary.unwrap().frames, shown.len()), (8, 8));
}

#[test]
fn stopping_completes_the_sinks() {
    let (summary, shown, finished) = drive(camera(true, 2, u64::MAX), slow(2), Witness::default(), None, 5);
    assert!(summary.unwrap().frames >= 5 && shown.len() >= 5 && finished);
    let (summary, shown, finished) = drive(camera(false, 0, u64::MAX), slow(0), Witness::default(), None, 5);
    // What was on its way is still shown, in order, without a gap.
    assert_eq!((summary.unwrap().frames as usize, finished), (shown.len(), true));
    assert_eq!(shown, (0..shown.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_failing_station_ends_the_run_and_completes_the_sinks() {
    let failing = Slow { fails_at: Some(5), ..slow(1) };
    let (summary, shown, finished) = drive(camera(false, 0, u64::MAX), failing, Witness::default(), None, u64::MAX);
    assert!(matches!(summary, Err(Error::Infer { .. })) && shown.len() <= 4 && finished);
    for realtime in [false, true] {
        let witness = Witness { fails_from: Some(3), ..Witness::default() };
        let (summary, _, finished) = drive(camera(realtime, 1, u64::MAX), slow(0), witness, None, u64::MAX);
        assert!(matches!(summary, Err(Error::Sink { .. })) && finished);
    }
}
