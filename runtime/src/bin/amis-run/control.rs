//! The socket through which a run is asked: a line of JSON there, a line of JSON back.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use amis_runtime::stats::{Event, Report};
use amis_runtime::{Error, Result};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state;
use crate::watch::Watch;

/// Longest question.
const MAX_QUESTION_BYTES: u64 = 64 << 10;
/// Longest time that a question may take to come.
const QUESTION_TIME: Duration = Duration::from_secs(5);

/// What a run can be asked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// Its statistics and events.
    Status,
    /// To let this bundle take over.
    Swap(PathBuf),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Failed(String),
}

/// The answer to [`Question::Status`].
#[derive(Serialize)]
struct Live {
    statistics: Report,
    /// Oldest first.
    events: Vec<Event>,
}

/// Answers questions until the process ends.
pub(crate) fn serve(path: &Path, watch: &Watch) -> Result<()> {
    let failed = |e: std::io::Error| Error::Listen { address: path.display().to_string(), reason: e.to_string() };
    // Left by a run that was killed: `State::begin` has asked whether anybody answers.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(failed)?;
    let watch = watch.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let watch = watch.clone();
            thread::spawn(move || answer(stream, &watch));
        }
    });
    Ok(())
}

fn answer(mut stream: UnixStream, watch: &Watch) -> std::io::Result<()> {
    stream.set_read_timeout(Some(QUESTION_TIME))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_QUESTION_BYTES)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Status) => {
            let statistics = Report(watch.monitors.iter().map(|monitor| monitor.summary()).collect());
            done(&Live { statistics, events: watch.journal.events_after(0) })
        }
        Ok(Question::Swap(bundle)) => match watch.swap.change(|| watch.options.open_model(&bundle)) {
            Ok(info) => done(&info),
            Err(error) => Answer::Failed(told(&error)),
        },
        Err(error) => Answer::Failed(format!("the question was not understood: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    stream.write_all(&text)
}

fn done(value: &impl Serialize) -> Answer {
    serde_json::to_value(value).map_or_else(|e| Answer::Failed(e.to_string()), Answer::Done)
}

fn told(error: &Error) -> String {
    let help = error.help().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{error}{help}")
}

/// Asks the run in a folder.
pub(crate) fn ask(folder: &Path, question: &Question) -> Result<Value> {
    let failed = |reason: String| Error::Control { path: folder.to_owned(), reason };
    let mut stream = UnixStream::connect(state::socket(folder)).map_err(|e| failed(e.to_string()))?;
    let mut text = serde_json::to_vec(question).map_err(|e| failed(e.to_string()))?;
    text.push(b'\n');
    let mut line = String::new();
    stream.write_all(&text).and_then(|()| BufReader::new(&stream).read_line(&mut line)).map_err(|e| failed(e.to_string()))?;
    match serde_json::from_str(&line) {
        Ok(Answer::Done(value)) => Ok(value),
        Ok(Answer::Failed(reason)) => Err(Error::Swap { reason }),
        Err(error) => Err(failed(format!("its answer was not understood: {error}"))),
    }
}
