//! The road in order.

use std::fs;
use std::path::Path;

use amis_artifacts::files;

pub use crate::summary::{RunFigures, StepSummary, Summary, UpdateFigures, Verification};

use crate::field;
use crate::programs::Programs;
use crate::summary::{part, steps};
use crate::{Error, Result};

/// Configuration of the demo's training.
const CONFIG: &str = include_str!("../../configs/demo.toml");
/// Frames of the run: six seconds of video.
const SOURCE: &str = "synthetic:?width=640&height=480&fps=25&frames=150&seed=7";
/// Images on which each step's graph is measured.
const VERIFIED: &str = "20";
/// GPU that an engine is built for ahead of time, where TensorRT-RTX is at hand.
const COMPUTE_CAPABILITY: &str = "8.6";

/// Data set, training with `amis` and with `finetune`, export of every step, run of the last one, a field update during a live run, report, figures: all into
/// `out`.
///
/// # Errors
/// A program that is missing or fails, or a folder that holds something else.
pub fn run(out: &Path) -> Result<Summary> {
    let mut programs = Programs::beside_this()?;
    claim(out)?;
    let at = |name: &str| out.join(name).to_string_lossy().into_owned();
    let (data, config, amis, finetune) = (at("data"), at("demo.toml"), at("amis"), at("finetune"));
    let root = format!("data.root={data}");

    programs.run("synth", "amis-train", &["synth", &data, "--images", "240,120,120"])?;
    programs.run("doctor", "amis-train", &["doctor", &config, "--set", &root])?;
    let trained = steps(&programs.run("train", "amis-train", &["run", &config, "--set", &root, "--out", &amis])?)?;
    let base = format!("train.base_checkpoint={amis}/step-0");
    let forgetful = ["run", &config, "--set", &root, "--set", "train.preset=finetune", "--set", "model.gab=true", "--set", &base, "--out", &finetune];
    let finetuned = steps(&programs.run("train_finetune", "amis-train", &forgetful)?)?;

    let mut verification = Verification { max_abs_diff: 0.0, argmax_agreement: 1.0 };
    for step in 0..trained.len() {
        let found = export(&mut programs, out, step)?;
        verification.max_abs_diff = verification.max_abs_diff.max(found.max_abs_diff);
        verification.argmax_agreement = verification.argmax_agreement.min(found.argmax_agreement);
    }
    let bundle = at(&format!("demo-{}.amis", trained.len()));
    let (pictures, video) = (format!("dir:{}", at("overlays")), format!("video:{}", at("run.avi")));
    let ran = programs.run("run", "amis-run", &["run", "--bundle", &bundle, "--source", SOURCE, "--sink", &pictures, "--sink", &video])?;
    let last = trained.len() as u64;
    let live = field::update(&mut programs, out, last - 1, last)?;
    let report = at("report.html");
    programs.run("report", "amis-train", &["report", &amis, "--live", &at("live.json"), "--out", &report, "--compare", &finetune])?;

    let seconds = programs.seconds.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
    let summary = Summary { steps: trained, finetune: finetuned, verification, run: part("amis-run run", &ran)?, update: UpdateFigures::of(&live), seconds };
    files::write_json(&out.join("summary.json"), &summary)?;
    eprintln!("\nLook at {report}, {} and {}", at("overlays"), at("run.avi"));
    Ok(summary)
}

/// Graph, check against the trained network, engine where TensorRT-RTX is at hand, bundle.
fn export(programs: &mut Programs, out: &Path, step: usize) -> Result<Verification> {
    let at = |name: String| out.join(name).to_string_lossy().into_owned();
    let checkpoint = at(format!("amis/step-{step}"));
    let graph = at(format!("step-{step}/model.cpu-fp32.onnx"));
    programs.run("export", "amis-export", &["onnx", "--checkpoint", &checkpoint, "--out", &graph])?;
    let measured = at(format!("step-{step}/verification.json"));
    let verify = ["verify", "--checkpoint", &checkpoint, "--onnx", &graph, "--graph", &graph, "--limit", VERIFIED, "--out", &measured];
    let found = programs.run("verify", "amis-export", &verify)?;
    if std::env::var_os("AMIS_TENSORRT_RTX_LIB").is_some() {
        let engine = at(format!("step-{step}/model.rtx-fp32.engine"));
        programs.run("engine", "amis-export", &["engine", "--onnx", &graph, "--compute-capability", COMPUTE_CAPABILITY, "--out", &engine])?;
    } else {
        eprintln!("no engine is built: AMIS_TENSORRT_RTX_LIB is not set (make demo sets it)");
    }
    let (graph, version, out) = (format!("cpu:fp32:{graph}"), (step + 1).to_string(), out.to_string_lossy().into_owned());
    let parent = at_parent(&out, step);
    let mut bundle = vec!["bundle", "--checkpoint", &checkpoint, "--graph", &graph, "--name", "demo", "--version", &version, "--verification", &measured];
    bundle.extend(["--out", &out]);
    bundle.extend(parent.iter().flat_map(|parent| ["--parent", parent]));
    programs.run("bundle", "amis-export", &bundle)?;
    part("amis-export verify", &found)
}

/// The bundle of the step before, whose number is one less than its version.
fn at_parent(out: &str, step: usize) -> Option<String> {
    (step > 0).then(|| format!("{out}/demo-{step}.amis"))
}

/// Left in a demo's folder; holds the configuration that it was started with.
const MARKER: &str = ".amis-demo";

/// Makes the folder ready: an interrupted demo of the same configuration goes on, a finished or older one is replaced, anything else is left alone.
fn claim(out: &Path) -> Result<()> {
    let marker = out.join(MARKER);
    let is_empty = fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !marker.is_file() {
        return Err(Error::FolderInUse { path: out.into() });
    }
    let same = fs::read(&marker).is_ok_and(|found| found == CONFIG.as_bytes());
    if !is_empty && (!same || out.join("summary.json").exists()) {
        fs::remove_dir_all(out).map_err(|source| amis_artifacts::Error::Io { action: "replace", path: out.into(), source })?;
    }
    files::write_atomic(&marker, CONFIG.as_bytes())?;
    Ok(files::write_atomic(&out.join("demo.toml"), CONFIG.as_bytes())?)
}
