use std::path::{Path, PathBuf};

use amis_runtime::{Error, Result};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Example:
  amis-run manual pages";

/// Arguments of `amis-run manual`, which packaging calls.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder for the files, which is made
    folder: PathBuf,
}

/// Writes a man page for every command, and completions for bash, zsh and fish.
pub(crate) fn run(args: &Args, mut command: clap::Command) -> Result<()> {
    let folder = &args.folder;
    write(folder, &mut command).map_err(|error| Error::Sink { path: folder.clone(), reason: error.to_string() })
}

fn write(folder: &Path, command: &mut clap::Command) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, command, "amis-run", folder)?;
    }
    // Pages of `amis-run help COMMAND` would say nothing.
    clap_mangen::generate_to(command.clone().disable_help_subcommand(true), folder)
}
