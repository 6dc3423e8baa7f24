//! Several cameras that share one model: who has a turn, what belongs to whom, and what one does to the others.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use amis_runtime::backend::Backend;
use amis_runtime::model::Model;
use amis_runtime::pipeline::{self, Lane, Parts};
use amis_runtime::refine::RefineOptions;
use amis_runtime::sink::{Sink, View};
use amis_runtime::source::{Frame, Next, Source};
use amis_runtime::stats::{Journal, Monitor, Summary};
use amis_runtime::{Error, Result};
use common::{Halves, color_bundle, colors, colors_and_one, halves_model, onnxruntime_present, options, two_halves};
use serde_json::Value;

/// Grey frames of its own size at a fixed distance.
#[derive(Clone)]
struct Camera {
    size_px: (u32, u32),
    realtime: bool,
    period: Duration,
    frames: u64,
    next: u64,
}

impl Source for Camera {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        thread::sleep(self.period);
        (frame.width_px, frame.height_px) = self.size_px;
        frame.rgb.resize((self.size_px.0 * self.size_px.1 * 3) as usize, 128);
        (frame.index, frame.captured) = (self.next, Instant::now());
        self.next += 1;
        Ok(if self.next <= self.frames { Next::Frame } else { Next::End })
    }

    fn realtime(&self) -> bool {
        self.realtime
    }
}

/// A camera in real time, or a source that waits.
fn every(period_ms: u64, realtime: bool) -> Camera {
    Camera { size_px: (16, 16), realtime, period: Duration::from_millis(period_ms), frames: u64::MAX, next: 0 }
}

/// Remembers sizes and numbers of classes, takes its time, and may fail.
#[derive(Clone, Default)]
struct Witness {
    seen: Arc<Mutex<Vec<(u32, usize)>>>,
    finished: Arc<AtomicBool>,
    time: Duration,
    fails_from: Option<usize>,
}

impl Sink for Witness {
    fn show(&mut self, view: &View<'_>) -> Result<()> {
        thread::sleep(self.time);
        let mut seen = self.seen.lock().unwrap();
        if self.fails_from.is_some_and(|from| seen.len() >= from) {
            return Err(Error::Sink { path: "witness".into(), reason: "full".into() });
        }
        seen.push((view.frame.width_px, view.classes.len()));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.finished.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Two cameras with a witness each.
fn two(model: Model, cameras: [(Camera, Witness); 2]) -> Parts {
    let journal = Journal::new(model.info());
    let lanes = cameras.into_iter().zip(1..).map(|((camera, witness), number)| {
        let monitor = Arc::new(Monitor::new(Arc::clone(&journal), Some(number), None));
        Lane { source: Box::new(camera), sinks: vec![Box::new(witness)], monitor }
    });
    Parts::new(model, lanes.collect(), Arc::clone(&journal))
}

/// Runs them for a time, or to their end.
fn run_for(time: Option<Duration>, parts: Parts) -> Result<Vec<Summary>> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let run = scope.spawn(|| pipeline::run_parts(parts, &options(Path::new("x.amis")), &stop, |_| {}));
        if let Some(time) = time {
            thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
        }
        run.join().unwrap()
    })
}

fn slow(ms: u64) -> Model {
    halves_model(Halves { time: Duration::from_millis(ms) })
}

