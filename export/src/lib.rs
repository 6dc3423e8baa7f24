//! Turns a checkpoint into an ONNX graph, verifies the graph, builds engines from it and packs it into a bundle.
//!
//! ```no_run
//! use std::path::Path;
//! use amis_artifacts::checkpoint::Checkpoint;
//! use amis_export::{graph, verify};
//!
//! # fn main() -> amis_export::Result<()> {
//! let checkpoint = Checkpoint::open(Path::new("checkpoints/step-2"))?;
//! let onnx = Path::new("model.cpu-fp32.onnx");
//! graph::export(&checkpoint, graph::Output::Masks, onnx)?;
//! let result = verify::verify(&checkpoint, onnx)?.require()?;
//! println!("logits differ by at most {}", result.max_abs_diff);
//! # Ok(())
//! # }
//! ```

pub mod bundle;
pub mod compare;
pub mod deploy;
mod error;
pub mod graph;
pub mod inspect;
pub mod passes;
pub mod plan;
pub mod repo;
pub mod sensitivity;
pub mod verify;

pub use error::{Error, Result};
