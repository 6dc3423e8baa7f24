//! The terms of AMIS.md section 3, one file each, numbered as there. All are pure functions of tensors.
//!
//! A term that is a mean over pixels, patches or samples returns its sum: [`crate::step`] divides by the number over all micro-batches and processes.

pub mod cross_entropy;
pub mod distillation;
pub mod features;
pub mod orthogonality;
pub mod pooling;
pub mod pseudo_labels;
pub mod reference;
