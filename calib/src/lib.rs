//! Ranges for INT8: observers on an FP32 graph, histograms of what they see, methods that choose a range, and the images to look at.

mod error;
pub mod histogram;
pub mod threshold;

pub use error::{Error, Result};
