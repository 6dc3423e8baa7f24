//! The measured process: our step, as the loop of `amis-train` does it.

use std::collections::BTreeMap;
use std::time::Instant;

use amis_trainer::config::{Method, Preset};
use amis_trainer::model::{Mode, Segmenter};
use amis_trainer::optim::{Optimizer, Rule};
use amis_trainer::step::{losses, targets};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::common::{Problem, cpu_seconds, memory_bytes};

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
    let segmenter = |groups: &_, weights: &_, trainable| Segmenter::new(&problem.spec, groups, problem.position_grid(), weights, Device::Cpu, trainable);
    let old = segmenter(&problem.groups.without_last(), &problem.old(), false).unwrap();
    let mut new = segmenter(&problem.groups, &problem.new_weights(), true).unwrap();
    let (images, labels) = (problem.images(), problem.labels());
    let method = Method::preset(Preset::Mbs);
    let mut optimizer = Optimizer::new(Rule::Sgd, 1e-5);
    let before = memory_bytes("VmRSS");
    let mut measured = Measured { seconds: vec![], cpu_seconds: vec![], losses: vec![], peak_bytes: 0, grown_bytes: 0 };
    for _ in 0..steps {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let targets = targets(Some(&old), &images, &labels, &method);
        let losses = losses(&new, &images, &targets, &targets.totals, &method, Mode::Eval);
        new.params.zero_grad();
        losses.total().backward();
        let _ = optimizer.update(&new.params, 1e-4, &|_| 1.0).unwrap();
        measured.losses.push(losses.terms.iter().map(|(name, value)| ((*name).to_owned(), value.double_value(&[]))).collect());
        measured.seconds.push(start.elapsed().as_secs_f64());
        measured.cpu_seconds.push(cpu_seconds() - cpu);
    }
    measured.peak_bytes = memory_bytes("VmHWM");
    measured.grown_bytes = measured.peak_bytes - before;
    measured
}
