//! Passes over a finished graph: Q/DQ, FP16, what a target needs, and the linter that every export goes through.
//!
//! ```no_run
//! use std::collections::{BTreeMap, BTreeSet};
//! use std::path::Path;
//! use amis_artifacts::onnx;
//! use amis_export::passes::{Job, Precision, prepare, target::Target};
//!
//! # fn main() -> amis_export::Result<()> {
//! let mut model = onnx::read(Path::new("model.cpu-fp32.onnx"))?;
//! let ranges = BTreeMap::from([("image".to_owned(), 2.64)]); // and one for every other input of a Linear
//! prepare(&mut model, &Job { target: &Target::find("rtx")?, precision: Precision::Int8, ranges: &ranges, keep: &BTreeSet::new(), parent: None })?;
//! onnx::write(Path::new("model.rtx-int8.onnx"), &model)?;
//! # Ok(())
//! # }
//! ```

pub(crate) mod edit;
mod emulate;
mod fp16;
mod layer_norm;
pub mod lint;
mod opset;
mod prepare;
mod qdq;
pub mod smooth;
pub mod target;

pub use emulate::emulate;
pub use prepare::{Job, Precision, Prepared, TARGET_KEY, prepare};
