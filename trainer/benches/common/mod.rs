//! What the benchmarks of a training step share: the problem, the step, and what a process measures of itself.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unused_imports)]

mod arithmetic;
pub mod problem;
mod process;
mod trainee;

pub use arithmetic::Memory;
pub use problem::Problem;
pub use process::{cpu_seconds, memory_bytes};
pub use trainee::{Trainee, values};

/// The middle value; of an even number, the upper one of the two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