#[test]
fn cameras_take_turns_and_one_that_is_quick_takes_nothing_from_a_slow_one() {
    let second = Some(Duration::from_secs(2));
    let equal = run_for(second, two(slow(20), [(every(3, true), Witness::default()), (every(3, true), Witness::default())])).unwrap();
    let frames: Vec<u64> = equal.iter().map(|s| s.frames).collect();
    assert!(frames[0] > 5 && frames[0].abs_diff(frames[1]) <= 2, "{frames:?}");
    assert_eq!(equal.iter().map(|s| s.camera).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert!(equal.iter().all(|s| s.dropped > s.frames && s.stages["infer"].count >= s.frames), "{equal:?}");
    // Of fifty turns a second, the slow one wants seven.
    let unequal = run_for(second, two(slow(20), [(every(3, true), Witness::default()), (every(150, true), Witness::default())])).unwrap();
    assert!(unequal[1].dropped <= 1 && unequal[0].frames > unequal[1].frames && unequal[1].frames > 3, "{unequal:?}");
}

#[test]
fn a_sink_that_is_slow_holds_up_its_own_camera_only() {
    let lazy = Witness { time: Duration::from_millis(300), ..Witness::default() };
    let summaries = run_for(Some(Duration::from_secs(2)), two(slow(1), [(every(0, false), lazy), (every(10, true), Witness::default())])).unwrap();
    assert!(summaries[0].frames <= 10 && summaries[0].dropped == 0, "{summaries:?}");
    assert!(summaries[1].frames > 40 && summaries[1].max_gap_ms < 290.0, "{summaries:?}");
}

#[test]
fn a_source_that_ends_leaves_the_others_running() {
    let cameras = [5, 40].map(|frames| (Camera { frames, ..every(2, false) }, Witness::default()));
    let finished = cameras.clone().map(|(_, witness)| witness.finished);
    let summaries = run_for(None, two(slow(1), cameras)).unwrap();
    assert_eq!(summaries.iter().map(|s| (s.frames, s.dropped)).collect::<Vec<_>>(), [(5, 0), (40, 0)]);
    assert!(finished.iter().all(|finished| finished.load(Ordering::Relaxed)));
}

#[test]
fn a_failure_ends_the_run_and_completes_all_sinks() {
    for realtime in [false, true] {
        let full = Witness { fails_from: Some(3), ..Witness::default() };
        let other = Witness::default();
        let start = Instant::now();
        let ended = run_for(None, two(slow(1), [(every(2, realtime), full.clone()), (every(2, true), other.clone())]));
        assert!(matches!(ended, Err(Error::Sink { .. })) && start.elapsed() < Duration::from_secs(5), "{ended:?}");
        assert!(full.finished.load(Ordering::Relaxed) && other.finished.load(Ordering::Relaxed));
    }
}

/// Class 1 and class 2 in turn.
struct Alternating(bool);

impl Backend for Alternating {
    fn input_shape(&self) -> [usize; 4] {
        [1, 3, 64, 96]
    }

    fn output_shape(&self) -> [usize; 4] {
        [1, 4, 1, 1]
    }

    fn infer(&mut self, _: &[f32]) -> Result<&[f32]> {
        self.0 = !self.0;
        Ok(if self.0 { &[0.0, 1.0, 0.0, 0.0] } else { &[0.0, 0.0, 1.0, 0.0] })
    }
}

#[test]
fn each_camera_has_its_own_past() {
    let mut model = Model::new(Path::new("x.amis"), colors("x.amis"), "fp32", Box::new(Alternating(false))).unwrap();
    model.refine(&RefineOptions { smooth: 0.8, confidence: Vec::new() }).unwrap();
    let frame = Frame { rgb: vec![128; 96 * 64 * 3], width_px: 96, height_px: 64, ..Frame::default() };
    let mut map = Vec::new();
    for turn in 0..10 {
        for camera in 0..2 {
            model.predict(camera, &frame, &mut map).unwrap();
            assert!(map.iter().all(|&id| usize::from(id) == camera + 1), "turn {turn}, camera {camera}: {}", map[0]);
        }
    }
    // The same camera twice has seen the other class so often that one frame changes nothing.
    model.predict(1, &frame, &mut map).unwrap();
    assert!(map.iter().all(|&id| id == 2));
}

#[test]
fn another_model_serves_all_cameras() {
    if !onnxruntime_present("another_model_serves_all_cameras") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let paths = ["four-3.amis", "five-4.amis"].map(|name| dir.path().join(name));
    color_bundle(&paths[0]);
    colors_and_one(&paths[1]);
    let options = options(&paths[0]);
    let witnesses = [Witness::default(), Witness::default()];
    let wide = Camera { size_px: (64, 48), ..every(20, true) };
    let parts = two(options.open_model(&paths[0]).unwrap(), [(every(20, true), witnesses[0].clone()), (wide, witnesses[1].clone())]);
    let (swap, journal, stop) = (Arc::clone(&parts.swap), Arc::clone(&parts.journal), AtomicBool::new(false));
    thread::scope(|scope| {
        let run = scope.spawn(|| pipeline::run_parts(parts, &options, &stop, |_| {}));
        for n in 1..=6 {
            thread::sleep(Duration::from_millis(150));
            swap.change(|| options.open_model(&paths[n % 2])).unwrap();
        }
        thread::sleep(Duration::from_millis(150));
        stop.store(true, Ordering::Relaxed);
        assert!(run.join().unwrap().unwrap().iter().all(|s| s.model.classes.len() == 4));
    });
    assert_eq!(journal.events_after(0).len(), 6);
    for (witness, width) in witnesses.iter().zip([16, 64]) {
        let seen: BTreeSet<(u32, usize)> = witness.seen.lock().unwrap().iter().copied().collect();
        assert_eq!(seen, BTreeSet::from([(width, 4), (width, 5)]));
    }
}

#[test]
fn on_the_command_line_every_camera_has_its_figures_and_files() {
    if !onnxruntime_present("on_the_command_line_every_camera_has_its_figures_and_files") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    color_bundle(&dir.path().join("colors.amis"));
    fs::create_dir(dir.path().join("in")).unwrap();
    two_halves(&dir.path().join("in/a.png"), 96, 64, [220, 20, 20], [20, 20, 220]);
    let run = |sinks: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amis-run"));
        command.current_dir(dir.path()).args(["run", "--json", "--bundle", "colors.amis", "--source", "dir:in", "--source", "synthetic:?frames=3"]);
        command.args(sinks.iter().flat_map(|sink| ["--sink", *sink])).output().unwrap()
    };
    let output = run(&["dir:out/{camera}", "video:run-{camera}.avi"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cameras = report["cameras"].as_array().unwrap();
    let figures: Vec<(u64, u64)> = cameras.iter().map(|c| (c["camera"].as_u64().unwrap(), c["frames"].as_u64().unwrap())).collect();
    assert_eq!(figures, [(1, 1), (2, 3)]);
    for file in ["out/1/a.jpg", "out/2/frame-000002.jpg", "run-1.avi", "run-2.avi"] {
        assert!(dir.path().join(file).exists(), "{file}");
    }
    let refused = run(&["dir:out"]);
    assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("{camera}"));
    fs::rename(dir.path().join("in"), dir.path().join("1")).unwrap();
    std::os::unix::fs::symlink("1", dir.path().join("in")).unwrap();
    let refused = run(&["dir:{camera}"]);
    assert!(refused.status.code() == Some(1) && String::from_utf8_lossy(&refused.stderr).contains("would be replaced"));
}

/// Body of an answer, and its status.
fn get(port: u16, path: &str) -> (u16, Vec<u8>) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    // Events go on; their beginning is enough.
    stream.take(20_000).read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&bytes[..end]).split(' ').nth(1).unwrap().parse().unwrap();
    (status, bytes[end + 4..].to_vec())
}

