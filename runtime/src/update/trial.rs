//! How well and how fast a release does on this machine, before it serves.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use amis_artifacts::bundle::{BundleManifest, GraphEntry, SelfTest};
use amis_artifacts::files;
use amis_tensorrt::{BuildOptions, Flavor, Gpu, Library, Progress, Version};
use serde::{Deserialize, Serialize};

use super::{Error, Result};
use crate::engine::{self, Request};
use crate::model::Model;
use crate::source::Frame;

/// File in a release that says how it runs here.
pub const CHOICE_FILE: &str = "choice.json";
/// Inferences that are measured, after as many frames as the self-test has.
const MEASURED: usize = 20;
/// Longest time of one candidate, loading included.
const PATIENCE: Duration = Duration::from_secs(300);
/// Largest picture of a self-test, in bytes.
const MAX_PICTURE_BYTES: u64 = 16 << 20;
/// Exit code of a trial that met a machine on which something is missing, as of all our programs.
const ENVIRONMENT: i32 = 4;
/// What a child may say.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

/// How a release runs on this machine: the fastest of the candidates that agree with the reference.
///
/// Which graphs are candidates is `Runner`'s matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Precision of the graph.
    pub precision: String,
    /// File in the release with the engine that was built from it; none on the CPU.
    pub engine: Option<String>,
    /// What was measured of every candidate.
    pub candidates: Vec<Candidate>,
}

/// A candidate and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Precision of the graph.
    pub precision: String,
    /// File in the release with the engine that was built from it; none on the CPU.
    pub engine: Option<String>,
    /// What was measured; none if it does not run.
    pub measured: Option<Measured>,
    /// Why it cannot be taken; none if it can.
    pub refused: Option<String>,
}

/// How a graph does on the frames of its bundle's self-test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Share of the pixels that get the class of the reference, 0 to 1.
    pub agreement: f64,
    /// Median time of the network, in milliseconds.
    pub infer_p50_ms: f64,
    /// Of 20 inferences one took longer.
    pub infer_p95_ms: f64,
}

impl Choice {
    /// The engine in a release's folder.
    pub fn engine(&self, release: &Path) -> Option<PathBuf> {
        self.engine.as_ref().map(|file| release.join(file))
    }

    /// The choice in a release's folder; none in a bundle that was not installed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(release: &Path) -> amis_artifacts::Result<Option<Self>> {
        let path = release.join(CHOICE_FILE);
        if path.exists() { files::read_json(&path, "choice of a release").map(Some) } else { Ok(None) }
    }
}

/// Runs one graph of an unpacked bundle on the frames of its self-test.
///
/// # Errors
/// It has no self-test, or does not run.
pub fn measure(release: &Path, precision: &str, engine: Option<&Path>) -> crate::Result<Measured> {
    let mut model = Model::open(release, precision, 0, engine)?;
    let malformed = |reason: &str| amis_artifacts::Error::Malformed { what: "bundle", path: release.to_owned(), reason: reason.to_owned() };
    let test = model.manifest().self_test.clone().ok_or_else(|| malformed("it has no self-test"))?;
    let frames = test.frames.iter().map(|frame| Ok((picture(&release.join(&frame.image.file))?, map(&release.join(&frame.map.file))?)));
    let frames = frames.collect::<crate::Result<Vec<_>>>()?;
    let (mut same, mut all, mut found) = (0usize, 0usize, vec![]);
    for (frame, expected) in &frames {
        model.predict(0, frame, &mut found)?;
        if found.len() != expected.len() {
            return Err(malformed("a frame of its self-test and its map differ in size").into());
        }
        same += found.iter().zip(expected).filter(|(a, b)| a == b).count();
        all += expected.len();
    }
    if all == 0 {
        return Err(malformed("its self-test has no frames").into());
    }
    let mut times = Vec::with_capacity(MEASURED);
    for (frame, _) in frames.iter().cycle().take(MEASURED) {
        times.push(model.predict(0, frame, &mut found)?.timing.infer.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(Measured { agreement: same as f64 / all as f64, infer_p50_ms: times[MEASURED / 2], infer_p95_ms: times[MEASURED - 2] })
}

/// What runs graphs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// ONNX Runtime.
    Cpu,
    /// TensorRT on the GPU, for which engines are built from the graphs of this target.
    TensorRt(&'static str),
}

impl Runner {
    /// The GPU where there is one with TensorRT.
    fn of_this_machine() -> Self {
        match (Gpu::first(), Library::find(Flavor::Enterprise)) {
            (Ok(_), Ok(library)) => Self::TensorRt(target_of(library.version())),
            _ => Self::Cpu,
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::Cpu => crate::model::CPU,
            Self::TensorRt(target) => target,
        }
    }
}

/// Target of the graphs that this machine runs: "cpu", or with a GPU and TensorRT that of its version.
pub fn target_here() -> &'static str {
    Runner::of_this_machine().target()
}

/// The target whose graphs a TensorRT takes, as in `export/targets.toml`.
fn target_of(version: Version) -> &'static str {
    match (version.major, version.minor) {
        (..=9, _) => "jetpack5",
        (10, ..=12) => "jetpack6",
        _ => "jetpack7",
    }
}

