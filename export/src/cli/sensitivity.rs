use std::path::PathBuf;

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_export::Result;
use amis_export::sensitivity::{Question, Sensitivity};

use super::progress::Stages;
use super::validation::ValidationArgs;

/// Measures on real images what each Linear loses in INT8: only that layer quantized, and all but it.
///
/// With --budget, the worst layers are kept in FP16 until INT8 loses no more than that; `amis-export quantize --sensitivity` takes the choice. A loss of mean
/// IoU is stated only if the float32 graph has the trainer's mean IoU within 0.1 points on the same images. What is not quantized is float32 here.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  amis-export sensitivity --checkpoint runs/yard/step-2 --onnx model.cpu-fp32.onnx --calibration calibration.json --budget 0.5 --out sensitivity.json --plot sensitivity.svg"
)]
pub(crate) struct Args {
    /// Folder of the checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Its float32 graph.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Ranges of the graph's tensors, from `amis-export calibrate`.
    #[arg(long, value_name = "FILE")]
    calibration: PathBuf,
    #[command(flatten)]
    images: ValidationArgs,
    /// Most mean IoU to lose, in points.
    #[arg(long, value_name = "POINTS", value_parser = points)]
    budget: Option<f64>,
    /// File for what was measured, for `amis-export quantize --sensitivity`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// File for a drawing of the layers (SVG).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Threads of one inference; 0: one a physical core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

fn points(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|x| (0.0..=100.0).contains(x)).ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

impl Args {
    pub(crate) fn run(&self) -> Result<Sensitivity> {
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        let images = self.images.open(&checkpoint)?;
        let question =
            Question { checkpoint: &checkpoint, onnx: &self.onnx, calibration: &self.calibration, budget_points: self.budget, threads: self.threads };
        let mut stages = Stages::default();
        let found = Sensitivity::measure(&question, &images, |stage, done, all| stages.show(stage, done, all))?;
        if let Some(path) = &self.out {
            files::write_json(path, &found)?;
        }
        if let Some(path) = &self.plot {
            found.plot(path)?;
        }
        Ok(found)
    }
}