#[test]
fn one_server_shows_all_cameras() {
    if !onnxruntime_present("one_server_shows_all_cameras") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("colors.amis");
    color_bundle(&bundle);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sources = ["320x240", "160x120"].map(|size| {
        let (width, height) = size.split_once('x').unwrap();
        format!("synthetic:?width={width}&height={height}&fps=20&realtime=1")
    });
    let options = pipeline::RunOptions { sources: sources.to_vec(), sinks: vec![format!("web:127.0.0.1:{port}")], ..options(&bundle) };
    let parts = Parts::open(&options).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let run = scope.spawn(|| pipeline::run_parts(parts, &options, &stop, |_| {}));
        let result = std::panic::catch_unwind(|| {
            for (address, size) in [("/frame.jpg", (320, 240)), ("/frame.jpg?camera=1", (320, 240)), ("/frame.jpg?camera=2", (160, 120))] {
                let picture = image::load_from_memory(&get(port, address).1).unwrap();
                assert_eq!((picture.width(), picture.height()), size, "{address}");
            }
            let report: Value = serde_json::from_slice(&get(port, "/stats.json").1).unwrap();
            assert!(report["cameras"].as_array().unwrap().iter().all(|c| c["frames"].as_u64() > Some(0)), "{report}");
            let second: Value = serde_json::from_slice(&get(port, "/stats.json?camera=2").1).unwrap();
            assert_eq!((&second["camera"], second["frames"].as_u64() > Some(0)), (&Value::from(2), true));
            let metrics = String::from_utf8(get(port, "/metrics").1).unwrap();
            assert!(metrics.contains("amis_frames_total{camera=\"2\"}") && metrics.matches("# TYPE amis_frames_total").count() == 1);
            let events = String::from_utf8_lossy(&get(port, "/events?camera=2").1).into_owned();
            assert!(events.starts_with("event: cameras\ndata: 2\n\n") && events.contains("\"width_px\":160"), "{events}");
            assert_eq!(get(port, "/healthz"), (200, b"ok\n".to_vec()));
            for wrong in ["/frame.jpg?camera=3", "/events?camera=0", "/stats.json?camera=x"] {
                let (status, text) = get(port, wrong);
                assert!(status == 400 && String::from_utf8_lossy(&text).contains("a number from 1 to 2"), "{wrong}");
            }
        });
        stop.store(true, Ordering::Relaxed);
        run.join().unwrap().unwrap();
        result.unwrap();
    });
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the server ends with the last camera");
}
