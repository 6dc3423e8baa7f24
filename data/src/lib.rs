//! Images and labels for training: data sets in VOC layout, incremental tasks, checks, augmentation, batches,
//! and a synthetic street scene that needs no data set at all.
//!
//! Nothing here knows libtorch; batches are plain vectors.

mod error;
pub mod scene;
pub mod synth;

pub use error::{Error, Result};
