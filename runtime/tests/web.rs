//! The sinks that serve: addresses, pictures, tokens, results, and who may slow whom.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use amis_runtime::Result;
use amis_runtime::source::{self, Frame, Next, Source};
use amis_runtime::stats::Summary;
use common::{Alone, Halves, halves_model, options, run_alone};
use serde_json::Value;

/// A run on a synthetic camera whose left half is class 1 and whose right half is class 2.
struct Running {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Summary>>>,
}

impl Running {
    fn start(token: Option<&str>, more: &[String]) -> Self {
        Self::on(source::open("synthetic:?width=320&height=240&fps=30&realtime=1").unwrap(), token, more)
    }

    fn on(source: Box<dyn Source>, token: Option<&str>, more: &[String]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let model = halves_model(Halves::default());
        let alone = Alone::new(source, model);
        let names = std::iter::once(format!("web:127.0.0.1:{port}")).chain(more.iter().cloned());
        let sinks = names.map(|name| alone.sink(&name, token)).collect();
        let parts = alone.parts(sinks);
        let options = options(Path::new("halves.amis"));
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::spawn(move || run_alone(parts, &options, &asked, |_| {}));
        Self { port, stop, thread: Some(thread) }
    }

    /// Sends a request with these header lines and gives the open connection.
    fn send(&self, line: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        stream
    }

    /// Status, head and body.
    fn ask(&self, line: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let mut bytes = Vec::new();
        self.send(line, headers).read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head, bytes[end + 4..].to_vec())
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let (status, head, body) = self.ask(&format!("GET {path}"), "");
        assert_eq!(status, 200, "{path}: {head}\n{}", String::from_utf8_lossy(&body));
        body
    }

    fn picture(&self, settings: &str) -> image::RgbImage {
        image::load_from_memory(&self.get(&format!("/frame.jpg?{settings}"))).unwrap().into_rgb8()
    }

    fn stop(mut self) -> Summary {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether two colours are the same but for what JPEG does.
fn alike(a: image::Rgb<u8>, b: [u8; 3]) -> bool {
    a.0.iter().zip(b).all(|(&a, b)| a.abs_diff(b) < 24)
}

#[test]
fn turning_a_class_off_changes_the_picture() {
    let run = Running::start(None, &[]);
    let all = run.picture("mode=mask");
    assert_eq!(all.dimensions(), (320, 240));
    assert!(alike(*all.get_pixel(60, 120), [128, 0, 0]) && alike(*all.get_pixel(260, 120), [0, 128, 0]));
    let one = run.picture("mode=mask&hide=1");
    assert!(alike(*one.get_pixel(60, 120), [0; 3]) && alike(*one.get_pixel(260, 120), [0, 128, 0]));
    let full = run.picture("opacity=100");
    assert!(alike(*full.get_pixel(60, 120), [128, 0, 0]));
    let side = run.picture("mode=side&opacity=100&hide=2");
    assert_eq!(side.dimensions(), (640, 240));
    assert!(alike(*side.get_pixel(320 + 60, 120), [128, 0, 0]) && !alike(*side.get_pixel(60, 120), [128, 0, 0]));
    assert_eq!(run.ask("GET /frame.jpg?opacity=200", "").0, 400);
}

#[test]
fn machines_get_class_map_statistics_and_health() {
    let run = Running::start(None, &[]);
    let png = run.get("/classmap.png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut ids = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut ids).unwrap();
    assert_eq!((ids.len(), ids[0], ids[319]), (320 * 240, 1, 2));
    let stats: Value = serde_json::from_slice(&run.get("/stats.json")).unwrap();
    assert_eq!(stats["model"]["name"], "colors");
    assert!(stats["minute"]["stages"]["infer"]["count"].as_u64().is_some_and(|n| n > 0), "{stats}");
    let metrics = String::from_utf8(run.get("/metrics")).unwrap();
    assert!(metrics.contains("amis_stage_seconds_count{stage=\"infer\"}") && metrics.contains("amis_model_info{name=\"colors\""));
    assert_eq!(run.get("/healthz"), b"ok\n");
    let result: Value = serde_json::from_slice(&run.get("/result.json")).unwrap();
    let shares: Vec<f64> = result["classes"].as_array().unwrap().iter().map(|c| c["share"].as_f64().unwrap()).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && (shares[1] - 0.5).abs() < 0.1, "{result}");
    let region = &result["regions"][0];
    assert_eq!((&region["box_px"][1], &region["box_px"][3]), (&Value::from(0), &Value::from(240)), "{result}");
    assert_eq!(run.ask("GET /nothing", "").0, 404);
    assert_eq!(run.ask("POST /", "").0, 405);
    assert!(run.ask("HEAD /", "").2.is_empty());
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let run = Running::start(None, &[]);
    let (page, style, script) = (run.get("/"), run.get("/page.css"), run.get("/page.js"));
    let all = [page, style, script].map(|bytes| String::from_utf8(bytes).unwrap()).concat().replace("http://www.w3.org/2000/svg", "");
    assert!(!all.contains("http:") && !all.contains("https:") && !all.contains("//cdn") && !all.contains("@import"));
    let (_, head, _) = run.ask("GET /", "");
    assert!(head.contains("default-src 'none'") && !head.contains("Set-Cookie"));
    let (status, ..) = run.ask("GET /?x", "");
    assert_eq!(status, 200);
    // A name of elsewhere that leads here.
    let mut stream = TcpStream::connect(("127.0.0.1", run.port)).unwrap();
    stream.write_all(b"GET /stats.json HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn with_a_token_everything_but_health_asks_for_it() {
    let run = Running::start(Some("0123456789abcdef"), &[]);
    for path in ["/", "/page.js", "/stats.json", "/metrics", "/frame.jpg", "/stream.mjpg", "/events", "/classmap.png", "/stats.json?token=0123456789abcdeg"] {
        assert_eq!(run.ask(&format!("GET {path}"), "").0, 401, "{path}");
    }
    let name = format!("amis-{}", run.port);
    for headers in ["Authorization: Bearer 0123456789abcde\r\n".to_owned(), format!("Cookie: {name}=x\r\n"), "Cookie: amis=0123456789abcdef\r\n".to_owned()] {
        assert_eq!(run.ask("GET /stats.json", &headers).0, 401, "{headers}");
    }
    let (status, head, _) = run.ask("GET /?token=0123456789abcdef", "");
    assert!(status == 200 && head.contains(&format!("Set-Cookie: {name}=0123456789abcdef; HttpOnly; SameSite=Strict")), "{head}");
    assert_eq!(run.ask("GET /stats.json", &format!("Cookie: a=b; {name}=0123456789abcdef\r\n")).0, 200);
    assert_eq!(run.ask("GET /stats.json", "Authorization: Bearer 0123456789abcdef\r\n").0, 200);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(run.ask("GET /healthz", "").0, 200);
}

#[test]
fn events_tell_results_and_statistics() {
    let run = Running::start(None, &[]);
    let lines = BufReader::new(run.send("GET /events", "")).lines().map(|line| line.unwrap());
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    let mut name = String::new();
    for line in lines.take(200) {
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let _: Value = serde_json::from_str(data).unwrap();
            *seen.entry(name.clone()).or_default() += 1;
        }
    }
    assert!(seen["result"] > 10 && seen["stats"] >= 1, "{seen:?}");
}

/// A camera that sees noise: its pictures are some 250 KB each, so that the buffers of a viewer who does not read are soon full.
struct Noise(u64);

impl Source for Noise {
    fn next(&mut self, frame: &mut Frame) -> Result<Next> {
        thread::sleep(Duration::from_millis(50));
        (frame.width_px, frame.height_px) = (640, 480);
        frame.rgb.resize(640 * 480 * 3, 0);
        let mut state = self.0 as u32;
        frame.rgb.iter_mut().for_each(|byte| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        });
        (frame.index, frame.captured) = (self.0, Instant::now());
        self.0 += 1;
        Ok(Next::Frame)
    }

    fn realtime(&self) -> bool {
        true
    }
}

