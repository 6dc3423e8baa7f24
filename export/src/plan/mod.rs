//! What a graph will need on a board, before one is at hand: operations, bytes, the time below which it cannot fall, and memory.

mod kernels;
mod shapes;
mod table;
mod yardstick;

use std::collections::BTreeMap;
use std::path::Path;

use amis_artifacts::board::{Board, Mode};
use amis_artifacts::onnx::{self, DataType, GraphProto};
use serde::Serialize;

use crate::passes::edit;
use crate::{Error, Result};
use kernels::Kernels;
pub use kernels::{Bytes, Part};

/// Board whose published times stand in for those of boards that have none.
const MEASURED_BOARD: &str = "orin-nano-8gb";

/// A graph on a board.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Name of the board.
    pub device: String,
    /// Its name for people.
    pub title: String,
    /// What its maker states.
    pub rated: String,
    /// Where its numbers stand.
    pub source: String,
    /// Numbers in the graph's weights.
    pub parameters: u64,
    /// Multiplications and additions, and everything else, for one run.
    pub operations: u64,
    /// By kind, in the board's fastest mode.
    pub parts: BTreeMap<Part, PartCost>,
    /// Times from below, by power mode, the fastest first.
    pub modes: Vec<ModeTime>,
    /// What lies in memory.
    pub memory: Memory,
    /// How far the same arithmetic is from a published measurement.
    pub check: Check,
    /// What to expect in the mode of the check, if that was taken on this board: the times from below of the FP16 and of the INT8 kernels, times the
    /// factors of the check.
    pub expected: Option<Times>,
}

/// Times in FP16 and INT8.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Times {
    /// All of it in FP16.
    pub fp16_ms: f64,
    /// Linear layers in INT8, the rest in FP16.
    pub int8_ms: f64,
}

/// The kernels of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PartCost {
    /// How many, with everything fused that can be.
    pub kernels: u64,
    /// Their operations.
    pub operations: u64,
    /// Weights that they read and values that they read and write.
    pub bytes: Bytes,
    /// Their times from below.
    #[serde(flatten)]
    pub times: Times,
}

/// Times from below in one power mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModeTime {
    /// Name of the mode.
    pub mode: String,
    /// Clock of the GPU.
    pub gpu_clock_mhz: u32,
    /// Bandwidth of the memory.
    pub memory_gb_s: f64,
    /// The times.
    #[serde(flatten)]
    pub times: Times,
}

/// What lies in memory while the graph runs. TensorRT, CUDA and the frames come on top.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// Weights.
    pub weights_bytes: Bytes,
    /// Most values at the same time, in FP16.
    pub values_bytes: u64,
    /// Memory of the board.
    pub board_bytes: u64,
}

/// The same arithmetic for ViT-B/16 at 224 px, beside what somebody measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The board that it was measured on.
    pub board: String,
    /// The power mode.
    pub mode: String,
    /// Its times from below.
    pub bound: Times,
    /// Times measured.
    pub measured: Times,
    /// How many times as long as its bound an FP16 kernel took: those of the FP16 run.
    pub fp16_factor: f64,
    /// The same for an INT8 kernel: those of the INT8 run, whose FP16 kernels are taken to be as far from their bound as in the FP16 run.
    pub int8_factor: f64,
    /// Who measured, how, and with what.
    pub source: String,
}

/// Times from below of all kernels, and of the INT8 kernels in `int8_ms` alone.
#[derive(Debug, Clone, Copy, Default)]
struct Bound {
    all: Times,
    int8_kernels_ms: f64,
}

/// What the float32 graph in this file will need on a board.
///
/// # Errors
/// Unreadable, quantized or FP16 already, sizes that are not fixed, or an operator whose shapes are not known.
pub fn plan_file(onnx: &Path, board: &Board) -> Result<Plan> {
    let model = onnx::read(onnx)?;
    match (model.precision(), &model.graph) {
        ("fp32", Some(graph)) => plan(graph, board),
        (precision, _) => {
            Err(Error::Plan { reason: format!("{} is {precision} already; a plan is made from the float32 graph and tells about both", onnx.display()) })
        }
    }
}

