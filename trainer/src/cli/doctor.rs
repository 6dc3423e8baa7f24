use std::path::PathBuf;

use amis_artifacts::cli::describe;
use amis_trainer::config::Config;
use amis_trainer::pretrained::Pretrained;
use amis_trainer::{Error, Result};
use clap::Args;

use super::progress::{bar, read_index};

/// Check configuration and data set before training: every image and label map is read once.
#[derive(Args)]
#[command(after_help = "Example:\n  amis-train doctor configs/camvid.toml --set data.root=data/camvid-voc")]
pub(super) struct Doctor {
    /// Configuration in TOML.
    config: PathBuf,
    /// Override a key, for example data.root=/data/voc. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl Doctor {
    pub(super) fn run(self) -> Result<serde_json::Value> {
        let config = Config::load(&self.config, &self.overrides)?;
        if let Some(file) = &config.train.pretrained {
            Pretrained::open(file, &config.model)?;
            tracing::info!("{} holds an encoder that fits", file.display());
        }
        let plan = read_index(&config)?;
        for (step, images) in plan.images.iter().enumerate() {
            tracing::info!("step {step}: {} images for {}", images.len(), config.task.steps[step].join(", "));
        }
        tracing::info!("validation: {} images", plan.val.len());
        let most = plan.images.iter().map(Vec::len).sum::<usize>() + plan.val.len();
        let bar = bar(most as u64, "checking");
        let report = plan.check(&|done| bar.set_position(done as u64));
        bar.finish_and_clear();
        if !report.is_sound() {
            for problem in &report.problems {
                eprintln!("{}", describe(problem));
            }
            return Err(Error::dataset(&config.data.root, &report));
        }
        tracing::info!("{} images and label maps are sound", report.images);
        let counts: Vec<usize> = plan.images.iter().map(Vec::len).collect();
        Ok(serde_json::json!({ "images": report.images, "problems": 0, "step_images": counts, "val_images": plan.val.len() }))
    }
}
