//! What is asked of a build, and what comes out of it.

use serde::{Deserialize, Serialize};

use crate::{ComputeCapability, LogLine, Version};

/// How an engine is built. Types are the graph's own: networks are strongly typed where TensorRT can (10 and later).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOptions {
    /// The GPUs to build for, of those in [`Library::compute_capabilities`](crate::Library::compute_capabilities). Empty
    /// means TensorRT's own choice: TensorRT-RTX builds for 8.0 and later, TensorRT proper for the GPU of this machine.
    pub compute_capabilities: Vec<ComputeCapability>,
    /// Limit of the scratch memory that a layer may use on the device; `None`: as `memory_bytes`.
    pub workspace_bytes: Option<u64>,
    /// Limit of what the builder takes to try layers, for what this machine has free ([`Gpu::free_bytes`](crate::Gpu));
    /// `None`: TensorRT's own, most of what the GPU has.
    pub memory_bytes: Option<u64>,
    /// Largest batch of a graph whose inputs have a dynamic one: the engine takes 1 to this, and this one best.
    pub max_batch: Option<u16>,
    /// The DLA core that gets the layers that it can run; the others go to the GPU.
    pub dla_core: Option<u8>,
    /// What a weakly typed network may be lowered to (TensorRT 8); `None`: to what the graph itself holds.
    pub lowering: Option<Lowering>,
    /// What an earlier build learned about the speed of layers on this GPU: makes the next one faster. Empty: begin to
    /// learn; `None`: keep nothing. One that does not fit is begun anew, with a warning.
    #[serde(skip)]
    pub timing_cache: Option<Vec<u8>>,
}

/// What TensorRT 8 may lower a float32 graph to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowering {
    /// FP16 is allowed.
    pub fp16: bool,
    /// INT8 is allowed.
    pub int8: bool,
    /// No layer may be computed in another precision than is asked for.
    pub obey: bool,
    /// Nodes whose layers stay float32.
    pub float_nodes: Vec<String>,
}

/// How far a phase of a build is. TensorRT 8 does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// TensorRT's name for it.
    pub phase: String,
    /// The phase that it is part of.
    pub parent: Option<String>,
    /// Steps done: 0 when it begins, `steps` when it ends.
    pub step: u32,
    /// Steps there are.
    pub steps: u32,
}

/// A built engine.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The TensorRT that built it.
    pub version: Version,
    /// The serialized engine, as TensorRT of the same version deserializes it.
    pub plan: Vec<u8>,
    /// Layers of the network before TensorRT fused them.
    pub layer_count: usize,
    /// What to give the next build, where [`BuildOptions::timing_cache`] was given.
    pub timing_cache: Option<Vec<u8>>,
    /// What TensorRT and its parser said, verbose lines left out.
    pub log: Vec<LogLine>,
}
