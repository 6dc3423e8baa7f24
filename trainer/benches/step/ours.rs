//! The measured process.

use std::collections::BTreeMap;
use std::time::Instant;

use amis_trainer::model::Precision;
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::common::{Problem, Trainee, cpu_seconds, memory_bytes, values};

/// What a process found out, ours or PyTorch's.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Time of every step.
    pub seconds: Vec<f64>,
    /// Processor time of every step, all threads and the kernel together.
    pub cpu_seconds: Vec<f64>,
    /// Terms of every step by name.
    pub losses: Vec<BTreeMap<String, f64>>,
    /// Most memory the process has had.
    pub peak_bytes: u64,
    /// Most memory less what there was before the first step: activations, gradients, momentum.
    pub grown_bytes: u64,
}

/// Runs `steps` steps of SGD in this process.
pub fn measure(problem: &Problem, steps: usize) -> Measured {
    let mut trainee = Trainee::new(problem, Device::Cpu, Precision::Fp32);
    let before = memory_bytes("VmRSS");
    let mut measured = Measured { seconds: vec![], cpu_seconds: vec![], losses: vec![], peak_bytes: 0, grown_bytes: 0 };
    for _ in 0..steps {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        measured.losses.push(values(&trainee.step()));
        measured.seconds.push(start.elapsed().as_secs_f64());
        measured.cpu_seconds.push(cpu_seconds() - cpu);
    }
    measured.peak_bytes = memory_bytes("VmHWM");
    measured.grown_bytes = measured.peak_bytes - before;
    measured
}
