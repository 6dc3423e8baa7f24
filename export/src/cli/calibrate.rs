use std::fmt;
use std::path::PathBuf;

use amis_artifacts::calibration::{CalibrationTable, ClassCoverage, Method};
use amis_artifacts::checkpoint::Checkpoint;
use amis_calib::Subject;
use amis_export::{Result, bundle};
use serde::Serialize;

use super::images::ImageArgs;
use super::progress::Stages;

/// Measures the ranges that an INT8 graph needs, on camera images, and writes them as calibration.json.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export calibrate --checkpoint runs/yard/step-2 --onnx model.cpu-fp32.onnx --images data/JPEGImages --list data/ImageSets/Segmentation/train.txt\n  amis-export calibrate --checkpoint runs/yard/step-2 --onnx model.cpu-fp32.onnx --images new --kept kept --method percentile:99.99"
)]
pub(crate) struct Args {
    /// Folder of the checkpoint: image spec and class names.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Its float32 graph.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    #[command(flatten)]
    images: ImageArgs,
    /// How ranges are chosen: max, percentile:P, entropy, mse, or auto (per tensor the one with the least error behind the layer).
    #[arg(long, default_value_t = Method::Auto)]
    method: Method,
    /// File to write.
    #[arg(long, value_name = "FILE", default_value = "calibration.json")]
    out: PathBuf,
}

/// The table written.
#[derive(Debug, Serialize)]
pub(crate) struct Calibrated {
    out: PathBuf,
    method: Method,
    tensors: usize,
    images: usize,
    coverage: Vec<ClassCoverage>,
    warnings: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Calibrated> {
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        bundle::check(&checkpoint, &self.onnx)?;
        let subject = Subject { onnx: &self.onnx, image_spec: &checkpoint.manifest.image_spec, classes: &checkpoint.manifest.classes };
        let files = self.images.read()?;
        let mut stages = Stages::default();
        let progress = &mut |stage, done, all| stages.show(stage, done, all);
        let table = amis_calib::calibrate(subject, files.images(), self.method, self.images.threads, progress)?;
        table.write(&self.out)?;
        let CalibrationTable { tensors, images, coverage, warnings, .. } = table;
        Ok(Calibrated { out: self.out.clone(), method: self.method, tensors: tensors.len(), images: images.len(), coverage, warnings })
    }
}

impl fmt::Display for Calibrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, method, tensors, images, coverage, warnings } = self;
        write!(f, "{}: {tensors} tensors by {method} on {images} images", out.display())?;
        let shown: Vec<String> = coverage.iter().map(|c| format!("{} {}", c.class, c.images)).collect();
        if !shown.is_empty() {
            write!(f, "\nimages that show a class: {}", shown.join(", "))?;
        }
        warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}
