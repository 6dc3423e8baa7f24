//! x
/// c
pub mod config;
mod error;
/// l
pub mod loss;
/// m
pub mod model;
/// o
pub mod optim;
/// s
pub mod step;
pub use error::{Error, Result};
