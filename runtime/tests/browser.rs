//! The page of the web sink in a real Chromium, spoken to over its debugging pipe.
//!
//! With `AMIS_SCREENSHOTS=FOLDER` the screenshots stay there, to be looked at.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use amis_runtime::pipeline::{self, Parts};
use amis_runtime::source;
use base64::Engine;
use common::{Alone, Halves, color_bundle, halves_model, onnxruntime_present, options};
use serde_json::{Value, json};

const FLAGS: &str =
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    asked: u64,
    _dir: tempfile::TempDir,
}

impl Browser {
    /// Opens a page; none if there is no Chromium.
    fn open(address: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        let pipes = ["to", "from"].map(|name| dir.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // File descriptors 3 and 4 are those that the browser listens to and speaks through.
        let script = format!("exec chromium {FLAGS} --remote-debugging-pipe --user-data-dir=\"$0\" about:blank 3<\"$1\" 4>\"$2\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(dir.path().join("profile")).args(&pipes).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let to = OpenOptions::new().write(true).open(&pipes[0]).unwrap();
        let from = BufReader::new(File::open(&pipes[1]).unwrap());
        let mut browser = Self { child, to, from, session: None, asked: 0, _dir: dir };
        let target = browser.ask("Target.createTarget", json!({ "url": address }))["targetId"].clone();
        let session = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }))["sessionId"].clone();
        browser.session = Some(session.as_str().unwrap().to_owned());
        Some(browser)
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(&[message.to_string().as_bytes(), b"\0"].concat()).unwrap();
        loop {
            let mut bytes = Vec::new();
            assert!(self.from.read_until(0, &mut bytes).unwrap() > 0, "the browser has gone");
            bytes.pop();
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let result = self.ask("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result:#}");
        result["result"]["value"].clone()
    }

    fn until(&mut self, expression: &str, wanted: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            let value = self.value(expression);
            if wanted(&value) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{expression} is still {value}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn resize(&mut self, width: u32, height: u32) {
        self.ask("Emulation.setDeviceMetricsOverride", json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }));
    }

    fn screenshot(&mut self, name: &str) {
        let data = self.ask("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))["data"].as_str().unwrap().to_owned();
        if let Some(folder) = std::env::var_os("AMIS_SCREENSHOTS") {
            std::fs::write(PathBuf::from(folder).join(name), base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Colour of the live picture at a place, as the browser shows it.
fn pixel(x: u32, y: u32) -> String {
    format!(
        "(() => {{ const i = document.getElementById('picture'), c = document.createElement('canvas'); \
         if (!i.naturalWidth) return null; c.width = i.naturalWidth; c.height = i.naturalHeight; \
         const x = c.getContext('2d'); x.drawImage(i, 0, 0); return [...x.getImageData({x}, {y}, 1, 1).data]; }})()"
    )
}

fn is(color: [i64; 3]) -> impl Fn(&Value) -> bool {
    move |value| (0..3).all(|c| value[c].as_i64().is_some_and(|v| (v - color[c]).abs() < 24))
}

#[test]
fn the_page_shows_the_picture_and_its_switches_work() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let source = source::open("synthetic:?width=640&height=360&fps=10&realtime=1").unwrap();
    let model = halves_model(Halves::default());
    let token = "0123456789abcdef";
    let alone = Alone::new(source, model);
    let (journal, sink) = (Arc::clone(&alone.journal), alone.sink(&format!("web:127.0.0.1:{port}"), Some(token)));
    let parts = alone.parts(vec![sink]);
    let options = options(Path::new("halves.amis"));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| pipeline::run_parts(parts, &options, &stop, |_| {}));
        // The run ends also when an assertion fails.
        let _end = End(&stop);
        journal.event("a first event");
        journal.warning("the model was not changed: missing.amis cannot be read");
        let Some(mut browser) = Browser::open(&format!("http://127.0.0.1:{port}/?token={token}")) else {
            let _ = writeln!(std::io::stderr(), "SKIPPED the_page_shows_the_picture_and_its_switches_work: no chromium");
            return;
        };
        browser.resize(1280, 800);
        browser.until("document.querySelectorAll('#classes li').length", |n| n == 4);
        assert_eq!(browser.value("location.search"), "", "the token is not left in the address");
        browser.value("document.querySelector('[data-mode=mask]').click()");
        browser.until(&pixel(100, 180), is([128, 0, 0]));
        browser.until(&pixel(540, 180), is([0, 128, 0]));
        browser.value("document.querySelectorAll('#classes input')[1].click()");
        browser.until(&pixel(100, 180), is([0, 0, 0]));
        browser.until(&pixel(540, 180), is([0, 128, 0]));
        browser.value("document.querySelectorAll('#classes input')[1].click()");
        browser.value("document.querySelector('[data-mode=side]').click()");
        browser.until("document.getElementById('picture').naturalWidth", |n| n == 1280);
        browser.screenshot("side.png");
        browser.value("document.querySelector('[data-mode=overlay]').click()");
        browser.until("document.getElementById('picture').naturalWidth", |n| n == 640);
        browser.until("document.querySelectorAll('#stages tr').length", |n| n == 8);
        browser.until("document.querySelectorAll('#notes li').length", |n| n == 2);
        browser.until("document.getElementById('dot').className", |n| n == "live");
        let share = browser.value("document.querySelectorAll('#classes .number')[1].textContent");
        assert!(share.as_str().unwrap().ends_with(" %") && share != "0.0 %", "{share}");
        // A few points for the charts.
        browser.until("document.querySelector('polyline').getAttribute('points').split(' ').length", |n| n.as_u64() >= Some(4));
        browser.screenshot("wide.png");
        browser.resize(390, 844);
        browser.until("document.documentElement.scrollWidth", |n| n.as_u64() <= Some(390));
        browser.screenshot("phone.png");
    });
}

