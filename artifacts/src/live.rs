//! `live.json`: the frames of a live run around a change of its model, for reports.

use serde::{Deserialize, Serialize};

/// A live run that took a release over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveRun {
    /// Frames in their order.
    pub frames: Vec<LiveFrame>,
    /// Frames that nobody saw.
    pub dropped: u64,
    /// Name of the model and the versions that served, in their order.
    pub versions: Vec<String>,
}

/// A frame of a live run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveFrame {
    /// When its result was there, in milliseconds after that of the first.
    pub at_ms: f64,
    /// From the picture to the result.
    pub age_ms: f64,
    /// Number of classes of the model that saw it.
    pub classes: usize,
}
