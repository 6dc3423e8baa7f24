use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use amis_artifacts::Error as ArtifactError;
use prost::Message;

use super::Run;
use super::log::LogRecord;
use crate::Result;

/// Writes the log as TensorBoard event files. The axis counts the iterations of all steps, so that a class has one curve from step to step.
///
/// Every start writes a file of its own, whose first record takes back what a killed start wrote behind the saved state.
pub(super) struct Events {
    dir: PathBuf,
    /// None before [`LogRecord::Started`].
    file: Option<(PathBuf, File)>,
    /// Names of the classes known in this step, in the order of the output.
    classes: Vec<String>,
    /// Classes of the base step.
    base_classes: usize,
    /// Iterations of the steps before.
    before: usize,
}

impl Events {
    /// For step `step` of a run; writes nothing yet.
    pub(super) fn new(run: &Run<'_>, step: usize) -> Self {
        Self {
            dir: run.dir.into(),
            file: None,
            classes: run.plan.classes.iter().take(run.plan.groups(step).classes()).map(|c| c.name.clone()).collect(),
            base_classes: run.plan.steps[0].len(),
            before: (0..step).map(|earlier| run.iterations(earlier)).sum(),
        }
    }

    /// Writes the scalars of a record. Those after `n` iterations of the step stand at `n`.
    ///
    /// # Errors
    /// The folder is not writable or the disk is full.
    pub(super) fn write(&mut self, record: &LogRecord) -> Result<()> {
        match record {
            LogRecord::Started { iteration, .. } => self.start(*iteration),
            LogRecord::Losses { step, iteration, lr, terms, gradient_norm, loss_scale, gate, images_per_s } => {
                let total = terms.values().sum();
                let terms = terms.iter().map(|(name, value)| (format!("loss/{name}"), Some(*value)));
                let rest = [("loss/total", Some(total)), ("train/lr", Some(*lr)), ("train/gate", *gate), ("train/images_per_s", Some(*images_per_s))];
                let more = [("train/step", Some(*step as f64)), ("train/gradient_norm", *gradient_norm), ("train/loss_scale", *loss_scale)];
                let rest = rest.into_iter().chain(more).map(|(tag, value)| (tag.to_owned(), value));
                self.scalars(iteration + 1, terms.chain(rest))
            }
            LogRecord::Validation { iteration, own_miou, iou, .. } => {
                let classes: Vec<(String, Option<f64>)> = self.classes.iter().zip(iou).map(|(name, iou)| (format!("iou/{name}"), *iou)).collect();
                let base = 1..1 + self.base_classes;
                let means = [("own", Some(*own_miou)), ("old", mean(&iou[base.clone()])), ("new", mean(&iou[base.end..])), ("all", mean(iou))];
                self.scalars(*iteration, classes.into_iter().chain(means.map(|(name, mean)| (format!("miou/{name}"), mean))))
            }
            LogRecord::Split { .. } | LogRecord::Finished { .. } => Ok(()),
        }
    }

    fn start(&mut self, done: usize) -> Result<()> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads the files of a folder in the order of their names.
        let path = self.dir.join(format!("events.out.tfevents.{:010}.{:09}.amis", since.as_secs(), since.subsec_nanos()));
        let io = |source| ArtifactError::Io { action: "write", path: path.clone(), source };
        let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(io)?;
        self.file = Some((path, file));
        self.append(Event { file_version: Some("brain.Event:2".into()), ..Event::at(0) })?;
        let start = SessionLog { status: SessionLog::START };
        self.append(Event { session_log: Some(start), ..Event::at(self.before + done + 1) })
    }

    fn scalars(&mut self, iteration: usize, values: impl Iterator<Item = (String, Option<f64>)>) -> Result<()> {
        let value = values.filter_map(|(tag, value)| value.map(|v| Scalar { tag, simple_value: Some(v as f32) })).collect();
        self.append(Event { summary: Some(Summary { value }), ..Event::at(self.before + iteration) })
    }

    fn append(&mut self, event: Event) -> Result<()> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        file.write_all(&framed(&event.encode_to_vec())).map_err(|source| ArtifactError::Io { action: "write", path: path.clone(), source }.into())
    }
}

/// Mean of the IoUs that there are, as in [`amis_artifacts::metrics::MeanIou`].
fn mean(ious: &[Option<f64>]) -> Option<f64> {
    let found: Vec<f64> = ious.iter().flatten().copied().collect();
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}

/// A record of a TFRecord file: length, its checksum, data, their checksum.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length, masked_crc(&length).as_slice(), data, &masked_crc(data)].concat()
}

/// The format masks its CRC-32C, because it may be taken over data that hold such sums.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// The part of TensorFlow's `Event` that scalars need.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

impl Event {
    /// An empty event of now.
    fn at(step: usize) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { wall_time: now.as_secs_f64(), step: step as i64, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional, so that a zero is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl SessionLog {
    /// A process starts here: a reader forgets what earlier files say from this step on.
    const START: i32 = 1;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Records that the package `tensorboard` 2.21 wrote with its own `RecordWriter`.
    #[test]
    fn records_are_those_of_tensorboard() {
        let at = |step| Event { wall_time: 1.5, step, ..Event::default() };
        let scalar = |tag: &str, value| Scalar { tag: tag.into(), simple_value: Some(value) };
        let summary = Summary { value: vec![scalar("loss/ce", 0.25), scalar("iou/car", 0.0)] };
        let records = [
            (Event { file_version: Some("brain.Event:2".into()), ..at(0) }, "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"),
            (Event { session_log: Some(SessionLog { status: SessionLog::START }), ..at(7) }, "0f000000000000006d532b0909000000000000f83f10073a020801774771c7"),
            (
                Event { summary: Some(summary), ..at(300) },
                "2e00000000000000c5cb57fa09000000000000f83f10ac022a200a0e0a076c6f73732f6365150000803e0a0e0a07696f752f636172150000000024f3be81",
            ),
        ];
        for (event, expected) in records {
            let found: String = framed(&event.encode_to_vec()).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn means_leave_out_what_has_no_iou() {
        assert_eq!((mean(&[Some(0.5), None, Some(0.0)]), mean(&[None]), mean(&[])), (Some(0.25), None, None));
    }
}
