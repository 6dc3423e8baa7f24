//! Files on their way to the device: gone on with where the link broke, and checked by their hash.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::ssh::{Ssh, quote};
use super::{Event, failed};
use crate::{Error, Result};

/// A file here.
pub(super) struct Local<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl<'a> Local<'a> {
    /// # Errors
    /// It cannot be read.
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let sha256 = amis_artifacts::files::sha256_file(path)?;
        let bytes = std::fs::metadata(path).map_err(|source| amis_artifacts::Error::Io { action: "read", path: path.into(), source })?.len();
        Ok(Self { path, bytes, sha256 })
    }

    /// Copies it to `target` on the device; `prefix` is whom the commands there run as. Bytes that are there are not sent again. Gives the bytes sent.
    ///
    /// # Errors
    /// [`Error::Ssh`] if the link breaks, and what has arrived is kept; the device cannot write; it arrives damaged twice.
    pub(super) fn copy(&self, ssh: &Ssh, prefix: &str, target: &str, watch: &mut dyn FnMut(Event<'_>)) -> Result<u64> {
        let what = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = quote(target);
        let sh = |script: String| format!("{prefix}sh -c {}", quote(&script));
        let mut sent = 0;
        for last in [false, true] {
            let begin = sh(format!("mkdir -p \"$(dirname {file})\" && touch {file} && wc -c <{file}"));
            let answer = ssh.run(&begin)?;
            let there: u64 = match (answer.code, answer.out.trim().parse()) {
                (0, Ok(there)) => there,
                _ => return Err(failed(ssh, format!("write {target}"), &answer)),
            };
            if there < self.bytes {
                let io = |source| amis_artifacts::Error::Io { action: "read", path: self.path.into(), source };
                let mut from = File::open(self.path).map_err(io)?;
                from.seek(SeekFrom::Start(there)).map_err(io)?;
                let mut done = there;
                let answer = ssh.send(&sh(format!("cat >>{file} && sync {file}")), &mut from, &mut |count| {
                    done += count;
                    sent += count;
                    watch(Event::Bytes { what: &what, done, all: self.bytes });
                });
                watch(Event::Quiet);
                let answer = answer?;
                if answer.code != 0 {
                    return Err(failed(ssh, format!("write {target}"), &answer));
                }
            }
            let answer = ssh.run(&sh(format!("sha256sum <{file}")))?;
            if answer.out.split_whitespace().next() == Some(&self.sha256) {
                return Ok(sent);
            }
            let removed = ssh.run(&sh(format!("rm -f {file}")))?;
            if last || removed.code != 0 {
                break;
            }
        }
        Err(Error::Device {
            to: ssh.to().into(),
            tried: format!("copy {what}"),
            reason: format!("{target} does not get the SHA-256 {}", self.sha256),
            advice: "its disk may be failing, or another one writes there too".into(),
        })
    }
}
