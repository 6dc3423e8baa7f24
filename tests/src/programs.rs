use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::{Error, Result};

/// Of the demo's keys, which protect nothing.
const PASSPHRASE: &str = "demo";

/// Starts the programs of the toolkit, shows what a person would type, and measures how long each station takes.
pub(crate) struct Programs {
    folder: PathBuf,
    /// Seconds by station.
    pub(crate) seconds: BTreeMap<&'static str, f64>,
}

impl Programs {
    /// The programs beside this one; tests lie one folder deeper.
    pub(crate) fn beside_this() -> Result<Self> {
        let own = std::env::current_exe().map_err(|source| amis_artifacts::Error::Io { action: "find", path: "this program".into(), source })?;
        let folder = own.ancestors().skip(1).take(2).find(|f| f.join("amis-train").is_file());
        let folder = folder.ok_or_else(|| Error::Missing { path: own.with_file_name("amis-train") })?.to_owned();
        Ok(Self { folder, seconds: BTreeMap::new() })
    }

    /// Runs a program with `--json` and gives its result; its messages go to stderr as they come.
    pub(crate) fn run(&mut self, station: &'static str, program: &str, arguments: &[&str]) -> Result<Value> {
        let path = self.folder.join(program);
        let command = std::iter::once(program).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ");
        eprintln!("\n> {command}");
        let started = Instant::now();
        let output =
            Command::new(&path).env("AMIS_PASSPHRASE", PASSPHRASE).args(arguments).arg("--json").stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|_| Error::Missing { path })?;
        *self.seconds.entry(station).or_default() += started.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(Error::Station { command, status: output.status.to_string() });
        }
        serde_json::from_slice(&output.stdout).map_err(|e| Error::Result { command, reason: e.to_string() })
    }

    /// Starts a program that goes on until it is stopped.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Result<Started> {
        let path = self.folder.join(program);
        let command = std::iter::once(program).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ");
        eprintln!("\n> {command} &");
        let child = Command::new(&path).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Started { command, child: child.map_err(|_| Error::Missing { path })? })
    }
}

/// A program that runs; ended with the guard.
pub(crate) struct Started {
    /// What a person would type.
    pub(crate) command: String,
    child: Child,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
