use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use amis_trainer::Result;
use amis_trainer::config::Config;
use amis_trainer::train::{self, RunSummary};
use clap::Args;

use super::progress::Console;

/// Train all steps of a task; a checkpoint folder is left for each.
///
/// Ctrl-C saves the state and ends; the same command goes on from there. Finished steps are kept.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train run configs/camvid.toml --set data.root=data/camvid-voc\n  amis-train run configs/camvid.toml --set train.preset=finetune --set model.gab=true \\\n      --set train.base_checkpoint=runs/camvid/step-0 --out runs/camvid-finetune"
)]
pub(super) struct Run {
    /// Configuration in TOML.
    config: PathBuf,
    /// Override a key, for example train.preset=mbs. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Folder for checkpoints and logs. [default: runs/NAME of the configuration]
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self) -> Result<RunSummary> {
        let config = Config::load(&self.config, &self.overrides)?;
        let name = self.config.file_stem().unwrap_or_default();
        let out = self.out.unwrap_or_else(|| PathBuf::from("runs").join(name));
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let handler = move || {
            if flag.swap(true, Ordering::Relaxed) {
                // A second Ctrl-C means now; what was saved before is whole.
                std::process::exit(130);
            }
            eprintln!("stopping after this iteration; once more to end at once");
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::warn!("Ctrl-C will end the run without saving its state: {error}");
        }
        train::run(&config, &out, &stop, &mut Console::default())
    }
}
