//! A full incremental MBS step (teacher, student, losses, backward, optimizer) against the same step in PyTorch: time, memory and losses.
//!
//!     make bench-step
//!
//! Every measurement is a process of its own, for its own peak of memory; ours is this program again.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod memory;
mod ours;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use amis_artifacts::weights;
use clap::{Parser, Subcommand};
use common::{Problem, problem};
use ours::Measured;
use table::{Comparison, Figures};

/// The script of the peer.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/pytorch_step.py");
/// Steps at the start of a process that are not timed: they allocate.
const WARMUP_STEPS: usize = 2;
/// Steps whose losses must agree, and how well.
const COMPARED_STEPS: usize = 3;
const LOSS_TOLERANCE: f64 = 1e-4;

/// Times a training step of ours and of PyTorch.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Python with PyTorch and safetensors; without it only our step is measured
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Numbers of threads to measure with
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Processes of each kind; they take turns, so that a busy machine is busy for all
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Timed steps in a process
    #[arg(long, value_name = "N", default_value_t = 6)]
    steps: usize,
    #[command(flatten)]
    problem: Size,
    /// Also hold the arithmetic of memory against processes of three sizes
    #[arg(long)]
    memory: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Size of the measured problem.
#[derive(clap::Args)]
struct Size {
    /// vit_tiny, vit_small or vit_base
    #[arg(long, global = true, value_name = "NAME", default_value = "vit_tiny")]
    backbone: String,
    /// Side of the images in pixels, a multiple of 16
    #[arg(long, global = true, value_name = "PX", default_value_t = 256)]
    side: u32,
    /// Images in a batch
    #[arg(long, global = true, value_name = "N", default_value_t = 4)]
    batch: i64,
}

#[derive(Subcommand)]
enum Part {
    /// Our steps in this process; prints what it measured as JSON
    Ours {
        /// Threads
        threads: i32,
        /// Steps
        steps: usize,
    },
}

fn main() {
    let args = Args::parse();
    let problem = Problem::new(&args.problem.backbone, args.problem.side, args.problem.batch).unwrap();
    if let Some(Part::Ours { threads, steps }) = args.part {
        amis_trainer::allocator::keep_freed_memory();
        tch::set_num_threads(threads);
        println!("{}", serde_json::to_string(&ours::measure(&problem, steps)).unwrap());
        return;
    }
    let python = args.python.as_deref().filter(|python| has_pytorch(python));
    let folder = tempfile::tempdir().unwrap();
    if python.is_some() {
        write_inputs(folder.path(), &problem);
    }
    let comparisons: Vec<Comparison> = args.threads.iter().map(|&threads| compare(&args, python, folder.path(), threads)).collect();
    let checks = if args.memory { memory::check() } else { vec![] };
    if args.json {
        println!("{:#}", serde_json::json!({ "steps": comparisons, "memory": checks }));
        return;
    }
    table::print(&args.problem.backbone, args.problem.side, args.problem.batch, &comparisons);
    if args.memory {
        memory::print(&checks);
    }
}

/// Whether this Python can run the peer.
fn has_pytorch(python: &Path) -> bool {
    let found = Command::new(python).args(["-c", "import torch, safetensors.torch"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        eprintln!("{} has no PyTorch: only our step is measured", python.display());
    }
    found
}

/// `inputs.safetensors` and `sizes.json`, as the script reads them.
fn write_inputs(folder: &Path, problem: &Problem) {
    let mut tensors = weights::Weights::new();
    tensors.extend(problem.old().into_iter().map(|(name, tensor)| (format!("old.{name}"), tensor)));
    tensors.extend(problem.new_weights().into_iter().map(|(name, tensor)| (format!("new.{name}"), tensor)));
    tensors.insert("images".into(), problem::to_host(&problem.images()));
    tensors.insert("labels".into(), problem::to_host(&problem.labels()));
    fs::write(folder.join("inputs.safetensors"), weights::to_bytes(&tensors).unwrap()).unwrap();
    fs::write(folder.join("sizes.json"), serde_json::json!({ "model": problem.spec, "groups": problem.groups }).to_string()).unwrap();
}

/// All kinds in turn, `rounds` times.
fn compare(args: &Args, python: Option<&Path>, folder: &Path, threads: usize) -> Comparison {
    let kinds = if python.is_some() { vec!["ours", "plain", "fused"] } else { vec!["ours"] };
    let mut measured: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
    for round in 0..args.rounds {
        for &kind in &kinds {
            eprintln!("{threads} threads, round {} of {}: {kind}", round + 1, args.rounds);
            measured.entry(kind).or_default().push(start(args, kind, python, folder, threads));
        }
    }
    let loss_difference = kinds[1..].iter().map(|kind| difference(&measured["ours"][0], &measured[kind][0])).reduce(f64::max);
    assert!(loss_difference.is_none_or(|d| d <= LOSS_TOLERANCE), "losses differ by {loss_difference:?} (relative), at most {LOSS_TOLERANCE} is expected");
    let figures = measured.into_iter().map(|(kind, processes)| (kind.to_owned(), Figures::of(&processes, WARMUP_STEPS))).collect();
    Comparison { threads, loss_difference, figures }
}

/// One process.
fn start(args: &Args, kind: &str, python: Option<&Path>, folder: &Path, threads: usize) -> Measured {
    let steps = WARMUP_STEPS + args.steps;
    let Some(python) = python.filter(|_| kind != "ours") else {
        let Size { backbone, side, batch } = &args.problem;
        return start_ours(backbone, *side, *batch, threads, steps, None);
    };
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(folder).args([kind, &steps.to_string(), &threads.to_string()]);
    finish(command, threads)
}

/// A process of ours. `tunables` are settings of glibc in place of those that the trainer gives itself.
fn start_ours(backbone: &str, side: u32, batch: i64, threads: usize, steps: usize, tunables: Option<&str>) -> Measured {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--backbone", backbone, "--side", &side.to_string(), "--batch", &batch.to_string()]);
    command.args(["ours", &threads.to_string(), &steps.to_string()]).envs(tunables.map(|value| ("GLIBC_TUNABLES", value)));
    finish(command, threads)
}

/// Waits for what the process has measured.
fn finish(mut command: Command, threads: usize) -> Measured {
    let output = command.env("OMP_NUM_THREADS", threads.to_string()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?} failed with {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Largest relative difference of a term in the first steps.
fn difference(ours: &Measured, peer: &Measured) -> f64 {
    let pairs = ours.losses.iter().zip(&peer.losses).take(COMPARED_STEPS);
    let of_step = |(ours, peer): (&BTreeMap<String, f64>, &BTreeMap<String, f64>)| {
        assert!(ours.keys().eq(peer.keys()), "terms {:?} and {:?}", ours.keys(), peer.keys());
        ours.iter().map(|(name, value)| (value - peer[name]).abs() / peer[name].abs()).fold(0.0, f64::max)
    };
    pairs.map(of_step).fold(0.0, f64::max)
}