#[test]
fn cameras_are_chosen_on_the_page() {
    if !onnxruntime_present("cameras_are_chosen_on_the_page") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("colors.amis");
    color_bundle(&bundle);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sources = [(640, 360), (320, 240)].map(|(width, height)| format!("synthetic:?width={width}&height={height}&fps=10&realtime=1&seed={width}"));
    let options = pipeline::RunOptions { sources: sources.to_vec(), sinks: vec![format!("web:127.0.0.1:{port}")], ..options(&bundle) };
    let (parts, stop) = (Parts::open(&options).unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| pipeline::run_parts(parts, &options, &stop, |_| {}));
        let _end = End(&stop);
        let Some(mut browser) = Browser::open(&format!("http://127.0.0.1:{port}/")) else {
            let _ = writeln!(std::io::stderr(), "SKIPPED cameras_are_chosen_on_the_page: no chromium");
            return;
        };
        let widths = "[...document.querySelectorAll('#pictures img')].map((i) => i.naturalWidth)";
        browser.resize(1280, 800);
        browser.until("[...document.querySelectorAll('[data-camera]')].map((b) => b.textContent)", |n| *n == json!(["All", "Camera 1", "Camera 2"]));
        browser.until(widths, |n| *n == json!([640]));
        browser.value("document.querySelector('[data-camera=\"2\"]').click()");
        browser.until(widths, |n| *n == json!([320]));
        browser.until("document.getElementById('of').textContent", |n| n == " of camera 2");
        browser.value("document.querySelector('[data-camera=\"0\"]').click()");
        browser.until(widths, |n| *n == json!([640, 320]));
        browser.until("document.querySelectorAll('#stages tr').length", |n| n == 8);
        browser.screenshot("cameras.png");
        browser.resize(390, 844);
        browser.until("document.documentElement.scrollWidth", |n| n.as_u64() <= Some(390));
        browser.screenshot("cameras-phone.png");
        browser.value("document.querySelectorAll('#pictures img')[1].click()");
        browser.until(widths, |n| *n == json!([320]));
    });
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
