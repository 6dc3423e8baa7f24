//! What TensorRT says while it works.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How serious TensorRT takes a line of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// TensorRT itself is broken.
    InternalError,
    /// The operation fails.
    Error,
    /// The operation goes on, perhaps not as meant.
    Warning,
    /// Progress.
    Info,
    /// Every step.
    Verbose,
}

impl Severity {
    /// From `nvinfer1::ILogger::Severity`.
    pub(crate) const fn from_raw(raw: i32) -> Self {
        match raw {
            0 => Self::InternalError,
            1 => Self::Error,
            2 => Self::Warning,
            3 => Self::Info,
            _ => Self::Verbose,
        }
    }
}

/// One line of TensorRT's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How serious it is.
    pub severity: Severity,
    /// TensorRT's words.
    pub text: String,
}

impl LogLine {
    /// Passes the line on to `tracing`. TensorRT is talkative: its progress is our debugging.
    pub(crate) fn trace(&self) {
        let text = &self.text;
        match self.severity {
            Severity::InternalError | Severity::Error => tracing::error!(target: "tensorrt", "{text}"),
            Severity::Warning => tracing::warn!(target: "tensorrt", "{text}"),
            Severity::Info => tracing::debug!(target: "tensorrt", "{text}"),
            Severity::Verbose => tracing::trace!(target: "tensorrt", "{text}"),
        }
    }
}

/// One refusal of the ONNX parser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParserError {
    /// `nvonnxparser::ErrorCode`: 3 unreadable model, 5 invalid graph, 6 invalid node, 8 to 13 unsupported node.
    pub code: u32,
    /// Name of the node; empty where the error concerns no node, or TensorRT is older than 9 and does not say.
    pub node: String,
    /// Operator of the node, empty as `node` is.
    pub op: String,
    /// Position of the node in the graph.
    pub node_index: Option<usize>,
    /// TensorRT's words.
    pub description: String,
}

impl fmt::Display for ParserError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node_index {
            Some(index) if self.node.is_empty() => write!(formatter, "node {index}: ")?,
            _ if self.node.is_empty() => {}
            _ => write!(formatter, "node {} ({}): ", self.node, self.op)?,
        }
        write!(formatter, "{} (parser code {})", self.description.trim(), self.code)
    }
}
