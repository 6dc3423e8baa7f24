//! Class-incremental training of a Segmenter with the AMIS method.
//!
//! The road is [`train::run`]: configuration, base step, one incremental step per later entry of the task, a checkpoint folder for each.

pub mod allocator;
pub mod compare;
pub mod config;
pub mod device;
pub mod distributed;
mod error;
pub mod eval;
pub mod foreign;
mod guard;
pub mod import;
pub mod loss;
pub mod model;
pub mod optim;
pub mod pretrained;
pub mod report;
pub mod step;
pub mod train;

pub use error::{Error, Result};
