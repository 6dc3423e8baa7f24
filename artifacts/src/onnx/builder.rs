use serde::{Deserialize, Serialize};

/// Metadata key: a [`Builder`] as JSON, in graphs for weakly typed builders.
pub const BUILDER_KEY: &str = "amis.builder";

/// What a weakly typed builder has to be told, because the graph's types do not say it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Builder {
    /// Builder flags in lower case: `fp16`, `int8`, `obey_precision_constraints`.
    pub flags: Vec<String>,
    /// Nodes whose layers and outputs are pinned to float32.
    pub float_nodes: Vec<String>,
}
