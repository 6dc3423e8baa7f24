//! The files of the road from images to device, each defined once and used by its writer and its reader.
//!
//! Nothing here knows libtorch, ONNX Runtime or TensorRT.

pub mod allocator;
pub mod board;
pub mod bundle;
pub mod calibration;
pub mod checkpoint;
pub mod classes;
pub mod cli;
pub mod engine;
mod error;
pub mod files;
pub mod image_spec;
pub mod live;
pub mod metrics;
pub mod model_spec;
pub mod onnx;
pub mod patch;
pub mod preprocess;
pub mod release;
pub mod resize;
pub mod weights;

pub use error::{Error, Result};
