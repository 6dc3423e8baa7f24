use std::path::PathBuf;

use miette::Diagnostic;

/// What can go wrong while ranges are measured.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// A file of the road is damaged, too large, or cannot be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] amis_artifacts::Error),
    /// A picture cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] amis_data::Error),
    /// ONNX Runtime is missing.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Runtime(#[from] amis_runtime::Error),
    /// A graph that cannot be observed.
    #[error("{} cannot be calibrated: {reason}", path.display())]
    #[diagnostic(
        code(amis::input::calibration_graph),
        help("calibration takes the FP32 graph of this checkpoint, with one float32 input [1, 3, H, W]; `amis-export onnx` writes it")
    )]
    Graph {
        /// The ONNX file.
        path: PathBuf,
        /// Found and expected.
        reason: String,
    },
    /// A tensor with values that make no range.
    #[error("tensor {tensor} {problem} on image {}", image.display())]
    #[diagnostic(
        code(amis::input::tensor),
        help("the FP32 network itself fails on this image: check its weights (training that diverged) and `amis-export verify`; no range is made up for it")
    )]
    Tensor {
        /// Name in the graph.
        tensor: String,
        /// What was found.
        problem: String,
        /// The image.
        image: PathBuf,
    },
    /// A weight with values that make no range.
    #[error("weight {weight} of {} {problem}", path.display())]
    #[diagnostic(code(amis::input::calibration_weight), help("the network is damaged or its training diverged; export a sound checkpoint"))]
    Weight {
        /// The ONNX file.
        path: PathBuf,
        /// Name in the graph.
        weight: String,
        /// What was found.
        problem: String,
    },
    /// No image to calibrate with.
    #[error("no image to calibrate with, of {candidates} that are there")]
    #[diagnostic(
        code(amis::input::no_images),
        help("give a folder of camera images as --images and a --count over 0; random data would give ranges that no camera sees")
    )]
    NoImages {
        /// Images given.
        candidates: usize,
    },
    /// The machine gives no more threads.
    #[error("cannot start {threads} threads: {reason}")]
    #[diagnostic(code(amis::environment::threads), help("ask for fewer with --threads"))]
    Threads {
        /// Wanted.
        threads: usize,
        /// What the system answered.
        reason: String,
    },
    /// Inference failed.
    #[error("inference failed on image {}: {reason}", image.display())]
    #[diagnostic(code(amis::calib::infer), help("if the machine is short of memory, use fewer threads or a smaller input"))]
    Infer {
        /// The image.
        image: PathBuf,
        /// What ONNX Runtime answered.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
