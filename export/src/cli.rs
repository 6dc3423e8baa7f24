//! The command line: one file a subcommand, each with its arguments and what it prints.

mod bundle;
mod calibrate;
mod deploy;
mod engine;
mod images;
mod inspect;
mod lint;
mod onnx;
mod plan;
mod progress;
mod quantize;
mod repo;
mod sensitivity;
mod smooth;
mod validation;
mod verify;

use std::fmt::Display;
use std::io::stderr;
use std::process::ExitCode;

use amis_artifacts::cli::{finish, print_line};
use amis_export::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// Turns a checkpoint into an ONNX graph, verifies it, builds TensorRT engines and packs bundles.
#[derive(Debug, Parser)]
#[command(
    name = "amis-export",
    version,
    max_term_width = 120,
    after_help = "Examples:\n  amis-export onnx --checkpoint runs/yard/step-2 --out yard.onnx\n  amis-export verify --checkpoint runs/yard/step-2 --onnx yard.onnx\n  amis-export bundle --checkpoint runs/yard/step-2 --graph cpu:fp32:yard.onnx --name yard --version 3"
)]
struct Cli {
    /// Prints the result as JSON on stdout; without it the result is text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Onnx(onnx::Args),
    Calibrate(calibrate::Args),
    Smooth(smooth::Args),
    Sensitivity(sensitivity::Args),
    Quantize(quantize::Args),
    Lint(lint::Args),
    Verify(verify::Args),
    Engine(engine::Args),
    BuildEngine(engine::BuilderArgs),
    Plan(plan::Args),
    Bundle(bundle::Args),
    Inspect(inspect::Args),
    Repo(repo::Args),
    Deploy(deploy::Args),
}

/// Parses the arguments, runs the command and gives the exit code.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).init();
    match cli.command {
        Command::Onnx(args) => end(args.run(), cli.json),
        Command::Calibrate(args) => end(args.run(), cli.json),
        Command::Smooth(args) => end(args.run(), cli.json),
        Command::Sensitivity(args) => end(args.run(), cli.json),
        Command::Quantize(args) => end(args.run(), cli.json),
        Command::Lint(args) => end(args.run(), cli.json),
        Command::Verify(args) => end(args.run(), cli.json),
        Command::Engine(args) => end(args.run(), cli.json),
        Command::BuildEngine(args) => finish(args.run(), false),
        Command::Plan(args) => end(args.run(), cli.json),
        Command::Bundle(args) => end(args.run(), cli.json),
        Command::Inspect(args) => end(args.run(), cli.json),
        Command::Repo(args) => end(args.run(), cli.json),
        Command::Deploy(args) => end(args.run(), cli.json),
    }
}

/// Shows a result as text or JSON, an error on stderr.
fn end<T: Serialize + Display>(result: Result<T>, json: bool) -> ExitCode {
    if let (Ok(value), false) = (&result, json) {
        print_line(value);
    }
    finish(result, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
