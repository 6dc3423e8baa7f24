use std::collections::BTreeMap;

use amis_trainer::config::{Method, Preset};
use amis_trainer::model::{Mode, Precision, Segmenter};
use amis_trainer::optim::{Optimizer, Rule};
use amis_trainer::step::{losses, targets};
use tch::{Device, Tensor};

use super::Problem;

/// Networks, a batch and an optimizer: all that steps on one batch need.
pub struct Trainee {
    old: Segmenter,
    new: Segmenter,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
}

impl Trainee {
    pub fn new(problem: &Problem, device: Device, precision: Precision) -> Self {
        let segmenter = |groups: &_, weights: &_, trainable| {
            let network = Segmenter::new(&problem.spec, groups, problem.position_grid(), weights, device, trainable);
            network.unwrap().in_precision(precision)
        };
        Self {
            old: segmenter(&problem.groups.without_last(), &problem.old(), false),
            new: segmenter(&problem.groups, &problem.new_weights(), true),
            optimizer: Optimizer::new(Rule::Sgd, 1e-5).for_precision(precision),
            images: problem.images().to_device(device),
            labels: problem.labels().to_device(device),
        }
    }

    /// One step as the loop of `amis-train` does it: teacher, student, losses, backward, optimizer. Returns the terms by name, on the device.
    pub fn step(&mut self) -> Vec<(&'static str, Tensor)> {
        let method = Method::preset(Preset::Mbs);
        let targets = targets(Some(&self.old), &self.images, &self.labels, &method);
        let losses = losses(&self.new, &self.images, &targets, &targets.totals, &method, Mode::Eval);
        self.new.params.zero_grad();
        self.optimizer.scaled(losses.total()).backward();
        let _ = self.optimizer.update(&self.new.params, 1e-4, &|_| 1.0).unwrap();
        losses.terms
    }
}

/// The terms on the host; waits for the device.
pub fn values(terms: &[(&'static str, Tensor)]) -> BTreeMap<String, f64> {
    terms.iter().map(|(name, value)| ((*name).to_owned(), value.double_value(&[]))).collect()
}
