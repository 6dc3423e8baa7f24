//! `amis-run`: runs a bundle on pictures and live frames.

mod allocator;
mod bench;
mod cli;
mod control;
mod devices;
mod doctor;
mod guard;
mod layers;
mod log;
mod manual;
mod run;
mod state;
mod status;
mod swap;
mod update;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
