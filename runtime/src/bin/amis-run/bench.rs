use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use amis_artifacts::cli::print_line;
use amis_runtime::Result;
use amis_runtime::pipeline::RunOptions;
use amis_runtime::refine::RefineOptions;
use amis_runtime::sensors::{self, Ranges};
use amis_runtime::stats::Summary;
use serde::Serialize;

use crate::run;

const EXAMPLES: &str = "\
Examples:
  amis-run bench --bundle street-3.amis
  amis-run bench --bundle street-3.amis --source 'synthetic:?width=1280&height=720' --frames 300 --threads 2 --json";

/// Frames before the measurement: the first inference allocates, the next ones fill caches.
const WARMUP_FRAMES: u64 = 10;

/// Arguments of `amis-run bench`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Bundle that `amis-export bundle` wrote
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Where frames come from; it has to have N frames and ten for warm-up
    #[arg(long, value_name = "NAME", default_value = "synthetic:")]
    source: String,
    /// Frames to measure
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    frames: u64,
    /// Threads of the inference; 0: one a physical core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Precision of the graph to run
    #[arg(long, value_name = "NAME", default_value = "fp32")]
    precision: String,
    /// Engine that `amis-export engine` built from that graph on this machine: runs on the GPU instead of the CPU
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    summary: Summary,
    /// Power and temperature, where the board tells.
    board: Ranges,
}

/// Between two readings of the sensors.
const BOARD_PERIOD: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Args) -> Result<Report> {
    let options = RunOptions {
        bundle: args.bundle.clone(),
        sources: vec![args.source.clone()],
        sinks: vec!["null:".to_owned()],
        frames: Some(args.frames),
        warmup_frames: WARMUP_FRAMES,
        opacity: 0.5,
        threads: args.threads,
        precision: args.precision.clone(),
        engine: args.engine.clone(),
        token: None,
        refine: RefineOptions::default(),
        realtime: false,
    };
    let (mut board, mut due) = (Ranges::default(), Instant::now());
    let mut summaries = run::watched(&options, Duration::from_secs(run::HANG_AFTER_S), None, None, || {
        if Instant::now() >= due {
            board.add(sensors::read(Path::new("/sys")));
            due = Instant::now() + BOARD_PERIOD;
        }
    })?;
    if !args.json {
        run::print(&summaries);
        for (values, unit) in [(&board.power_w, "W"), (&board.temperature_c, "degrees C")] {
            values.iter().for_each(|(name, range)| print_line(format_args!("{name}: {:.1} {unit}, at most {:.1}", range.mean, range.max)));
        }
    }
    // There is one camera, and `watched` fails where it has no frames.
    Ok(Report { summary: summaries.remove(0), board })
}