#[test]
fn a_slow_viewer_slows_nobody_and_does_not_hold_the_end() {
    let run = Running::on(Box::new(Noise(0)), None, &[]);
    let stuck: Vec<TcpStream> = (0..9).map(|_| run.send("GET /stream.mjpg", "")).collect();
    let mut quick = BufReader::with_capacity(1 << 20, run.send("GET /stream.mjpg", ""));
    let start = Instant::now();
    let (mut pictures, mut line) = (0, Vec::new());
    while start.elapsed() < Duration::from_secs(4) {
        line.clear();
        quick.read_until(b'\n', &mut line).unwrap();
        pictures += u32::from(line.starts_with(b"Content-Type: image/jpeg"));
    }
    // Twenty a second come from the source; the machine may have other work. The buffers of the nine are full long before.
    assert!(pictures >= 20, "{pictures} pictures in four seconds");
    let end = Instant::now();
    let summary = run.stop();
    assert!(end.elapsed() < Duration::from_secs(1), "{:?}", end.elapsed());
    // The median: other work of the machine may hold single frames up, a viewer that is waited for would hold all.
    assert!(summary.stages["sink"].p50_ms < 50.0, "{summary:?}");
    drop(stuck);
}

#[test]
fn lines_of_results_come_through_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.sock");
    // Left behind by a run that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let run = Running::start(None, &[format!("lines:{}?region=1000", path.display())]);
    let lines = BufReader::new(UnixStream::connect(&path).unwrap()).lines().take(5);
    let frames: Vec<u64> = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["frame"].as_u64().unwrap()).collect();
    assert!(frames.len() == 5 && frames.is_sorted_by(|a, b| a < b), "{frames:?}");
    run.stop();
    assert!(!Path::new(&path).exists());
}