/// Measures every graph of the manifest that this machine runs, each in a process of its own that `program` starts (`try RELEASE PRECISION [ENGINE]`, and
/// `build-engine` for a GPU): whatever a bad graph does there, this process goes on. Takes the fastest that agrees with the reference and keeps the limit of time.
///
/// # Errors
/// [`Error::Unfit`] if none can be taken, with the reason of each; [`Error::Machine`] if that is not the graphs' fault.
pub(super) fn choose(release: &Path, manifest: &BundleManifest, program: &mut dyn FnMut() -> Command) -> Result<Choice> {
    let unfit = |reason: String| Error::Unfit { name: manifest.name.clone(), version: manifest.version, reason };
    let test = manifest.self_test.as_ref().ok_or_else(|| unfit("it has no self-test".into()))?;
    let runner = Runner::of_this_machine();
    let graphs: Vec<&GraphEntry> = manifest.graphs.iter().filter(|g| g.target == runner.target()).collect();
    let place = |i: usize| format!("graph {} of {}: {}", i + 1, graphs.len(), graphs[i].precision);
    let candidates = graphs.iter().enumerate().map(|(i, graph)| candidate(release, graph, &place(i), runner, test, program)).collect::<Result<Vec<_>>>()?;
    let time = |candidate: &Candidate| candidate.measured.as_ref().map_or(f64::INFINITY, |m| m.infer_p50_ms);
    let best = candidates.iter().filter(|c| c.refused.is_none()).min_by(|a, b| time(a).total_cmp(&time(b)));
    let Some(best) = best.cloned() else {
        let reasons: Vec<String> = candidates.iter().map(|c| format!("{}: {}", c.precision, c.refused.as_deref().unwrap_or_default())).collect();
        let reasons = if reasons.is_empty() { format!("it has no graph for {}", runner.target()) } else { reasons.join("; ") };
        return Err(unfit(reasons));
    };
    // Engines are large, and only one is used.
    for other in candidates.iter().filter(|c| c.engine != best.engine).filter_map(|c| c.engine.as_ref()) {
        let path = release.join(other);
        fs::remove_file(&path).map_err(|source| amis_artifacts::Error::Io { action: "remove", path, source })?;
    }
    Ok(Choice { precision: best.precision, engine: best.engine, candidates })
}

