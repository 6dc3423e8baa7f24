//! How long every station takes, how old pictures are, how steady they come, and what went wrong.

mod journal;
mod memory;
mod monitor;
mod progress;
mod prometheus;
mod rate;
mod times;

use std::collections::BTreeMap;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use journal::{Event, Journal};
pub use memory::{peak_rss_mib, rss_mib};
pub use monitor::{Monitor, Stage};
pub(crate) use progress::Worker;
pub use prometheus::prometheus;
pub(crate) use rate::FrameRate;
pub use times::Percentiles;

/// The stations of a frame, in order; the names in [`Summary::stages`]. [`Stage`] has the same order.
pub const STAGES: [&str; 6] = ["capture", "preprocess", "infer", "class_map", "overlay", "sink"];

/// What ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelInfo {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: u64,
    /// Precision of the graph.
    pub precision: String,
    /// Names of the classes, in order of their ids.
    pub classes: Vec<String>,
}

/// Where a camera of a run is, or how it ended.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Which camera, from 1; none in a run of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<usize>,
    /// Frames that went through all stations, warm-up not counted.
    pub frames: u64,
    /// Frames a second, from the start of the first to the end of the last.
    pub fps: f64,
    /// Frames of a realtime source that nobody saw: replaced by a newer one before their turn, or lost in the source.
    pub dropped: u64,
    /// Longest time between two finished frames.
    pub max_gap_ms: f64,
    /// From the start of the first frame to the end of the last.
    pub seconds: f64,
    /// Percentiles by station, see [`STAGES`]. `capture` includes waiting for the source.
    pub stages: BTreeMap<&'static str, Percentiles>,
    /// Age of pictures: from the moment they were taken until all sinks had them.
    pub age: Percentiles,
    /// What went wrong without ending the run, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The same over the last minute.
    pub minute: Minute,
    /// Largest resident memory of the process so far; 0 where the system does not tell.
    pub rss_mib: f64,
    /// Resident memory now.
    pub rss_now_mib: f64,
    /// What runs.
    pub model: ModelInfo,
}

/// How the model that serves has done since it does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Serving {
    /// Version of its bundle.
    pub version: u64,
    /// Frames that it has seen.
    pub frames: u64,
    /// Those in which it found nothing but background.
    pub blank_frames: u64,
    /// Of 20 inferences one took longer.
    pub infer_p95_ms: f64,
}

/// Statistics of all cameras of a run. As JSON that is the one summary, or `{"cameras": [SUMMARY, ...]}`.
#[derive(Debug, Clone)]
pub struct Report(pub Vec<Summary>);

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [summary] = &self.0[..] {
            return summary.serialize(serializer);
        }
        let mut report = serializer.serialize_struct("Report", 1)?;
        report.serialize_field("cameras", &self.0)?;
        report.end()
    }
}

/// The last minute of a run: 50 to 60 seconds, less at the start.
#[derive(Debug, Clone, Serialize)]
pub struct Minute {
    /// Frames shown.
    pub frames: u64,
    /// Frames a second.
    pub fps: f64,
    /// Percentiles by station, exact to two digits.
    pub stages: BTreeMap<&'static str, Percentiles>,
    /// Age of pictures.
    pub age: Percentiles,
    /// Time between two finished frames.
    pub gap: Percentiles,
}
