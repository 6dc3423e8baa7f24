//! `amis-demo`: the whole road on synthetic scenes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Trains a base step and two incremental steps on synthetic street scenes, exports each, runs the last one, and leaves pictures, a video, a report and
/// figures in one folder. Takes minutes on two cores.
#[derive(Parser)]
#[command(name = "amis-demo", version, after_help = "Example:\n  amis-demo --out demo-out")]
struct Cli {
    /// Folder to write; a finished demo in it is replaced, an interrupted one goes on.
    #[arg(long, default_value = "demo-out")]
    out: PathBuf,
    /// Print the summary as JSON on stdout.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    amis_artifacts::cli::finish(amis_tests::demo::run(&cli.out), cli.json)
}
