use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use amis_artifacts::calibration::{CalibrationKey, CalibrationTable};
use amis_artifacts::{files, onnx};
use amis_export::passes::target::Target;
use amis_export::passes::{Job, Precision, Prepared, prepare};
use amis_export::sensitivity::Sensitivity;
use amis_export::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;

/// Writes a float32 graph of `onnx` for a device family: INT8 with explicit Q/DQ, FP16, or FP32.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export quantize --onnx model.cpu-fp32.onnx --calibration calibration.json --target cpu\n  amis-export quantize --onnx model.cpu-fp32.onnx --target rtx --precision fp16"
)]
pub(crate) struct Args {
    /// The float32 graph.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Ranges of its tensors, from `amis-export calibrate`; needed for int8.
    #[arg(long, value_name = "FILE", required_if_eq("precision", "int8"))]
    calibration: Option<PathBuf>,
    /// Device family: cpu, rtx, jetpack5, jetpack6, jetpack7.
    #[arg(long)]
    target: String,
    /// Precision of the graph.
    #[arg(long, value_enum, default_value = "int8")]
    precision: Asked,
    /// Linears that are not quantized, by name, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    keep: Vec<String>,
    /// What `amis-export sensitivity --budget` measured of this graph with this table: the layers that it chose are not quantized.
    #[arg(long, value_name = "FILE", requires = "calibration")]
    sensitivity: Option<PathBuf>,
    /// The INT8 graph of the step before for the same target: its scales of weights are kept where the squared error grows by no more than a tenth, so that
    /// the patch between the two is small.
    #[arg(long, value_name = "FILE")]
    parent: Option<PathBuf>,
    /// For the DLA, where the target has one that can run the graph.
    #[arg(long)]
    dla: bool,
    /// File to write; without it model.<TARGET>-<PRECISION>.onnx in the folder of the float32 graph.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Asked {
    /// Linears int8, the rest FP16 where the target can, else float32.
    Int8,
    /// FP16, but LayerNorm, softmax and normalizations accumulate in float32.
    Fp16,
    /// Float32, written as the target's parser needs it.
    Fp32,
}

/// The graph written.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    out: PathBuf,
    target: String,
    precision: Precision,
    bytes: u64,
    /// Size of the float32 graph.
    from_bytes: u64,
    #[serde(flatten)]
    prepared: Prepared,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Written> {
        let precision = match self.precision {
            Asked::Int8 => Precision::Int8,
            Asked::Fp16 => Precision::Fp16,
            Asked::Fp32 => Precision::Fp32,
        };
        let target = Target::find(&self.target)?;
        target.allow(precision, self.dla)?;
        let bytes = files::read_limited(&self.onnx, "an ONNX model", onnx::MAX_MODEL_BYTES)?;
        let mut model = onnx::parse(&bytes, &self.onnx)?;
        let ranges = match (&self.calibration, precision) {
            (Some(path), Precision::Int8) => ranges(path, files::sha256(&bytes))?,
            _ => BTreeMap::new(),
        };
        let mut keep: BTreeSet<String> = self.keep.iter().cloned().collect();
        if let (Some(path), Some(calibration)) = (&self.sensitivity, &self.calibration) {
            keep.append(&mut Sensitivity::read(path)?.keep(path, &files::sha256(&bytes), calibration)?);
        }
        let parent = self.parent.as_deref().map(onnx::read).transpose()?;
        let prepared = prepare(&mut model, &Job { target: &target, precision, ranges: &ranges, keep: &keep, parent: parent.as_ref() })?;
        let out = self.out.clone().unwrap_or_else(|| self.onnx.with_file_name(format!("model.{}-{precision}.onnx", target.name)));
        onnx::write(&out, &model)?;
        let size = std::fs::metadata(&out).map_err(|source| Error::from(amis_artifacts::Error::Io { action: "read", path: out.clone(), source }))?.len();
        Ok(Written { out, target: target.name, precision, bytes: size, from_bytes: bytes.len() as u64, prepared })
    }
}

/// The ranges of a table that this version of the tool measured on this graph.
fn ranges(path: &Path, graph_sha256: String) -> Result<BTreeMap<String, f32>> {
    let table = CalibrationTable::read(path)?;
    table.check(path, &CalibrationKey { graph_sha256, tool_version: env!("CARGO_PKG_VERSION").into(), ..table.key.clone() })?;
    Ok(table.tensors.into_iter().map(|(name, range)| (name, range.amax)).collect())
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, bytes, from_bytes, prepared, .. } = self;
        write!(f, "{}: {bytes} bytes from {from_bytes}", out.display())?;
        if !prepared.quantized.is_empty() {
            write!(f, ", {} Linears in int8", prepared.quantized.len())?;
        }
        if prepared.scales_kept > 0 {
            write!(f, ", {} channels with the parent's scale", prepared.scales_kept)?;
        }
        if prepared.kept.is_empty() { Ok(()) } else { write!(f, ", kept: {}", prepared.kept.join(", ")) }
    }
}
