//! The terms of AMIS.md section 3, one file each, numbered as there. All are pure functions of tensors and differentiable where it says so.

pub mod cross_entropy;
pub mod distillation;
pub mod features;
pub mod orthogonality;
pub mod pooling;
pub mod pseudo_labels;
pub mod reference;
