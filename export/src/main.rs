//! `amis-export`: from a checkpoint to graphs, engines and bundles.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
