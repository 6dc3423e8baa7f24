//! Ranges for INT8: observers on an FP32 graph, histograms of what they see, methods that choose a range, and the images to look at.
//!
//! [`calibrate()`] is the whole road: a graph and images in, the table `calibration.json` out.

mod calibrate;
mod choice;
mod coverage;
mod error;
mod feed;
pub mod histogram;
mod images;
mod network;
mod observer;
mod output_error;
mod rows;
pub mod threshold;
mod weights;

pub use calibrate::{Progress, Subject, calibrate, channel_maxima};
pub use choice::Images;
pub use coverage::FEW_IMAGES;
pub use error::{Error, Result};
