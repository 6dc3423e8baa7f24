//! x
pub mod config;
mod error;
pub mod loss;
pub mod model;
pub mod optim;
pub mod step;
pub use error::{Error, Result};
