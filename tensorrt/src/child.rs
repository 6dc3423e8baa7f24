//! Building in a process of its own.
//!
//! TensorRT's builder takes much memory and is a lot of foreign code. When the kernel runs out of memory it ends that
//! process first, and when the builder crashes nothing else falls with it: [`build`] says what happened.
//!
//! Both ends speak one protocol: a line of JSON (`Job`) and the graph's bytes go in; lines of JSON (`Message`)
//! come out, and after the last of them the plan's bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::stdio;
use serde::{Deserialize, Serialize};

use crate::{BuildOptions, Engine, Error, Flavor, Library, LogLine, Progress, Version};

/// Longest line between the processes: the log of a build is part of one.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// What to build; the bytes of graph and timing cache follow.
#[derive(Serialize, Deserialize)]
struct Job {
    flavor: Flavor,
    options: BuildOptions,
    graph_bytes: u64,
    timing_cache_bytes: Option<u64>,
}

#[derive(Serialize, Deserialize)]
enum Message {
    Progress(Progress),
    /// The last one; the bytes of plan and timing cache follow.
    Done(Result<Built, Error>),
}

#[derive(Serialize, Deserialize)]
struct Built {
    version: Version,
    layer_count: usize,
    log: Vec<LogLine>,
    plan_bytes: u64,
    timing_cache_bytes: Option<u64>,
}

/// Builds an engine in the process that `command` starts, which has to call [`serve`].
///
/// # Errors
/// As [`Library::find`] and [`Library::build`]; the process cannot be started, was killed, or crashed.
pub fn build(command: &mut Command, flavor: Flavor, onnx: &[u8], options: &BuildOptions, on_progress: &mut dyn FnMut(Progress)) -> Result<Engine, Error> {
    let program = command.get_program().to_owned();
    let lost = |reason: String| Error::BuilderLost { program: program.clone().into(), reason };
    let kills = oom_kills();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| lost(e.to_string()))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // A builder that is dead does not read: its end says more than our broken pipe.
    let _ = stdin.map(|to| send(to, flavor, onnx, options));
    let received = stdout.map_or_else(|| Err(io::ErrorKind::BrokenPipe.into()), |from| receive(BufReader::new(from), on_progress));
    let status = child.wait().map_err(|e| lost(e.to_string()))?;
    // What has come whole counts, even if TensorRT crashes while it is taken down.
    received.unwrap_or_else(|reason| Err(fallen(status, oom_kills().saturating_sub(kills)).unwrap_or_else(|| lost(format!("{reason} ({status})")))))
}

/// The builder's side of [`build`]: takes a job from stdin, builds, and answers on stdout. For a hidden command of a program.
///
/// The process ends itself with its parent, and is the first one that the kernel ends when memory runs out.
///
/// # Errors
/// What stdin holds is no job, or the parent is gone. What goes wrong with the build is part of the answer.
pub fn serve() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Not allowed in every container; the build goes on without.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // TensorRT and CUDA print to stdout now and then: that goes to stderr, and stdout is ours alone.
    let out = Mutex::new(File::from(stdio::stdout().try_clone_to_owned()?));
    stdio::dup2_stdout(stdio::stderr())?;

    let mut from = io::stdin().lock();
    let job: Job = serde_json::from_str(&line(&mut from)?)?;
    let onnx = bytes(&mut from, job.graph_bytes)?;
    let timing_cache = job.timing_cache_bytes.map(|n| bytes(&mut from, n)).transpose()?;
    let options = BuildOptions { timing_cache, ..job.options };

    let say = |message: &Message| write_line(&mut *out.lock().unwrap_or_else(PoisonError::into_inner), message);
    // A parent that is gone has ended us by signal.
    let on_progress = |progress| drop(say(&Message::Progress(progress)));
    match Library::find(job.flavor).and_then(|library| library.build(&onnx, &options, &on_progress)) {
        Err(error) => say(&Message::Done(Err(error))),
        Ok(engine) => {
            let Engine { version, plan, layer_count, timing_cache, log } = engine;
            let cache = timing_cache.as_deref();
            let built = Built { version, layer_count, log, plan_bytes: plan.len() as u64, timing_cache_bytes: cache.map(|bytes| bytes.len() as u64) };
            say(&Message::Done(Ok(built)))?;
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(&plan)?;
            out.write_all(cache.unwrap_or_default())
        }
    }
}

fn send(mut to: impl Write, flavor: Flavor, onnx: &[u8], options: &BuildOptions) -> io::Result<()> {
    let cache = options.timing_cache.as_deref();
    let timing_cache_bytes = cache.map(|bytes| bytes.len() as u64);
    write_line(&mut to, &Job { flavor, options: options.clone(), graph_bytes: onnx.len() as u64, timing_cache_bytes })?;
    to.write_all(onnx)?;
    to.write_all(cache.unwrap_or_default())
}

/// Everything up to the last message. The inner result is the build's.
fn receive(mut from: impl BufRead, on_progress: &mut dyn FnMut(Progress)) -> io::Result<Result<Engine, Error>> {
    loop {
        match serde_json::from_str(&line(&mut from)?)? {
            Message::Progress(progress) => on_progress(progress),
            Message::Done(Err(error)) => return Ok(Err(error)),
            Message::Done(Ok(built)) => {
                let plan = bytes(&mut from, built.plan_bytes)?;
                let timing_cache = built.timing_cache_bytes.map(|n| bytes(&mut from, n)).transpose()?;
                return Ok(Ok(Engine { version: built.version, plan, layer_count: built.layer_count, timing_cache, log: built.log }));
            }
        }
    }
}

fn write_line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    to.write_all(&text)
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_LINE_BYTES).read_line(&mut text)?;
    if text.ends_with('\n') { Ok(text) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("its last line is cut after {} bytes", text.len()))) }
}

/// Exactly `n` bytes; memory is taken as they arrive.
fn bytes(from: &mut impl Read, n: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(n).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == n { Ok(bytes) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} of {n} bytes have come", bytes.len()))) }
}

/// Why a builder fell without an answer; `None` if it ended by itself.
fn fallen(status: ExitStatus, oom_kills: u64) -> Option<Error> {
    let signal = status.signal()?;
    let name = ["SIGINT", "SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGSEGV", "SIGTERM"];
    let name = [2, 4, 6, 7, 8, 9, 11, 15].iter().position(|&n| n == signal).map_or_else(|| format!("signal {signal}"), |at| name[at].to_owned());
    Some(match signal {
        2 | 9 | 15 => Error::BuilderKilled { signal: name, oom_kills },
        _ => Error::BuilderCrashed { signal: name },
    })
}

/// How many processes the kernel has ended so far because memory ran out; 0 where it does not say.
fn oom_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}
