//! Commands on the device by the system's `ssh`. One login serves all of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Error, Result};

/// Exit code of ssh itself; the commands that are run here do not end with it.
const OWN_FAILURE: i32 = 255;
/// Most that a command may say.
const MAX_OUTPUT_BYTES: u64 = 16 << 20;
/// Lines of a command's messages that are kept.
const KEPT_LINES: usize = 20;
/// Bytes that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// The way to a device, open.
pub(super) struct Ssh {
    to: String,
    options: Vec<String>,
    /// Holds the socket of the connection, and what `ssh` says about it.
    folder: TempDir,
    connection: Child,
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Answer {
    /// Exit code of the command.
    pub(super) code: i32,
    pub(super) out: String,
    /// The last lines of its messages.
    pub(super) messages: String,
}

impl Ssh {
    /// Logs in; where `ssh` asks for a password, the person at the terminal types it. `options` are of the form `NAME=VALUE`.
    ///
    /// # Errors
    /// [`Error::NoSsh`], [`Error::Ssh`].
    pub(super) fn open(to: &str, options: &[String]) -> Result<Self> {
        let no_ssh = |source| Error::NoSsh { source };
        let folder = tempfile::Builder::new().prefix("amis-").tempdir().map_err(no_ssh)?;
        let messages = std::fs::File::create(folder.path().join("messages")).map_err(no_ssh)?;
        let mut command = ssh(&folder.path().join("socket"), options);
        command
            .args(["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none", "-N", "--", to])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages);
        let connection = command.spawn().map_err(no_ssh)?;
        let mut ssh = Self { to: to.to_owned(), options: options.to_vec(), folder, connection };
        // The socket comes when the login is done.
        while !ssh.socket().exists() {
            if ssh.connection.try_wait().map_err(no_ssh)?.is_some() {
                return Err(ssh.lost(""));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(ssh)
    }

    /// Whom the messages name.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// Name or address of the device, as the person's settings of `ssh` resolve it.
    pub(super) fn host(&self) -> String {
        let asked = ssh(&self.socket(), &self.options).args(["-G", "--", &self.to]).output();
        let settings = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let host = settings.lines().find_map(|line| line.strip_prefix("hostname ")).unwrap_or(&self.to);
        host.rsplit('@').next().unwrap_or(host).to_owned()
    }

    /// Runs a script for `sh`, whatever the login shell is.
    ///
    /// # Errors
    /// [`Error::Ssh`]; a script that fails is an answer.
    pub(super) fn run(&self, script: &str) -> Result<Answer> {
        self.follow(script, &mut |_| {})
    }

    /// The same; `line` is told every line of its messages as it comes.
    ///
    /// # Errors
    /// [`Error::Ssh`].
    pub(super) fn follow(&self, script: &str, line: &mut dyn FnMut(&str)) -> Result<Answer> {
        let mut child = self.start(script, Stdio::null())?;
        let out = reading(child.stdout.take());
        let mut kept: Vec<String> = vec![];
        for text in lines(child.stderr.take()) {
            line(&text);
            keep(&mut kept, text);
        }
        self.end(child, out, kept)
    }

    /// The same, with the script's stdin from `from`; `sent` is told the bytes of every piece.
    ///
    /// # Errors
    /// [`Error::Ssh`] if the connection breaks; what is read fails.
    pub(super) fn send(&self, script: &str, from: &mut dyn Read, sent: &mut dyn FnMut(u64)) -> Result<Answer> {
        let mut child = self.start(script, Stdio::piped())?;
        let out = reading(child.stdout.take());
        let messages = child.stderr.take();
        let messages = thread::spawn(move || {
            lines(messages).fold(vec![], |mut kept, text| {
                keep(&mut kept, text);
                kept
            })
        });
        if let Some(mut to) = child.stdin.take() {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let count = from.read(&mut piece).map_err(|source| amis_artifacts::Error::Io { action: "read", path: "what is sent".into(), source })?;
                // A script that does not read has ended; its end says more than our broken pipe.
                if count == 0 || to.write_all(&piece[..count]).is_err() {
                    break;
                }
                sent(count as u64);
            }
        }
        let kept = messages.join().unwrap_or_default();
        self.end(child, out, kept)
    }

    fn start(&self, script: &str, stdin: Stdio) -> Result<Child> {
        let mut command = ssh(&self.socket(), &self.options);
        command
            .args(["-o", "ControlMaster=no", "-o", "BatchMode=yes", "-o", "RemoteCommand=none", "-T", "--", &self.to])
            .arg(format!("exec sh -c {}", quote(script)));
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|source| Error::NoSsh { source })
    }

    fn end(&self, mut child: Child, out: JoinHandle<String>, kept: Vec<String>) -> Result<Answer> {
        let status = child.wait().map_err(|source| Error::NoSsh { source })?;
        let messages = kept.join("\n");
        match status.code() {
            Some(code) if code != OWN_FAILURE => Ok(Answer { code, out: out.join().unwrap_or_default(), messages }),
            _ => Err(self.lost(&messages)),
        }
    }

    /// The connection is lost: the reason in ssh's own words.
    fn lost(&self, messages: &str) -> Error {
        // The connection's own process may need a moment to say why.
        thread::sleep(Duration::from_millis(100));
        let own = std::fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        let words = [own.as_str(), messages].into_iter().find_map(|text| text.lines().map(str::trim).rfind(|line| !line.is_empty()));
        Error::Ssh { to: self.to.clone(), reason: words.unwrap_or("ssh ended without a word").to_owned() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.connection.kill();
        let _ = self.connection.wait();
    }
}

/// `ssh` with what every call has. The person's options come first, since ssh takes the first of two values.
fn ssh(socket: &std::path::Path, options: &[String]) -> Command {
    let mut command = Command::new("ssh");
    command.args(options.iter().flat_map(|option| ["-o", option]));
    command.args(["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-S"]).arg(socket);
    command
}

/// A word of a script, whatever is in it.
pub(super) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn lines(pipe: Option<impl Read>) -> impl Iterator<Item = String> {
    let pieces = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe.take(MAX_OUTPUT_BYTES)).split(b'\n'));
    pieces.map_while(std::io::Result::ok).map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn keep(kept: &mut Vec<String>, line: String) {
    kept.push(line);
    if kept.len() > KEPT_LINES {
        kept.remove(0);
    }
}

fn reading(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = vec![];
        if let Some(pipe) = pipe {
            let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_what_the_shell_reads() {
        for word in ["", "a b", "it's", "'", "$(reboot)", "`x`", "a\\b\n*", "\"", "ü"] {
            let script = format!("printf %s {}", quote(word));
            let output = Command::new("sh").args(["-c", &format!("exec sh -c {}", quote(&script))]).output();
            assert_eq!(output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default(), word);
        }
    }
}
