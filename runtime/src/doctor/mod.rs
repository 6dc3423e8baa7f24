//! What a machine has and lacks for running bundles, read from its `/proc`, `/sys`, `/etc` and installed files, with advice.

mod board;
mod cameras;
mod gpu;
mod power;
mod software;
mod system;
mod text;
mod thermal;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use cameras::Camera;
pub use power::Power;
pub use software::{Installed, Software};
pub use system::Memory;
pub use thermal::Heat;

use crate::backend::onnxruntime::{self, Library};
use crate::update::target_here;

/// Largest file that is read: the list of installed packages has a few MiB.
const MAX_BYTES: u64 = 64 << 20;

/// What was found out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this program.
    pub version: &'static str,
    /// Name that the machine gives itself.
    pub model: Option<String>,
    /// The board, as in `boards/`; none on other machines.
    pub board: Option<String>,
    /// Whether it is a Jetson, known or not.
    pub jetson: bool,
    /// What is installed.
    pub software: Software,
    /// ONNX Runtime, the CPU backend.
    pub onnxruntime: Option<Library>,
    /// What the GPU is, or why there is none. Only engines need it.
    pub gpu: Option<String>,
    /// Versions of TensorRT that engines can run with, or why there is none.
    pub tensorrt: Vec<String>,
    /// Target of the graphs in a bundle that run here, "cpu" or "jetpack6"; none for copied files.
    pub target: Option<&'static str>,
    /// Logical processors that this process may use.
    pub processors: usize,
    /// Power mode and clock, on a Jetson.
    pub power: Option<Power>,
    /// Main memory, which a Jetson's GPU shares.
    pub memory: Option<Memory>,
    /// Free space on the disk with `/var/lib`.
    pub disk_free_bytes: Option<u64>,
    /// Cameras that the kernel knows.
    pub cameras: Vec<Camera>,
    /// The hottest sensor.
    pub hottest: Option<Heat>,
    /// All of it in words, with what to do.
    pub findings: Vec<Finding>,
}

/// One thing, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub topic: &'static str,
    /// Whether something should be done.
    pub state: State,
    /// What is there.
    pub found: String,
    /// What to do, with the command to type.
    pub advice: Option<String>,
}

/// Whether something should be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do.
    Good,
    /// It works, and would work better.
    Advice,
    /// A run needs it.
    Missing,
}

/// Examines the machine whose files lie under `root`: `/`, or a copy of what another one has. ONNX Runtime, processors, the time and free space are
/// always this machine's; the GPU and TensorRT are asked if `root` is `/`. The error is ONNX Runtime's, if it does not load.
pub fn examine(root: &Path) -> (Report, Option<crate::Error>) {
    let (onnxruntime, error) = match onnxruntime::library() {
        Ok(library) => (Some(library), None),
        Err(error) => (None, Some(error)),
    };
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        model: None,
        board: None,
        jetson: false,
        software: Software::default(),
        onnxruntime,
        gpu: None,
        tensorrt: Vec::new(),
        target: None,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        power: None,
        memory: None,
        disk_free_bytes: None,
        cameras: Vec::new(),
        hottest: None,
        findings: Vec::new(),
    };
    let files = Files(root.into());
    let board = board::examine(&files, &mut report);
    software::examine(&files, &mut report, error.as_ref());
    if root == Path::new("/") {
        gpu::examine(&mut report);
        report.target = Some(target_here());
    }
    power::examine(&files, &mut report, board.as_ref());
    system::examine(&files, &mut report);
    cameras::examine(&files, &mut report);
    thermal::examine(&files, &mut report);
    (report, error)
}

impl Report {
    fn good(&mut self, topic: &'static str, found: String) {
        self.findings.push(Finding { topic, state: State::Good, found, advice: None });
    }

    fn advise(&mut self, topic: &'static str, found: String, advice: impl Into<String>) {
        self.findings.push(Finding { topic, state: State::Advice, found, advice: Some(advice.into()) });
    }
}

/// Files under a root folder. What cannot be read is not there.
struct Files(PathBuf);

impl Files {
    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn text(&self, path: &str) -> Option<String> {
        let bytes = amis_artifacts::files::read_limited(&self.path(path), "a file of the system", MAX_BYTES).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_matches(['\0', '\n', ' ']).to_owned())
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// Names in a folder, sorted: with numbers in the order of the numbers.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = entries.collect();
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        names
    }
}
