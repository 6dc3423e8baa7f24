use std::path::PathBuf;

use amis_data::synth::{self, SynthOptions};
use amis_trainer::Result;
use clap::Args;

/// Write a small synthetic data set in VOC layout: street scenes with exact labels.
#[derive(Args)]
#[command(after_help = "Example:\n  amis-train synth data/scene --images 200,80,80 --val 40 --width 128 --height 96")]
pub(super) struct Synth {
    /// Folder to write; a finished one with the same options is left as it is.
    dir: PathBuf,
    /// Training images of the base step and of the two increments.
    #[arg(long, value_parser = three_counts, value_name = "BASE,ONE,TWO", default_value = "240,100,100")]
    images: [usize; 3],
    /// Validation images.
    #[arg(long, default_value_t = 40)]
    val: usize,
    /// Width in pixels.
    #[arg(long, default_value_t = 128)]
    width: u32,
    /// Height in pixels.
    #[arg(long, default_value_t = 96)]
    height: u32,
    /// Other seeds give other images.
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

impl Synth {
    pub(super) fn run(self) -> Result<serde_json::Value> {
        let step_images = self.images;
        let options = SynthOptions { step_images, val_images: self.val, width_px: self.width, height_px: self.height, seed: self.seed };
        synth::write(&self.dir, &options)?;
        tracing::info!("data set in {}", self.dir.display());
        Ok(serde_json::json!({ "root": self.dir, "step_images": step_images, "val_images": self.val }))
    }
}

fn three_counts(text: &str) -> std::result::Result<[usize; 3], String> {
    let counts: Vec<usize> = text.split(',').map(|n| n.trim().parse().map_err(|e| format!("{n:?}: {e}"))).collect::<std::result::Result<_, _>>()?;
    counts.try_into().map_err(|found: Vec<usize>| format!("{} numbers, expected 3", found.len()))
}
