use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use amis_artifacts::files;
use amis_export::repo::{Ask, KeyRing};
use amis_export::{Error, Result};

/// Environment variable with the passphrase.
const VARIABLE: &str = "AMIS_PASSPHRASE";
/// Longest passphrase file, in bytes.
const MAX_BYTES: u64 = 4096;

/// Where passphrases come from.
#[derive(Debug, clap::Args)]
pub(super) struct PassphraseArgs {
    /// File whose first line is the passphrase of all keys; without it AMIS_PASSPHRASE is taken, without that the terminal asks.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The keys in `folders`, opened with these passphrases.
    pub(super) fn ring(&self, folders: &[PathBuf]) -> Result<KeyRing<'static>> {
        let given = match &self.passphrase_file {
            Some(path) => {
                let bytes = files::read_limited(path, "a passphrase", MAX_BYTES)?;
                Some(String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned())
            }
            None => std::env::var(VARIABLE).ok(),
        };
        Ok(match given {
            Some(passphrase) => KeyRing::new(folders.to_vec(), move |_| Ok(passphrase.clone())),
            None => KeyRing::new(folders.to_vec(), ask),
        })
    }
}

fn ask(wanted: Ask) -> Result<String> {
    let what = match wanted {
        Ask::New(what) => what.to_owned(),
        Ask::Existing(path) => path.display().to_string(),
    };
    let failed = |reason: String| Error::Passphrase { what: what.clone(), reason };
    if !stdin().is_terminal() {
        return Err(failed("there is no terminal to ask on".into()));
    }
    let prompt = |text: String| rpassword::prompt_password(text).map_err(|e| failed(e.to_string()));
    match wanted {
        Ask::Existing(_) => prompt(format!("Passphrase of {what}: ")),
        Ask::New(_) => {
            let first = prompt(format!("New passphrase for {what}: "))?;
            if prompt("The same again: ".into())? != first {
                return Err(failed("it was typed differently the second time".into()));
            }
            Ok(first)
        }
    }
}
