use std::path::PathBuf;

use amis_artifacts::cli::print_line;
use amis_runtime::Result;
use serde_json::Value;

use crate::control::{Question, ask};

const EXAMPLES: &str = "\
Example:
  amis-run swap street-4.amis --state /run/amis";

/// Arguments of `amis-run swap`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Bundle that takes over
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// Folder that `amis-run run --state` was given
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &Args) -> Result<Value> {
    // The run may have another working folder.
    let bundle = std::path::absolute(&args.bundle).unwrap_or_else(|_| args.bundle.clone());
    let model = ask(&args.state, &Question::Swap(bundle))?;
    if !args.json {
        print_line(format_args!("{} v{} serves", model["name"].as_str().unwrap_or_default(), model["version"]));
    }
    Ok(model)
}