fn plan(graph: &GraphProto, board: &Board) -> Result<Plan> {
    let tensors = shapes::infer(graph)?;
    let kernels = kernels::kernels(graph, &tensors);
    let fastest = board.mode.first().ok_or_else(|| Error::Plan { reason: format!("board {} has no power mode", board.name) })?;
    let mut parts: BTreeMap<Part, PartCost> = BTreeMap::new();
    let mut weights_bytes = Bytes::default();
    for kernel in &kernels.list {
        let part = parts.entry(kernel.part).or_default();
        let times = kernel_times(kernel, board, fastest);
        part.kernels += 1;
        part.operations += kernel.products + kernel.others;
        part.bytes.fp16 += kernel.weights.fp16 + kernel.moved.fp16;
        part.bytes.int8 += kernel.weights.int8 + kernel.moved.int8;
        part.times.fp16_ms += times.fp16_ms;
        part.times.int8_ms += times.int8_ms;
        weights_bytes.fp16 += kernel.weights.fp16;
        weights_bytes.int8 += kernel.weights.int8;
    }
    let mode_time = |mode: &Mode| ModeTime {
        mode: mode.name.clone(),
        gpu_clock_mhz: mode.gpu_clock_mhz,
        memory_gb_s: mode.memory_gb_s,
        times: bound(&kernels, board, mode).all,
    };
    let modes: Vec<ModeTime> = board.mode.iter().map(mode_time).collect();
    let check = check(board)?;
    let measured_mode = board.mode.iter().find(|mode| check.board == board.name && check.mode == mode.name);
    let expected = measured_mode.map(|mode| {
        let Bound { all, int8_kernels_ms } = bound(&kernels, board, mode);
        Times { fp16_ms: all.fp16_ms * check.fp16_factor, int8_ms: (all.int8_ms - int8_kernels_ms) * check.fp16_factor + int8_kernels_ms * check.int8_factor }
    });
    let floats = graph.initializer.iter().filter(|t| edit::data_type(t) != DataType::Int64);
    Ok(Plan {
        device: board.name.clone(),
        title: board.title.clone(),
        rated: board.rated.clone(),
        source: board.source.clone(),
        parameters: floats.filter_map(edit::elements).map(|n| n as u64).sum(),
        operations: parts.values().map(|p| p.operations).sum(),
        parts,
        memory: Memory { weights_bytes, values_bytes: kernels.peak_bytes, board_bytes: u64::from(board.memory_gb) * 1_000_000_000 },
        expected,
        modes,
        check,
    })
}

/// ViT-B/16 on this board if somebody has measured it there, else on [`MEASURED_BOARD`].
fn check(board: &Board) -> Result<Check> {
    let other;
    let board = if board.measured.is_some() {
        board
    } else {
        other = Board::find(MEASURED_BOARD)?;
        &other
    };
    let found = board.measured.as_ref().and_then(|m| Some((m, board.mode.iter().find(|mode| mode.name == m.mode)?)));
    let (measured, mode) = found.ok_or_else(|| Error::Plan { reason: format!("board {} has no published times", board.name) })?;
    let graph = yardstick::vit_b16();
    let Bound { all, int8_kernels_ms } = bound(&kernels::kernels(&graph, &shapes::infer(&graph)?), board, mode);
    let fp16_factor = measured.fp16_ms / all.fp16_ms;
    Ok(Check {
        board: board.name.clone(),
        mode: mode.name.clone(),
        bound: all,
        measured: Times { fp16_ms: measured.fp16_ms, int8_ms: measured.int8_ms },
        fp16_factor,
        int8_factor: (measured.int8_ms - (all.int8_ms - int8_kernels_ms) * fp16_factor) / int8_kernels_ms,
        source: measured.source.clone(),
    })
}

/// The time below which no run of these kernels one after another can fall.
fn bound(kernels: &Kernels, board: &Board, mode: &Mode) -> Bound {
    kernels.list.iter().fold(Bound::default(), |mut sum, kernel| {
        let times = kernel_times(kernel, board, mode);
        sum.all.fp16_ms += times.fp16_ms;
        sum.all.int8_ms += times.int8_ms;
        sum.int8_kernels_ms += if kernel.quantized { times.int8_ms } else { 0.0 };
        sum
    })
}

/// The longest of three: products on the tensor cores, the rest on the CUDA cores, and moving the bytes.
fn kernel_times(kernel: &kernels::Kernel, board: &Board, mode: &Mode) -> Times {
    // A CUDA core multiplies and adds in one clock.
    let cuda_tflops = f64::from(board.cuda_cores) * 2.0 * f64::from(mode.gpu_clock_mhz) / 1e6;
    let others_ms = kernel.others as f64 / cuda_tflops / 1e9;
    let ms = |tflops: f64, bytes: u64| (kernel.products as f64 / tflops / 1e9).max(others_ms).max(bytes as f64 / mode.memory_gb_s / 1e6);
    let int8_tops = if kernel.quantized { mode.int8_tops } else { mode.fp16_tflops };
    Times { fp16_ms: ms(mode.fp16_tflops, kernel.weights.fp16 + kernel.moved.fp16), int8_ms: ms(int8_tops, kernel.weights.int8 + kernel.moved.int8) }
}

#[cfg(test)]
mod tests;
