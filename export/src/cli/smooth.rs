use std::fmt;
use std::path::PathBuf;

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::onnx;
use amis_calib::Subject;
use amis_export::passes::smooth::{smooth, smoothable};
use amis_export::{Result, bundle};
use serde::Serialize;

use super::images::ImageArgs;
use super::progress::Stages;

/// Writes a float32 graph that computes the same and loses less in INT8: large channels behind LayerNorms move into the weights of qkv and fc1.
///
/// Calibrate and quantize the graph that it writes. Worth it where `max` loses much: a few channels far larger than the others.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  amis-export smooth --checkpoint runs/yard/step-2 --onnx model.cpu-fp32.onnx --images data/JPEGImages --out smooth.cpu-fp32.onnx"
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
    /// How much moves, from 0 (the weights keep their balance) to 1 (all of it).
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    strength: f32,
    /// File to write.
    #[arg(long, value_name = "FILE", default_value = "smooth.cpu-fp32.onnx")]
    out: PathBuf,
}

/// A number from 0 to 1.
fn share(text: &str) -> std::result::Result<f32, String> {
    text.parse().ok().filter(|x| (0.0..=1.0).contains(x)).ok_or_else(|| "expected a number from 0 to 1".into())
}

/// The graph written.
#[derive(Debug, Serialize)]
pub(crate) struct Smoothed {
    out: PathBuf,
    /// Tensors whose channels were scaled.
    tensors: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Smoothed> {
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        bundle::check(&checkpoint, &self.onnx)?;
        let subject = Subject { onnx: &self.onnx, image_spec: &checkpoint.manifest.image_spec, classes: &checkpoint.manifest.classes };
        let mut model = onnx::read(&self.onnx)?;
        let files = self.images.read()?;
        let mut stages = Stages::default();
        let progress = &mut |stage, done, all| stages.show(stage, done, all);
        let largest = amis_calib::channel_maxima(subject, files.images(), &smoothable(&model), self.images.threads, progress)?;
        let tensors = smooth(&mut model, &largest, self.strength)?;
        onnx::write(&self.out, &model)?;
        Ok(Smoothed { out: self.out.clone(), tensors })
    }
}

impl fmt::Display for Smoothed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} tensors smoothed, {}", self.out.display(), self.tensors.len(), self.tensors.join(", "))
    }
}
