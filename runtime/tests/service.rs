//! The program as a service: signals, the service manager, questions, and what is left behind when it hangs.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{color_bundle, colors_and_one, onnxruntime_present};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_amis-run");

/// A run with a folder of its own, killed at the end if it still runs.
struct Service {
    dir: tempfile::TempDir,
    child: Child,
}

impl Service {
    fn start(source: &str, arguments: &[&str], change: impl FnOnce(&mut Command, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        color_bundle(&dir.path().join("colors.amis"));
        let mut command = Command::new(PROGRAM);
        command.current_dir(dir.path()).args(["run", "--bundle", "colors.amis", "--state", "state", "--source", source]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        change(&mut command, dir.path());
        let child = command.spawn().unwrap();
        Self { dir, child }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM).current_dir(self.dir.path()).args(arguments).args(["--state", "state", "--json"]).output().unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.ask(&["status"]).stdout).unwrap_or_default()
    }

    /// Waits until the status is as wanted.
    fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{status:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_frames(&self) -> Value {
        self.until(|s| s["statistics"]["frames"].as_u64() > Some(2))
    }

    /// Exit code, and how long it took.
    fn wait(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        (self.child.wait().unwrap().code(), start.elapsed())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CAMERA: &str = "synthetic:?width=160&height=120&fps=30&realtime=1";

#[test]
fn sigterm_ends_the_run_in_order_within_a_second() {
    if !onnxruntime_present("sigterm_ends_the_run_in_order_within_a_second") {
        return;
    }
    let mut service = Service::start(CAMERA, &["--sink", "video:run.avi"], |_, _| {});
    let status = service.until_frames();
    assert!(status["running"] == true && status["end"].is_null() && status["previous_end"].is_null(), "{status:#}");
    service.signal("-TERM");
    let (code, time) = service.wait();
    assert!(code == Some(0) && time < Duration::from_secs(1), "{code:?} after {time:?}");
    let avi = fs::read(service.path("run.avi")).unwrap();
    assert!(avi.windows(4).any(|w| w == b"idx1"), "the video has its index");
    let status = service.status();
    assert!(status["running"] == false && status["end"]["reason"] == "it was asked to stop", "{status:#}");
}

#[test]
fn models_change_by_signal_and_by_question() {
    if !onnxruntime_present("models_change_by_signal_and_by_question") {
        return;
    }
    // Its log goes into a file that it takes for the journal's stream.
    let mut service = Service::start(CAMERA, &["--sink", "null:"], |command, dir| {
        let log = fs::File::create(dir.join("journal")).unwrap();
        let about = log.metadata().unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino())).stderr(log);
    });
    service.until_frames();
    colors_and_one(&service.path("new.amis"));
    fs::copy(service.path("colors.amis"), service.path("old.amis")).unwrap();
    fs::copy(service.path("new.amis"), service.path("colors.amis")).unwrap();
    service.signal("-HUP");
    service.until(|s| s["statistics"]["model"]["version"] == 4);
    let swapped: Value = serde_json::from_slice(&service.ask(&["swap", "old.amis"]).stdout).unwrap();
    assert_eq!(swapped["version"], 3);
    let refused = service.ask(&["swap", "missing.amis"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("missing.amis"));
    let status = service.status();
    assert!(status["statistics"]["model"]["version"] == 3, "{status:#}");
    let arguments = ["run", "--bundle", "old.amis", "--source", CAMERA, "--sink", "null:", "--state", "state"];
    let second = Command::new(PROGRAM).current_dir(service.dir.path()).args(arguments).output().unwrap();
    assert!(second.status.code() == Some(4) && String::from_utf8_lossy(&second.stderr).contains("another run answers there"));
    assert!(service.status()["end"].is_null());
    let journal = fs::read_to_string(service.path("journal")).unwrap();
    for begin in ["<6>colors v4 (fp32) serves; made ready in ", "<6>colors v3 (fp32) serves", "<4>the model was not changed: "] {
        assert!(journal.lines().any(|line| line.starts_with(begin)), "{journal}");
    }
    // Killed, it cannot say why, and the next run knows.
    service.signal("-KILL");
    service.wait();
    let status = service.status();
    assert!(status["running"] == false && status["end"].is_null(), "{status:#}");
}

#[test]
fn the_service_manager_hears_from_the_pipeline() {
    if !onnxruntime_present("the_service_manager_hears_from_the_pipeline") {
        return;
    }
    let mut manager = None;
    let mut service = Service::start(CAMERA, &["--sink", "null:"], |command, dir| {
        let path = dir.join("notify");
        manager = Some(UnixDatagram::bind(&path).unwrap());
        command.env("NOTIFY_SOCKET", path);
    });
    let manager = manager.unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = |word: &str| {
        let mut bytes = [0; 1024];
        while !String::from_utf8_lossy(&bytes).lines().any(|line| line.trim_end_matches('\0') == word) {
            bytes = [0; 1024];
            manager.recv(&mut bytes).unwrap_or_else(|e| panic!("{word}: {e}"));
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    service.signal("-TERM");
    assert_eq!(service.wait().0, Some(0));
}

#[test]
fn a_source_that_never_comes_back_ends_the_process_with_the_reason() {
    if !onnxruntime_present("a_source_that_never_comes_back_ends_the_process_with_the_reason") {
        return;
    }
    // Nobody writes into the pipe, so that opening it never returns: as with a driver that hangs.
    let hang = |command: &mut Command, dir: &Path| {
        fs::create_dir(dir.join("in")).unwrap();
        assert!(Command::new("mkfifo").arg(dir.join("in/a.jpg")).status().unwrap().success());
        command.args(["--hang-after", "1"]);
    };
    let mut service = Service::start("image:in/a.jpg", &["--sink", "null:"], hang);
    assert_eq!(service.wait().0, Some(1));
    let reason = service.status()["end"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("the source did not come back for "), "{reason}");
}

#[test]
fn asking_where_nothing_runs_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    for arguments in [&["status", "--state", state][..], &["swap", "a.amis", "--state", state]] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(4) && text.contains(state) && text.contains("--state"), "{text}");
    }
}
