use std::path::PathBuf;
use std::process::ExitCode;

use amis_artifacts::cli::{describe, exit_code, finish, print_line};
use amis_runtime::{Error, doctor};

const EXAMPLES: &str = "\
Examples:
  amis-run doctor
  amis-run doctor --json
  amis-run doctor --root copy-of-a-device

Ends with exit code 4 when something that a run needs is missing; the report is printed all the same.";

/// Arguments of `amis-run doctor`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder with the files of the machine to examine: its /proc, /sys, /etc, /usr and /var
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let (report, missing) = doctor::examine(&args.root);
    if !args.json {
        print_line(&report);
    }
    let done = finish(Ok::<_, Error>(report), args.json);
    match missing {
        None => done,
        Some(error) => {
            eprintln!("{}", describe(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}
