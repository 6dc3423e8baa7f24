//! The field update: a device runs the model of one step while that of the next is published, and takes it over.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use amis_artifacts::files;
use amis_artifacts::live::{LiveFrame, LiveRun};
use serde_json::Value;

use crate::programs::{Programs, Started};
use crate::{Error, Result};

/// The camera: as slow as a small board, and longer than the update takes on a busy machine.
const CAMERA: &str = "synthetic:?realtime=1&width=640&height=480&fps=10&seed=7";
/// Frames that are drawn before and after the change.
const AROUND: usize = 60;
/// Longest time for each part of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Publishes bundle `old`, lets a device in `out/device` install and run it, publishes `new`, which the device takes over, and leaves `out/live.json`.
///
/// # Errors
/// A program that fails, or a change that does not come.
pub(crate) fn update(programs: &mut Programs, out: &Path, old: u64, new: u64) -> Result<LiveRun> {
    let at = |name: String| out.join(name).to_string_lossy().into_owned();
    let (site, keys, device) = (at("site".into()), at("keys".into()), at("device".into()));
    let publish = |programs: &mut Programs, version: u64| {
        let bundle = at(format!("demo-{version}.amis"));
        // A few epochs on a small scene forget more than a person would let pass.
        programs.run("publish", "amis-export", &["repo", "add", &site, &bundle, "--channel", "stable", "--max-old-drop", "50"])?;
        programs.run("publish", "amis-export", &["repo", "publish", &site, "--keys", &keys])
    };
    programs.run("publish", "amis-export", &["repo", "init", &site, "--keys", &keys])?;
    publish(programs, old)?;
    let config = format!("repository = {:?}\nprobation_minutes = 0.05\n", std::path::absolute(&site).unwrap_or_else(|_| site.clone().into()));
    files::write_atomic(&out.join("device/update.toml"), config.as_bytes())?;
    programs.run("update", "amis-run", &["update", "--root", &device, "--trust", &at("site/metadata/1.root.json".into())])?;

    // Paths of sockets are short.
    let socket = tempfile::tempdir().map_err(|source| amis_artifacts::Error::Io { action: "create", path: std::env::temp_dir(), source })?;
    let lines = socket.path().join("lines");
    let sink = format!("lines:{}", lines.display());
    let run = programs.start("amis-run", &["run", "--root", &device, "--source", CAMERA, "--sink", &sink])?;
    let seen = Frames::read(&lines);
    seen.until(AROUND, &run)?;
    // Its trial has to be over: nothing newer is taken before.
    let start = Instant::now();
    while programs.run("update", "amis-run", &["status", "--root", &device])?["phase"] != "idle" && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(500));
    }
    publish(programs, new)?;
    programs.run("update", "amis-run", &["update", "--root", &device])?;
    seen.until(seen.count() + AROUND, &run)?;
    let status = programs.run("update", "amis-run", &["status", "--root", &device])?;
    drop(run);
    let live = LiveRun {
        frames: seen.take(),
        dropped: status["run"]["statistics"]["dropped"].as_u64().unwrap_or_default(),
        versions: [old, new].map(|version| format!("demo v{version}")).to_vec(),
    };
    files::write_json(&out.join("live.json"), &live)?;
    Ok(live)
}

/// The frames that a run tells on its socket, read while it goes on.
#[derive(Clone, Default)]
struct Frames(Arc<Mutex<Vec<LiveFrame>>>);

impl Frames {
    fn read(socket: &Path) -> Self {
        let (frames, socket) = (Self::default(), socket.to_owned());
        let seen = frames.clone();
        thread::spawn(move || {
            let start = Instant::now();
            // The run opens its sinks when its model is there.
            while start.elapsed() < PATIENCE {
                match UnixStream::connect(&socket) {
                    Ok(stream) => return seen.follow(stream),
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        frames
    }

    fn follow(&self, stream: UnixStream) {
        let mut first = None;
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let now = Instant::now();
            let Ok(frame) = serde_json::from_str::<Value>(&line) else { continue };
            let at_ms = now.duration_since(*first.get_or_insert(now)).as_secs_f64() * 1e3;
            let (age_ms, classes) = (frame["age_ms"].as_f64().unwrap_or_default(), frame["classes"].as_array().map_or(0, Vec::len));
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(LiveFrame { at_ms, age_ms, classes });
        }
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Vec<LiveFrame> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for so many frames.
    fn until(&self, count: usize, run: &Started) -> Result<()> {
        let start = Instant::now();
        while self.count() < count {
            if start.elapsed() > PATIENCE {
                let reason = format!("{} of {count} frames came within {} s", self.count(), PATIENCE.as_secs());
                return Err(Error::Result { command: run.command.clone(), reason });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
