use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use amis_export::{Error, Result};
use serde_json::Value;

/// A program of the toolkit: the one beside this program.
fn path(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|source| amis_artifacts::Error::Io { action: "find", path: "this program".into(), source })?;
    let path = own.with_file_name(program);
    if path.is_file() { Ok(path) } else { Err(Error::NoProgram { path }) }
}

/// Goes on as another program, which keeps terminal, signals and exit code; returns only if that fails.
pub(crate) fn become_program(program: &str, arguments: &[OsString]) -> Result<()> {
    let path = path(program)?;
    let source = Command::new(&path).args(arguments).exec();
    Err(amis_artifacts::Error::Io { action: "start", path, source }.into())
}

/// Runs a program with `--json` and gives its result; its messages go to stderr as they come, and it may ask for a passphrase.
pub(crate) fn run(program: &str, arguments: &[String]) -> Result<Value> {
    let path = path(program)?;
    let output = Command::new(&path).args(arguments).arg("--json").stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|source| amis_artifacts::Error::Io { action: "start", path, source })?;
    let command = || shown(program, arguments);
    if !output.status.success() {
        return Err(Error::Station { command: command(), status: output.status.to_string() });
    }
    serde_json::from_slice(&output.stdout).map_err(|e| Error::StationResult { command: command(), reason: e.to_string() })
}

/// A command as a person types it.
pub(crate) fn shown(program: &str, arguments: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+".contains(c);
    let quoted = |text: &String| if !text.is_empty() && text.chars().all(plain) { text.clone() } else { format!("'{}'", text.replace('\'', "'\\''")) };
    std::iter::once(program.to_owned()).chain(arguments.iter().map(quoted)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        let arguments = ["--set".to_owned(), "data.root=a b".into(), "it's".into(), String::new()];
        assert_eq!(shown("amis-train", &arguments), r"amis-train --set 'data.root=a b' 'it'\''s' ''");
    }
}
