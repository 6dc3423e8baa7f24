//! Runs a bundle: frames from a source through preprocessing and inference to class maps, overlays and sinks.
//!
//! [`pipeline::run`] is the whole road; every station of it is a module.

pub mod backend;
pub mod class_map;
pub mod doctor;
pub mod engine;
mod error;
mod exchange;
pub mod faults;
mod kernels;
pub mod model;
pub mod overlay;
pub mod pipeline;
mod pixels;
pub mod refine;
pub mod regions;
pub mod sensors;
pub mod sink;
pub mod source;
pub mod stats;
pub mod swap;
pub mod update;
mod uri;

pub use error::{Error, Result};
