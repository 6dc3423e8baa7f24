//! Runs a bundle: frames from a source through preprocessing and inference to class maps, overlays and sinks.

pub mod backend;
pub mod class_map;
mod error;

pub use error::{Error, Result};
