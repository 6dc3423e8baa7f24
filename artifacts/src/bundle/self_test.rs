use serde::{Deserialize, Serialize};

use super::{Fault, FileEntry};

/// Most frames of a self-test.
pub const MAX_FRAMES: usize = 16;
/// Largest picture of a self-test, in bytes.
pub const MAX_PICTURE_BYTES: u64 = 4 << 20;

/// What a device tries before it takes the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// Frames with what the float32 graph makes of them.
    pub frames: Vec<SelfTestFrame>,
    /// Share of all their pixels that must get the class that the map has, 0..1.
    pub min_agreement: f64,
    /// Longest that the network may take for one frame, as median; none: as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<f64>,
}

/// A frame with the class map that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SelfTestFrame {
    /// The frame, as an RGB PNG.
    pub image: FileEntry,
    /// Class ids at the frame's size, as a grey PNG.
    pub map: FileEntry,
}

impl SelfTest {
    pub(super) fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.frames.iter().flat_map(|frame| [&frame.image, &frame.map])
    }

    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut FileEntry> {
        self.frames.iter_mut().flat_map(|frame| [&mut frame.image, &mut frame.map])
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        let wrong = |reason: String| Err(Fault::Manifest { reason });
        if !(1..=MAX_FRAMES).contains(&self.frames.len()) {
            return wrong(format!("its self-test has {} frames, expected 1 to {MAX_FRAMES}", self.frames.len()));
        }
        if let Some(file) = self.files().find(|f| f.bytes > MAX_PICTURE_BYTES) {
            return wrong(format!("{} of its self-test has {} bytes, expected at most {MAX_PICTURE_BYTES}", file.file, file.bytes));
        }
        if !(0.0..=1.0).contains(&self.min_agreement) {
            return wrong(format!("min_agreement of its self-test is {}, expected 0 to 1", self.min_agreement));
        }
        match self.max_latency_ms {
            Some(ms) if !(ms.is_finite() && ms > 0.0) => wrong(format!("max_latency_ms of its self-test is {ms}, expected a number over 0")),
            _ => Ok(()),
        }
    }
}
