//! What is asked of a build, and what comes out of it.

use crate::{ComputeCapability, LogLine};

/// How an engine is built. Types are the graph's own: networks are strongly typed where TensorRT can (10 and later).
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The GPUs to build for, of those in [`Library::compute_capabilities`](crate::Library::compute_capabilities). Empty
    /// means TensorRT's own choice: TensorRT-RTX builds for 8.0 and later, TensorRT proper for the GPU of this machine.
    pub compute_capabilities: Vec<ComputeCapability>,
    /// Limit of the scratch memory that a layer may use on the device; `None`: TensorRT's own, all that the GPU has.
    pub workspace_bytes: Option<u64>,
}

/// A built engine.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The serialized engine, as TensorRT of the same version deserializes it.
    pub plan: Vec<u8>,
    /// Layers of the network before TensorRT fused them.
    pub layer_count: usize,
    /// What TensorRT and its parser said, verbose lines left out.
    pub log: Vec<LogLine>,
}
