use std::process::ExitCode;

use amis_artifacts::cli::finish;
use clap::{CommandFactory, Parser, Subcommand};

use crate::{allocator, bench, devices, doctor, layers, log, manual, run, status, swap, update};

const EXAMPLES: &str = "\
Examples:
  amis-run run --bundle street-3.amis --source dir:pictures --sink dir:overlays
  amis-run bench --bundle street-3.amis --source synthetic: --frames 200 --json
  amis-run update
  amis-run devices
  amis-run doctor

Sources: image:PATH, dir:PATH[?list=FILE], video:PATH.{avi,y4m},
         v4l2:/dev/video0[?width=1280&height=720&fps=30&format=MJPEG&CONTROL=VALUE],
         synthetic:[?width=640&height=480&fps=30&frames=120&seed=1&realtime=1]
Sinks:   web:HOST:PORT, lines:PATH, collect:PATH, dir:PATH[?what=overlay|mask|both], video:PATH.avi[?fps=30], null:

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 wrong input, 4 something is missing on this machine";

/// Runs a bundle on pictures and live frames.
#[derive(Parser)]
#[command(name = "amis-run", version, after_help = EXAMPLES, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turns frames into class maps and shows them
    Run(run::Args),
    /// Lets another bundle take over in a run that goes on
    Swap(swap::Args),
    /// Looks for an update, fetches, tests and installs it
    Update(update::UpdateArgs),
    /// Tests and installs a bundle that lies here
    Install(update::InstallArgs),
    /// Goes back to the release before
    Rollback(update::RollbackArgs),
    /// Tries one graph of an unpacked bundle
    #[command(hide = true)]
    Try(update::TryArgs),
    /// Builds the engine that another process of this program asks for
    #[command(hide = true)]
    BuildEngine,
    /// Tells where a device or a run is, and what went wrong
    Status(status::Args),
    /// Measures every station of a run
    Bench(bench::Args),
    /// Shows what TensorRT made of a graph, and how long each layer takes
    Layers(layers::Args),
    /// Lists cameras with what they offer
    Devices(devices::Args),
    /// Tells what this machine has and what is missing
    Doctor(doctor::Args),
    /// Writes man pages and shell completions
    #[command(hide = true)]
    Manual(manual::Args),
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Run(_) | Command::Bench(_)) {
        allocator::return_freed_memory();
    }
    log::start();
    match cli.command {
        Command::Run(args) => finish(run::run(&args), args.json),
        Command::Swap(args) => finish(swap::run(&args), args.json),
        Command::Update(args) => finish(update::update(&args), args.json),
        Command::Install(args) => finish(update::install(&args), args.json),
        Command::Rollback(args) => finish(update::roll_back(&args), args.json),
        Command::Try(args) => finish(update::try_graph(&args), true),
        Command::BuildEngine => finish(update::build_engine(), false),
        Command::Status(args) => finish(status::run(&args), args.json),
        Command::Bench(args) => finish(bench::run(&args), args.json),
        Command::Layers(args) => finish(layers::run(&args), args.json),
        Command::Devices(args) => finish(devices::run(&args), args.json),
        Command::Doctor(args) => doctor::run(&args),
        Command::Manual(args) => finish(manual::run(&args, Cli::command()), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
