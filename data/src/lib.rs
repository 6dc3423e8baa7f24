//! Images and labels for training: data sets on disk, incremental tasks, checks, augmentation, batches,
//! and a synthetic street scene that needs no data set at all.
//!
//! Nothing here knows libtorch; batches are plain vectors.

pub mod augment;
pub mod class_index;
mod class_names;
mod color;
pub mod doctor;
mod error;
pub mod folder;
pub mod images;
pub mod import;
pub mod label_mapping;
pub mod labels;
pub mod layout;
mod lists;
pub mod loader;
mod permuted;
pub mod protocol;
pub mod scene;
pub mod synth;

pub use error::{Error, Result};
