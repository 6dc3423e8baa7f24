//! Ranges for INT8: histograms of what a tensor holds, and the methods that choose a range on them.

pub mod histogram;
pub mod threshold;
