//! The demo: the whole road on synthetic scenes, by the programs that people use, as separate processes.

pub mod demo;
mod error;
mod field;
mod programs;
mod summary;

pub use error::{Error, Result};
