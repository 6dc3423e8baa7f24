//! `amis-run`: runs a bundle on pictures and live frames.

mod bench;
mod cli;
mod doctor;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
