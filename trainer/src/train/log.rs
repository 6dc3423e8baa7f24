use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use amis_artifacts::{Error as ArtifactError, files};
use serde::{Deserialize, Serialize};

use super::Run;
use super::events::Events;
use crate::Result;
use crate::model::Precision;

/// Largest log that is read, in bytes: about a million lines.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// One line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LogRecord {
    /// A process begins to work on a step, or goes on with it.
    Started {
        /// Training step.
        step: usize,
        /// Iterations done in the step.
        iteration: usize,
        /// Version of this tool.
        tool_version: String,
        /// `cpu` or `cuda:N`.
        device: String,
        /// Number format of Linear layers and attention.
        precision: Precision,
        /// Threads that libtorch computes with on the CPU.
        threads: usize,
    },
    /// Loss terms of a batch.
    Losses {
        /// Training step.
        step: usize,
        /// Iteration in the step.
        iteration: usize,
        /// Learning rate.
        lr: f64,
        /// Weighted terms by name.
        terms: BTreeMap<String, f64>,
        /// Length of all gradients together, before clipping.
        #[serde(default)]
        gradient_norm: Option<f64>,
        /// What the loss was multiplied by in float16.
        #[serde(default)]
        loss_scale: Option<f64>,
        /// Mean opening of the Global Attention Block's gates.
        gate: Option<f64>,
        /// Images trained on per second, since the line before.
        images_per_s: f64,
    },
    /// Memory did not suffice for the micro-batches so far.
    Split {
        /// Training step.
        step: usize,
        /// Iteration in the step.
        iteration: usize,
        /// Images in a micro-batch from now on.
        micro_batch: usize,
    },
    /// A validation.
    Validation {
        /// Training step.
        step: usize,
        /// Iterations done in the step.
        iteration: usize,
        /// Mean IoU over the step's own classes, 0..1.
        own_miou: f64,
        /// IoU per class in the order of the output; none if absent and never predicted.
        iou: Vec<Option<f64>>,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A step has its checkpoint.
    Finished {
        /// Training step.
        step: usize,
        /// Iterations of the step.
        iteration: usize,
        /// Time spent on it in seconds, over all starts, validations included.
        seconds: f64,
    },
}

impl LogRecord {
    /// Place in the log: step, iteration, and what comes first in an iteration.
    fn place(&self) -> (usize, usize, u8) {
        match self {
            Self::Started { step, iteration, .. } => (*step, *iteration, 0),
            Self::Split { step, iteration, .. } => (*step, *iteration, 1),
            Self::Losses { step, iteration, .. } => (*step, *iteration, 2),
            Self::Validation { step, iteration, .. } => (*step, *iteration, 3),
            Self::Finished { step, iteration, .. } => (*step, *iteration, 4),
        }
    }
}

/// Appends to `log.jsonl`, and to TensorBoard's event file.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    events: Events,
}

impl Log {
    /// For the records of step `step`.
    pub(super) fn open(run: &Run<'_>, step: usize) -> Result<Self> {
        let path = run.dir.join("log.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let io = |source| ArtifactError::Io { action: "write", path: path.clone(), source };
        let mut file = file.map_err(io)?;
        // A line that a crash cut short must not swallow the next one.
        let text = files::read_limited(&path, "training log", MAX_LOG_BYTES)?;
        if text.last().is_some_and(|&byte| byte != b'\n') {
            file.write_all(b"\n").map_err(io)?;
        }
        Ok(Self { path, file, events: Events::new(run, step) })
    }

    pub(super) fn write(&mut self, record: &LogRecord) -> Result<()> {
        let line = serde_json::to_string(record).unwrap_or_default();
        writeln!(self.file, "{line}").map_err(|source| ArtifactError::Io { action: "write", path: self.path.clone(), source })?;
        self.events.write(record)
    }
}

/// Records of a run's `log.jsonl`. Where a resumed run repeated iterations, the later line counts; a line cut by a crash is left out.
///
/// # Errors
/// The file cannot be read, or is larger than a log can be.
pub fn read_log(dir: &Path) -> Result<Vec<LogRecord>> {
    let path = dir.join("log.jsonl");
    let text = files::read_limited(&path, "training log", MAX_LOG_BYTES)?;
    let mut records: BTreeMap<(usize, usize, u8), LogRecord> = BTreeMap::new();
    for line in text.split(|&b| b == b'\n') {
        let Ok(record) = serde_json::from_slice::<LogRecord>(line) else { continue };
        records.insert(record.place(), record);
    }
    Ok(records.into_values().collect())
}
