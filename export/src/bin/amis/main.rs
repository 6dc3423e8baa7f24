//! `amis`: one command from images of a new class to a published release, and a front to the three programs.

mod add_class;
mod data;
mod figures;
mod programs;
mod record;

use std::ffi::OsString;
use std::process::ExitCode;

use amis_artifacts::cli::{finish, print_line};
use clap::{Parser, Subcommand};

/// Adds a class to a published model, and is a front to amis-train, amis-export and amis-run.
#[derive(Debug, Parser)]
#[command(
    name = "amis",
    version,
    max_term_width = 120,
    after_help = "Examples:\n  amis add-class --from runs/yard/step-1 --images data/person --name person --publish site --keys keys\n  amis train doctor my.toml"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    AddClass(Box<add_class::Args>),
    /// amis-train with these arguments.
    #[command(disable_help_flag = true)]
    Train(Front),
    /// amis-export with these arguments.
    #[command(disable_help_flag = true)]
    Export(Front),
    /// amis-run with these arguments.
    #[command(disable_help_flag = true)]
    Run(Front),
}

#[derive(Debug, clap::Args)]
struct Front {
    /// Arguments of the program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::AddClass(args) => {
            let result = args.run();
            if let (Ok(done), false) = (&result, args.json) {
                print_line(done);
            }
            finish(result, args.json)
        }
        Command::Train(front) => finish(programs::become_program("amis-train", &front.arguments), false),
        Command::Export(front) => finish(programs::become_program("amis-export", &front.arguments), false),
        Command::Run(front) => finish(programs::become_program("amis-run", &front.arguments), false),
    }
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
