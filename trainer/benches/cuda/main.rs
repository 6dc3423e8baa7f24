//! A full incremental MBS step on a CUDA GPU: time, memory, and losses against those of the CPU, by network and precision. Prints a table for docs/benchmarks.md.
//!
//!     make bench-cuda
//!
//! Every line is a process of its own, because libtorch keeps what it has once taken of the GPU's memory.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use amis_artifacts::cli;
use amis_trainer::device;
use amis_trainer::model::Precision;
use clap::{Parser, Subcommand, ValueEnum};
use common::{Memory, Problem, Trainee, median, values};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

const BACKBONES: [&str; 3] = ["vit_tiny", "vit_small", "vit_base"];
const SIDE_PX: u32 = 512;
/// Images of the step whose losses are compared: a CPU has to do it too.
const COMPARED_BATCH: i64 = 2;
/// Steps that are not timed: libtorch chooses kernels and allocates.
const WARMUP_STEPS: usize = 5;
const STEPS: usize = 20;

/// Measures a training step on a CUDA GPU.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// The GPU: cuda or cuda:N
    #[arg(long, global = true, value_parser = device::parse, default_value = "cuda:0")]
    device: Device,
    /// Images in a batch
    #[arg(long, global = true, value_name = "N", default_value_t = 16)]
    batch: i64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Part {
    /// Steps on the GPU in this process; prints time and memory as JSON
    Steps { backbone: String, precision: Name },
    /// The first step on the GPU and on the CPU; prints the largest relative difference of a term
    Compare { backbone: String, precision: Name },
}

/// A precision, as it is typed and printed.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    Fp32,
    Bf16,
    Fp16,
}

impl Name {
    fn precision(self) -> Precision {
        match self {
            Self::Fp32 => Precision::Fp32,
            Self::Bf16 => Precision::Bf16,
            Self::Fp16 => Precision::Fp16,
        }
    }

    fn text(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// What steps take.
#[derive(Debug, Serialize, Deserialize)]
struct Steps {
    step_seconds: f64,
    /// What the GPU had more in use after the steps than before the networks came.
    memory_bytes: f64,
}

/// One network in one precision.
#[derive(Debug, Serialize)]
struct Line {
    backbone: &'static str,
    precision: Name,
    #[serde(flatten)]
    steps: Steps,
    /// What the arithmetic says (docs/benchmarks.md, Memory).
    predicted_bytes: f64,
    /// Largest relative difference of a loss term from float32 on the CPU, in the first step.
    loss_difference: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let device = match device::choose(Some(args.device)) {
        Ok(Device::Cuda(number)) => Device::Cuda(number),
        Ok(_) => {
            eprintln!("error: --device names no GPU\n  help: cuda or cuda:N");
            return ExitCode::from(2);
        }
        Err(error) => return cli::finish::<(), _>(Err(error), args.json),
    };
    match &args.part {
        Some(Part::Steps { backbone, precision }) => println!("{}", serde_json::json!(steps(device, backbone, *precision, args.batch))),
        Some(Part::Compare { backbone, precision }) => println!("{}", difference(device, backbone, *precision)),
        None => {
            let lines: Vec<Line> = BACKBONES.iter().flat_map(|b| Name::value_variants().iter().map(|p| line(device, b, *p, args.batch))).collect();
            if args.json {
                println!("{:#}", serde_json::json!({ "batch": args.batch, "side_px": SIDE_PX, "lines": lines }));
            } else {
                print(args.batch, &lines);
            }
        }
    }
    ExitCode::SUCCESS
}

fn line(device: Device, backbone: &'static str, precision: Name, batch: i64) -> Line {
    eprintln!("{backbone}, {}", precision.text());
    let problem = Problem::new(backbone, SIDE_PX, batch).unwrap();
    Line {
        backbone,
        precision,
        steps: child(device, "steps", backbone, precision, batch),
        predicted_bytes: Memory::of(&problem, precision.precision()).total() + problem.network_bytes(),
        loss_difference: child(device, "compare", backbone, precision, batch),
    }
}

/// A part in a process of its own.
fn child<T: serde::de::DeserializeOwned>(device: Device, part: &str, backbone: &str, precision: Name, batch: i64) -> T {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--device", &device::name(device), "--batch", &batch.to_string(), part, backbone, &precision.text()]);
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?} failed with {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn steps(device: Device, backbone: &str, precision: Name, batch: i64) -> Steps {
    // The first tensor brings CUDA's own memory, which is no part of training.
    let _ = Tensor::zeros([1], (Kind::Float, device)).double_value(&[0]);
    let before = used_bytes(device);
    let mut trainee = Trainee::new(&Problem::new(backbone, SIDE_PX, batch).unwrap(), device, precision.precision());
    let seconds: Vec<f64> = (0..WARMUP_STEPS + STEPS)
        .map(|_| {
            let start = Instant::now();
            let _ = values(&trainee.step());
            start.elapsed().as_secs_f64()
        })
        .collect();
    Steps { step_seconds: median(seconds[WARMUP_STEPS..].iter().copied()), memory_bytes: used_bytes(device) - before }
}

fn difference(device: Device, backbone: &str, precision: Name) -> f64 {
    let problem = Problem::new(backbone, SIDE_PX, COMPARED_BATCH).unwrap();
    let on_cpu = values(&Trainee::new(&problem, Device::Cpu, Precision::Fp32).step());
    let on_gpu = values(&Trainee::new(&problem, device, precision.precision()).step());
    on_cpu.iter().map(|(name, value)| (value - on_gpu[name]).abs() / value.abs()).fold(0.0, f64::max)
}

/// Memory of the GPU that is in use, by all programs: nothing else should run on it.
fn used_bytes(device: Device) -> f64 {
    let Device::Cuda(number) = device else { return 0.0 };
    let query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(query).args(["-i", &number.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().unwrap() * f64::from(1 << 20)
}

fn print(batch: i64, lines: &[Line]) {
    let gpu = Command::new("nvidia-smi").args(["--query-gpu=name,driver_version", "--format=csv,noheader"]).output().unwrap();
    println!("MBS step, {SIDE_PX} px, batch {batch}, VOC 15-1 step 1; {}\n", String::from_utf8_lossy(&gpu.stdout).trim());
    println!("| | precision | step, ms | memory, GB | by arithmetic, GB | losses differ from the CPU's by |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for Line { backbone, precision, steps, predicted_bytes, loss_difference } in lines {
        let (ms, memory, predicted) = (steps.step_seconds * 1e3, steps.memory_bytes / 1e9, predicted_bytes / 1e9);
        println!("| {backbone} | {} | {ms:.1} | {memory:.1} | {predicted:.1} | {loss_difference:.1e} |", precision.text());
    }
}
