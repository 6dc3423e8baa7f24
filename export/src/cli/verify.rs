use std::fmt;
use std::path::PathBuf;

use amis_artifacts::checkpoint::Checkpoint;
use amis_artifacts::files;
use amis_export::Result;
use amis_export::compare::{Comparison, Options, compare};
use amis_export::verify::{self, Verification};
use serde::Serialize;

use super::progress::Stages;
use super::validation::ValidationArgs;

/// Runs the checkpoint's validation samples through a graph in ONNX Runtime and compares with the trained network's logits.
///
/// Fails (exit code 1) unless all logits differ by less than 1e-3 and more than 99.9 % of the pixels get the same class.
///
/// With --graph or --images, this graph and others (FP16, INT8) then run on real images: share of the pixels that get the float32 graph's class, mean IoU
/// and IoU by class where there are labels, and which graphs lose more than their precision may. That is a measurement and no failure. FP16 is
/// emulated: every value is rounded where the graph's types say so.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export verify --checkpoint runs/yard/step-2 --onnx model.cpu-fp32.onnx\n  amis-export verify --checkpoint runs/yard/step-2 --onnx model.cpu-fp32.onnx --graph model.rtx-fp16.onnx --graph model.cpu-int8.onnx --pictures worst --out verification.json"
)]
pub(crate) struct Args {
    /// Folder of the checkpoint.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The float32 graph, ending in masks or logits.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Another graph of the checkpoint, to be held against it; may be given several times.
    #[arg(long = "graph", value_name = "FILE")]
    graphs: Vec<PathBuf>,
    #[command(flatten)]
    images: ValidationArgs,
    /// Folder for pictures of the images on which a graph differs most.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// File for what was measured on the images, for `amis-export bundle --verification`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Threads of one inference; 0: one a physical core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// A graph that agrees, and what others lose.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    #[serde(flatten)]
    samples: Verification,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Verified> {
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        let samples = verify::verify(&checkpoint, &self.onnx)?.require()?;
        let asked = self.images.any() || self.out.is_some() || !self.graphs.is_empty();
        let comparison = if asked { Some(self.compare(&checkpoint)?) } else { None };
        Ok(Verified { samples, comparison })
    }

    fn compare(&self, checkpoint: &Checkpoint) -> Result<Comparison> {
        let images = self.images.open(checkpoint)?;
        let (mut stages, mut done, all) = (Stages::default(), 0, images.len() * (1 + self.graphs.len()));
        let options = Options { pictures: self.pictures.clone(), threads: self.threads };
        let comparison = compare(checkpoint, &self.onnx, &self.graphs, &images, &options, || {
            done += 1;
            stages.show("images", done, all);
        })?;
        if let Some(path) = &self.out {
            files::write_json(path, &comparison)?;
        }
        Ok(comparison)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verification { max_abs_diff, argmax_agreement, images } = self.samples;
        write!(
            f,
            "the graph agrees over {images} images: logits differ by at most {max_abs_diff:.3e}, {:.4} % of the pixels get the same class",
            argmax_agreement * 100.0
        )?;
        self.comparison.as_ref().map_or(Ok(()), |comparison| write!(f, "\n{comparison}"))
    }
}
