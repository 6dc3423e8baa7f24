use std::path::PathBuf;

use amis_artifacts::cli::print_line;
use amis_runtime::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use crate::control::{Question, ask};
use crate::state::{self, Record};

const EXAMPLES: &str = "\
Examples:
  amis-run status --state /run/amis
  amis-run status --state /run/amis --json";

/// Arguments of `amis-run status`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder that `amis-run run --state` was given
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A run, live or ended.
#[derive(Serialize)]
pub(crate) struct Status {
    running: bool,
    #[serde(flatten)]
    record: Record,
    /// Where it is, if it runs.
    statistics: Option<Value>,
}

pub(crate) fn run(args: &Args) -> Result<Status> {
    let missing = || Error::Control { path: args.state.clone(), reason: "no run has left anything there".into() };
    let statistics = ask(&args.state, &Question::Status).ok();
    let record = state::read(&args.state).ok_or_else(missing)?;
    let status = Status { running: statistics.is_some(), record, statistics };
    if !args.json {
        print(&status);
    }
    Ok(status)
}

fn print(status: &Status) {
    match (&status.statistics, &status.record.end) {
        (Some(s), _) => {
            print_line(format_args!(
                "running, process {}: {} v{} {}",
                status.record.pid,
                text(&s["model"]["name"]),
                s["model"]["version"],
                text(&s["model"]["precision"])
            ));
            let rate = s["minute"]["fps"].as_f64().unwrap_or(0.0);
            print_line(format_args!("{} frames, {rate:.1} a second in the last minute, {} dropped", s["frames"], s["dropped"]));
        }
        (None, Some(end)) => print_line(format_args!("ended: {}", end.reason)),
        (None, None) => print_line("ended without a word: killed, crashed, or the power was cut"),
    }
    if let Some(end) = &status.record.previous_end {
        print_line(format_args!("the run before ended: {}", end.reason));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
