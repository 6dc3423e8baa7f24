use std::path::PathBuf;

use miette::Diagnostic;

/// What can go wrong while a bundle runs.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A file of the road is damaged, too large or cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] amis_artifacts::Error),
    /// The library of ONNX Runtime is missing, too old or not ONNX Runtime.
    #[error("cannot load ONNX Runtime; looked for {looked_for}: {reason}")]
    #[diagnostic(
        code(amis::environment::onnxruntime),
        help(
            "install it with `pip install onnxruntime==1.32.0` and set ORT_DYLIB_PATH to the libonnxruntime.so.1.32.0 in its folder onnxruntime/capi; in a clone of this project `make setup` installs it and `make env` prints the setting"
        )
    )]
    OnnxRuntime {
        /// The library file and where its name came from.
        looked_for: String,
        /// What the loader or the library answered.
        reason: String,
    },
    /// A graph that cannot be run.
    #[error("{} cannot be run: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::graph),
        help("a graph has one float32 input [1, 3, H, W] and one float32 output [1, C, h, w], all sizes fixed; `amis-export onnx` writes such graphs")
    )]
    Graph {
        /// The ONNX file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// Inference failed.
    #[error("inference failed: {reason}")]
    #[diagnostic(code(amis::runtime::infer), help("run `amis-run doctor`; if the machine is short of memory, use a smaller model or input"))]
    Infer {
        /// What the backend answered.
        reason: String,
    },
    /// Network output that cannot be turned into classes.
    #[error("the network's output cannot be used: {reason}")]
    #[diagnostic(
        code(amis::runtime::logits),
        help("`amis-export verify` compares the graph with its checkpoint; values that are not numbers come from an overflow in low precision")
    )]
    Logits {
        /// Found and expected.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
