use std::path::PathBuf;

use amis_artifacts::cli::print_line;
use amis_artifacts::files;
use amis_trainer::Result;
use amis_trainer::compare::Comparison;
use clap::Args;

/// Put finished runs side by side: presets, ablations and seeds, with mean and spread.
///
/// Runs of one task, preset and configuration are a group, over their seeds; settings in which a run differs from the others of its task and preset make
/// a variant. Runs that are not finished are named and left out.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train compare runs/camvid-*\n  amis-train compare runs/camvid-* --results docs/results/4-1-1.json --plot docs/images/4-1-1.svg --out compare.html"
)]
pub(super) struct Compare {
    /// Runs, or folders with runs in them.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write every run and group to this JSON file.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Write a page with tables and plots to this HTML file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a picture of the means to this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl Compare {
    pub(super) fn run(self, json: bool) -> Result<Comparison> {
        let comparison = Comparison::of(&self.runs)?;
        for skipped in &comparison.skipped {
            tracing::warn!("left out {}: {}", skipped.run, skipped.reason);
        }
        for [a, b] in comparison.repeated_seeds() {
            tracing::warn!("{a} and {b} have the same task, preset, configuration and seed: both count");
        }
        if let Some(path) = &self.results {
            files::write_json(path, &comparison)?;
            tracing::info!("results in {}", path.display());
        }
        let texts = [(&self.out, "page", Comparison::page as fn(&Comparison) -> String), (&self.plot, "plot", Comparison::plot)];
        for (path, what, text) in texts {
            if let Some(path) = path {
                files::write_atomic(path, text(&comparison).as_bytes())?;
                tracing::info!("{what} in {}", path.display());
            }
        }
        if !json {
            print_line(comparison.table());
        }
        Ok(comparison)
    }
}
