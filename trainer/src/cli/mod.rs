//! The command line: what was typed, and one file per subcommand.

mod compare;
mod doctor;
mod eval;
mod export_weights;
mod import;
mod import_labels;
mod progress;
mod report;
mod run;
mod synth;

use std::process::ExitCode;

use amis_artifacts::cli::finish;
use amis_trainer::allocator::keep_freed_memory;
use clap::{Parser, Subcommand};

/// Trains a segmentation network step by step: each step adds classes without the images of earlier ones.
#[derive(Parser)]
#[command(name = "amis-train", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one machine-readable result on stdout.
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  amis-train synth data/scene                        a small synthetic data set to try things on
  amis-train doctor configs/camvid.toml --set data.root=data/camvid-voc
  amis-train import-labels instances.json --images images --out data/mine    drawn annotations into label maps
  amis-train run configs/camvid.toml --set data.root=data/camvid-voc --out runs/camvid
  amis-train eval runs/camvid/step-2                 measure a checkpoint again
  amis-train report runs/camvid                      one HTML page about the run
  amis-train compare runs/camvid-*                   presets and seeds side by side
  amis-train import mbs.pth --classes-file voc.txt --out runs/mbs
  amis-train export-weights runs/camvid/step-2 --out camvid.pth

Exit codes: 0 ok, 1 failed or stopped, 2 wrong usage, 3 wrong input, 4 something is missing on this machine.";

#[derive(Subcommand)]
enum Command {
    Synth(synth::Synth),
    ImportLabels(import_labels::ImportLabels),
    Doctor(doctor::Doctor),
    Run(run::Run),
    Eval(eval::Eval),
    Report(report::Report),
    Compare(compare::Compare),
    Import(import::Import),
    ExportWeights(export_weights::ExportWeights),
}

/// Parses the command line and runs it.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Run(_)) {
        keep_freed_memory();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match cli.command {
        Command::Synth(command) => finish(command.run(), cli.json),
        Command::ImportLabels(command) => finish(command.run(), cli.json),
        Command::Doctor(command) => finish(command.run(), cli.json),
        Command::Run(command) => command.run(cli.json),
        Command::Eval(command) => finish(command.run(cli.json), cli.json),
        Command::Report(command) => finish(command.run(), cli.json),
        Command::Compare(command) => finish(command.run(cli.json), cli.json),
        Command::Import(command) => finish(command.run(), cli.json),
        Command::ExportWeights(command) => finish(command.run(), cli.json),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
