//! Releases on a device: installed, taken over by a live run, and left again when they are bad; power cut anywhere, killed anywhere.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use amis_artifacts::bundle;
use amis_runtime::update::{Choice, Device, Event, MAX_STARTS, Phase};
use common::disk::{Disk, Loss, failing, strace_present, traced};
use common::onnxruntime_present;
use common::release::{Network, release_bundle};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_amis-run");
/// A camera that never ends.
const CAMERA: &str = "synthetic:?realtime=1&fps=30&width=96&height=64";

/// A device with version 3 installed and through its probation, and bundles beside it.
struct Bench {
    dir: tempfile::TempDir,
    run: Option<Child>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap(), run: None };
        bench.bundle(3, Network::Colors);
        bench.configure(0.02);
        bench
    }

    fn installed() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.json(&["install", "3.amis"])["result"], "installed");
        bench.start();
        bench.until(|s| s["phase"] == "idle");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundle(&self, version: u64, network: Network) {
        release_bundle(&self.path(&format!("{version}.amis")), version, network);
    }

    /// `update.toml`: no test looks for updates here, and probations are short.
    fn configure(&self, probation_minutes: f64) {
        fs::create_dir_all(self.path("device")).unwrap();
        fs::write(self.path("device/update.toml"), format!("repository = \"/nowhere\"\nprobation_minutes = {probation_minutes}\n")).unwrap();
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM).current_dir(self.dir.path()).args(arguments).args(["--root", "device", "--json"]).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).replace('\n', " ")
    }

    fn start(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.dir.path()).args(["run", "--root", "device", "--source", CAMERA, "--sink", "null:", "--threads", "1"]);
        self.run = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        self.until(|s| s["run"]["statistics"]["frames"].as_u64() > Some(2));
    }

    fn stop(&mut self) -> Value {
        let last = self.json(&["status"]);
        if let Some(mut run) = self.run.take() {
            let _ = Command::new("kill").arg(run.id().to_string()).status();
            run.wait().unwrap();
        }
        last
    }

    fn device(&self) -> Device {
        Device::open(&self.path("device")).unwrap()
    }

    /// Waits until the status is as wanted.
    fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status: Value = serde_json::from_slice(&self.ask(&["status"]).stdout).unwrap_or_default();
            if wanted(&status) {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{status:#}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is bad of a version.
    fn reason(status: &Value, version: u64) -> String {
        let bad = status["bad"].as_array().unwrap().iter().find(|b| b["version"] == version).unwrap_or_else(|| panic!("{status:#}"));
        bad["reason"].as_str().unwrap().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(run) = &mut self.run {
            let _ = run.kill();
            let _ = run.wait();
        }
    }
}

#[test]
fn a_live_run_takes_over_a_release_with_one_class_more_and_back() {
    if !onnxruntime_present("a_live_run_takes_over_a_release_with_one_class_more_and_back") {
        return;
    }
    let mut bench = Bench::installed();
    let before = bench.json(&["status"]);
    assert_eq!((&before["current"], &before["previous"], &before["run"]["running"]), (&3.into(), &Value::Null, &true.into()));
    bench.bundle(4, Network::OneMore);
    let report = bench.json(&["install", "4.amis"]);
    assert_eq!((&report["version"], &report["serves"]), (&4.into(), &true.into()));
    let after = bench.until(|s| s["phase"] == "idle" && s["current"] == 4);
    let statistics = &after["run"]["statistics"];
    assert_eq!(statistics["model"]["classes"].as_array().unwrap().len(), 5);
    assert_eq!((&statistics["dropped"], &after["run"]["pid"]), (&0.into(), &before["run"]["pid"]));
    // Older ones are not installed; going back is.
    assert!(bench.refused(&["install", "3.amis"]).contains("not newer than version 4"));
    assert_eq!(bench.json(&["rollback"])["serves"], true);
    let back = bench.until(|s| s["run"]["statistics"]["model"]["version"] == 3);
    assert_eq!((&back["current"], &back["phase"], &back["run"]["pid"]), (&3.into(), &"idle".into(), &before["run"]["pid"]));
    assert_eq!(Bench::reason(&back, 4), "rolled back by hand");
    assert!(bench.refused(&["install", "4.amis"]).contains("version 4 was bad"));
    assert!(bench.refused(&["rollback"]).contains("no previous release"));
    bench.stop();
}

#[test]
fn releases_that_do_not_do_here_what_they_should_are_not_installed() {
    if !onnxruntime_present("releases_that_do_not_do_here_what_they_should_are_not_installed") {
        return;
    }
    let bench = Bench::new();
    bench.json(&["install", "3.amis"]);
    let mut device = bench.device();
    device.happen(Event::Healthy).unwrap();
    for (version, network, reason) in [
        (4, Network::WrongMaps, "agree with the reference, expected at least"),
        (5, Network::Impatient, "an inference takes"),
        (6, Network::OtherClasses, "class"),
        (7, Network::Broken, "its trial ended with"),
        (8, Network::NoSelfTest, "it has no self-test"),
        (9, Network::NewerRuntime, "99.0.0"),
    ] {
        bench.bundle(version, network);
        let message = bench.refused(&["install", &format!("{version}.amis")]);
        let status = bench.json(&["status"]);
        assert!(Bench::reason(&status, version).contains(reason), "{message} {status:#}");
        assert_eq!((&status["current"], &status["phase"]), (&3.into(), &"idle".into()));
        assert!(!bench.path("device/staging").exists());
    }
    // What is missing on the machine says nothing of a version...
    bench.bundle(10, Network::OneMore);
    let mut lame = Command::new(PROGRAM);
    lame.current_dir(bench.dir.path()).args(["install", "10.amis", "--root", "device"]).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");
    let lame = lame.output().unwrap();
    assert_eq!(lame.status.code(), Some(4), "{}", String::from_utf8_lossy(&lame.stderr));
    // ...and neither does a file that is no good.
    let whole = fs::read(bench.path("10.amis")).unwrap();
    fs::write(bench.path("10.amis"), &whole[..whole.len() - 40]).unwrap();
    bench.refused(&["install", "10.amis"]);
    fs::write(bench.path("10.amis"), &whole).unwrap();
    assert_eq!(bench.json(&["install", "10.amis"])["version"], 10);
    device = bench.device();
    assert_eq!(device.state().unwrap().phase, Phase::Probation { starts: 0 });
}

#[test]
fn a_release_that_is_worse_is_left_with_its_reason_and_the_run_goes_on() {
    if !onnxruntime_present("a_release_that_is_worse_is_left_with_its_reason_and_the_run_goes_on") {
        return;
    }
    let mut bench = Bench::installed();
    bench.configure(5.0);
    let pid = bench.until(|s| s["run"]["statistics"]["frames"].as_u64() > Some(30))["run"]["pid"].clone();
    for (version, network, reason) in [(4, Network::Blank, "background and nothing else"), (5, Network::Slow, "95 % of its inferences take up to")] {
        bench.bundle(version, network);
        assert_eq!(bench.json(&["install", &format!("{version}.amis")])["serves"], true);
        let status = bench.until(|s| s["current"] == 3);
        assert!(Bench::reason(&status, version).contains(reason), "{status:#}");
        assert!(
            status["bad"][0]["log"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains(&format!("v{version}"))) || version == 5,
            "{status:#}"
        );
        let status = bench.until(|s| s["run"]["statistics"]["model"]["version"] == 3);
        assert_eq!(status["run"]["pid"], pid);
        // Its frames are a new measure for the next one.
        let frames = status["run"]["statistics"]["frames"].as_u64().unwrap();
        bench.until(|s| s["run"]["statistics"]["frames"].as_u64() > Some(frames + 30));
    }
    bench.stop();
}

#[test]
fn a_release_that_crashes_is_left_after_a_few_starts() {
    if !onnxruntime_present("a_release_that_crashes_is_left_after_a_few_starts") {
        return;
    }
    let mut bench = Bench::installed();
    bench.configure(5.0);
    bench.bundle(4, Network::Crashing);
    bench.json(&["install", "4.amis"]);
    // What a service manager does.
    let mut ends = 0;
    while bench.device().state().unwrap().current == Some(4) {
        let code = bench.run.take().unwrap().wait().unwrap();
        assert!(!code.success());
        ends += 1;
        assert!(ends <= MAX_STARTS + 1);
        let mut command = Command::new(PROGRAM);
        command.current_dir(bench.dir.path()).args(["run", "--root", "device", "--source", CAMERA, "--sink", "null:", "--threads", "1"]);
        bench.run = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        // Until it has counted its start or ended.
        thread::sleep(Duration::from_millis(300));
    }
    let status = bench.until(|s| s["run"]["statistics"]["model"]["version"] == 3);
    assert!(Bench::reason(&status, 4).contains("its run ended 3 times"), "{status:#}");
    bench.stop();
}

/// A device after a loss of power: one of these versions serves, whole, and the next update gets through.
fn is_sound(root: &Path, allowed: &[Option<u64>]) -> Option<u64> {
    let device = Device::open(root).unwrap();
    let state = device.state().unwrap();
    assert!(allowed.contains(&state.current), "{state:?}");
    if let Some(version) = state.current {
        let release = device.release(version);
        assert_eq!(bundle::verify_folder(&release).unwrap().version, version);
        assert!(Choice::read(&release).unwrap().is_some());
        assert_eq!(fs::read_link(root.join("current")).unwrap(), Path::new("releases").join(version.to_string()));
    }
    // A trial that the killed update had just begun to start holds its lock for a moment.
    let start = Instant::now();
    while let Err(error) = device.turn() {
        assert!(matches!(error, amis_runtime::update::Error::Busy { .. }) && start.elapsed() < Duration::from_secs(5), "{error}");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!root.join("staging").exists());
    state.current
}

#[test]
fn every_prefix_of_an_update_leaves_the_old_release_or_the_new_one() {
    let name = "every_prefix_of_an_update_leaves_the_old_release_or_the_new_one";
    if !onnxruntime_present(name) || !strace_present(name) {
        return;
    }
    let bench = Bench::new();
    bench.bundle(4, Network::OneMore);
    let root = bench.path("device");
    let root_name = root.to_str().unwrap().to_owned();
    let bundle = |version: u64| bench.path(&format!("{version}.amis")).to_str().unwrap().to_owned();
    let (three, four) = (bundle(3), bundle(4));
    let steps: [(&[&str], [Option<u64>; 2]); 3] =
        [(&["install", &three], [None, Some(3)]), (&["install", &four], [Some(3), Some(4)]), (&["rollback"], [Some(4), Some(3)])];
    for (arguments, allowed) in steps {
        let mut disk = Disk::of(&root);
        let (output, calls) = traced(PROGRAM, &[arguments, &["--root", &root_name]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut seen = vec![];
        let mut happened = 0;
        for at in 0..=calls.len() {
            if at > 0 {
                if !disk.happen(&calls[at - 1]) {
                    continue;
                }
                happened += 1;
            }
            for loss in [Loss::Nothing, Loss::Contents, Loss::ContentsAndNames] {
                let copy = tempfile::tempdir().unwrap();
                disk.after(loss, copy.path());
                let current = is_sound(copy.path(), &allowed);
                if seen.last() != Some(&current) {
                    seen.push(current);
                }
                // Every so often: what was interrupted can be done again.
                if happened % 16 == 5 && current == allowed[0] {
                    let again = Command::new(PROGRAM).args(arguments).arg("--root").arg(copy.path()).output().unwrap();
                    assert!(again.status.success(), "{loss:?} after {happened}: {}", String::from_utf8_lossy(&again.stderr));
                    assert_eq!(is_sound(copy.path(), &allowed), allowed[1]);
                }
            }
        }
        // The recording is the whole update, and it has a point before which nothing and after which all is changed, whatever is lost.
        assert!(happened > 3, "{happened} calls");
        assert_eq!((seen.first(), seen.last()), (Some(&allowed[0]), Some(&allowed[1])), "{arguments:?}: {seen:?}");
        let device = Device::open(&root).unwrap();
        let _ = device.happen(Event::Healthy);
    }
}

#[test]
fn a_full_or_broken_disk_at_any_call_leaves_the_old_release_or_the_new_one() {
    let name = "a_full_or_broken_disk_at_any_call_leaves_the_old_release_or_the_new_one";
    if !onnxruntime_present(name) || !strace_present(name) {
        return;
    }
    let bench = Bench::new();
    bench.json(&["install", "3.amis"]);
    bench.device().happen(Event::Healthy).unwrap();
    bench.bundle(4, Network::OneMore);
    let four = bench.path("4.amis").to_str().unwrap().to_owned();
    let copy = || {
        let copy = tempfile::tempdir().unwrap();
        Disk::of(&bench.path("device")).after(Loss::Nothing, copy.path());
        copy
    };
    let whole = copy();
    let arguments = |root: &tempfile::TempDir| ["install".to_owned(), four.clone(), "--root".to_owned(), root.path().to_str().unwrap().to_owned()];
    let (_, calls) = traced(PROGRAM, &arguments(&whole).each_ref().map(String::as_str));
    let mut survived = 0;
    for (call, error) in [("write", "ENOSPC"), ("fsync", "EIO"), ("rename", "ENOSPC"), ("mkdir", "ENOSPC")] {
        let all = calls.iter().filter(|c| c.name() == call).count();
        assert!(all > 0, "{call}");
        // A dozen of each, spread over the update.
        for number in (1..=all).step_by(all.div_ceil(12)) {
            let copy = copy();
            let output = failing(PROGRAM, &arguments(&copy).each_ref().map(String::as_str), call, error, number);
            let current = is_sound(copy.path(), &[Some(3), Some(4)]);
            assert!(output.status.success() || output.status.code().is_some_and(|code| [1, 3, 4].contains(&code)), "{call} {number}: {output:?}");
            survived += u32::from(current == Some(3));
            if current == Some(3) {
                let again = Command::new(PROGRAM).args(arguments(&copy)).output().unwrap();
                let marked_bad = String::from_utf8_lossy(&again.stderr).contains("was bad");
                assert!(again.status.success() || marked_bad, "{call} {number}: {}", String::from_utf8_lossy(&again.stderr));
            }
        }
    }
    assert!(survived > 10, "{survived} failures were met");
}

#[test]
fn an_update_killed_at_any_time_leaves_the_old_release_or_the_new_one() {
    if !onnxruntime_present("an_update_killed_at_any_time_leaves_the_old_release_or_the_new_one") {
        return;
    }
    // AMIS_KILLS=1000 is `make test-updates`.
    let kills: u32 = std::env::var("AMIS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let bench = Bench::new();
    let mut current = 3;
    bench.json(&["install", "3.amis"]);
    let _ = bench.device().happen(Event::Healthy);
    bench.bundle(4, Network::OneMore);
    let start = Instant::now();
    bench.json(&["install", "4.amis"]);
    let whole = start.elapsed();
    let _ = bench.device().happen(Event::Healthy);
    current += 1;
    let mut done = 0;
    for kill in 0..kills {
        let next = current + 1;
        bench.bundle(next, Network::OneMore);
        let mut update = Command::new(PROGRAM);
        update.current_dir(bench.dir.path()).args(["install", &format!("{next}.amis"), "--root", "device"]);
        let mut update = update.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Spread over the whole update, and a little beyond its end.
        thread::sleep(whole.mul_f64(3.0 * f64::from((kill * 7919) % 1000) / 1000.0));
        let _ = update.kill();
        update.wait().unwrap();
        match is_sound(&bench.path("device"), &[Some(current), Some(next)]) {
            Some(version) if version == next => {
                done += 1;
                let _ = bench.device().happen(Event::Healthy);
                current = next;
            }
            _ => {}
        }
        fs::remove_file(bench.path(&format!("{next}.amis"))).unwrap();
    }
    assert!(done > 0 && done < kills, "{done} of {kills} updates got through: the kills were not spread over them");
}