/// Tries one graph; `place` names it in the log, which `amis-export deploy` shows as a bar.
fn candidate(release: &Path, graph: &GraphEntry, place: &str, runner: Runner, test: &SelfTest, program: &mut dyn FnMut() -> Command) -> Result<Candidate> {
    let precision = graph.precision.clone();
    let refused = |engine: Option<String>, measured: Option<Measured>, reason: String| {
        Ok(Candidate { precision: precision.clone(), engine, measured, refused: Some(reason) })
    };
    let engine = match runner {
        Runner::Cpu => None,
        Runner::TensorRt(_) => {
            let file = format!("{precision}.engine");
            let (onnx, out) = (release.join(&graph.entry.file), release.join(&file));
            let request = Request { onnx: &onnx, flavor: Flavor::Enterprise, options: BuildOptions::default(), timing_cache: None, out: &out };
            let mut told = None;
            let mut tell = |progress: Progress| {
                let percent = 10 * (10 * progress.step / progress.steps.max(1));
                if progress.parent.is_none() && told.replace(percent) != Some(percent) {
                    tracing::info!("{place}, engine {percent} %");
                }
            };
            match engine::build(program().arg("build-engine"), &request, &mut tell) {
                Ok(_) => Some(file),
                Err(error) => return refused(None, None, format!("no engine was built: {error}")),
            }
        }
    };
    tracing::info!("{place}, self-test");
    let mut command = program();
    command.arg("try").arg(release).arg(&precision).args(engine.iter().map(|file| release.join(file)));
    let m = match ask(&mut command) {
        Ok(measured) => measured,
        Err(Failure::Graph(reason)) => return refused(engine, None, reason),
        Err(Failure::Machine(reason)) => return Err(Error::Machine { reason }),
    };
    if m.agreement < test.min_agreement {
        let reason = format!("{:.2} % of the pixels agree with the reference, expected at least {:.2} %", m.agreement * 100.0, test.min_agreement * 100.0);
        return refused(engine, Some(m), reason);
    }
    if let Some(limit) = test.max_latency_ms.filter(|limit| m.infer_p50_ms > *limit) {
        let reason = format!("an inference takes {:.1} ms here, allowed are {limit:.1} ms", m.infer_p50_ms);
        return refused(engine, Some(m), reason);
    }
    Ok(Candidate { precision, engine, measured: Some(m), refused: None })
}

/// Why a trial has no result.
enum Failure {
    /// The graph does not run.
    Graph(String),
    /// No graph would.
    Machine(String),
}

/// Starts a child and waits for its JSON, with patience that ends.
fn ask(command: &mut Command) -> std::result::Result<Measured, Failure> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| Failure::Machine(format!("the trial does not start: {e}")))?;
    let (out, err) = (reading(child.stdout.take()), reading(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::Graph(format!("it did not come to an end within {} s", PATIENCE.as_secs())));
            }
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.code() == Some(ENVIRONMENT) {
        return Err(Failure::Machine(err));
    }
    if !status.success() {
        return Err(Failure::Graph(format!("its trial ended with {status}: {}", err.lines().next_back().unwrap_or("without a word"))));
    }
    serde_json::from_str(&out).map_err(|e| Failure::Graph(format!("its trial said {out:?}: {e}")))
}

fn reading(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(MAX_OUTPUT_BYTES).read_to_end(&mut text);
            // The child must not wait for a reader.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    })
}

fn picture(path: &Path) -> crate::Result<Frame> {
    let image = decode(path)?.into_rgb8();
    let (width_px, height_px) = image.dimensions();
    Ok(Frame { rgb: image.into_raw(), width_px, height_px, ..Frame::default() })
}

fn map(path: &Path) -> crate::Result<Vec<u8>> {
    Ok(decode(path)?.into_luma8().into_raw())
}

fn decode(path: &Path) -> crate::Result<image::DynamicImage> {
    let bytes = files::read_limited(path, "picture of a self-test", MAX_PICTURE_BYTES)?;
    let malformed = |reason: String| amis_artifacts::Error::Malformed { what: "picture of a self-test", path: path.to_owned(), reason };
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes));
    reader.set_format(image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(4096), Some(4096));
    reader.limits(limits);
    reader.decode().map_err(|e| malformed(e.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensorrt_takes_the_graphs_of_its_jetpack() {
        let of = |major, minor| target_of(Version { flavor: Flavor::Enterprise, major, minor, patch: 0 });
        assert_eq!([of(8, 5), of(8, 6), of(10, 3), of(10, 13), of(11, 4)], ["jetpack5", "jetpack5", "jetpack6", "jetpack7", "jetpack7"]);
    }
}
