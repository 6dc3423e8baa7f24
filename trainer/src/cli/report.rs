use std::path::PathBuf;

use amis_artifacts::files;
use amis_artifacts::live::LiveRun;
use amis_trainer::{Result, report};
use clap::Args;

use super::progress::bar;

/// Write one HTML page about a run: figures, curves, example pictures, confusion matrix, configuration, lineage.
///
/// The page needs no other file and no network. A run that is still going gives a page of what is there.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train report runs/camvid\n  amis-train report runs/camvid --compare runs/camvid-finetune runs/camvid-mbs --out camvid.html"
)]
pub(super) struct Report {
    /// Folder of the run.
    run: PathBuf,
    /// Folders of runs of the same task, to show beside it.
    #[arg(long, value_name = "RUN", num_args = 1..)]
    compare: Vec<PathBuf>,
    /// Frames of a live run that took the last model over, as live.json; the demo writes one.
    #[arg(long, value_name = "FILE")]
    live: Option<PathBuf>,
    /// Page to write. [default: report.html in RUN]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(self) -> Result<serde_json::Value> {
        let out = self.out.unwrap_or_else(|| self.run.join("report.html"));
        let bar = bar(0, "worst and best images");
        let progress = |done: usize, all: usize| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        };
        let live = self.live.map(|path| files::read_json::<LiveRun>(&path, "live run")).transpose()?;
        let written = report::write(&self.run, &self.compare, live.as_ref(), &out, &progress);
        bar.finish_and_clear();
        written?;
        tracing::info!("report in {}", out.display());
        Ok(serde_json::json!({ "report": out }))
    }
}
