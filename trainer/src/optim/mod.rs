//! Optimizers with state of our own, because tch cannot save that of its optimizers.

mod schedule;

pub use schedule::{Schedule, learning_rate};

use std::collections::BTreeMap;

use amis_artifacts::weights::Weights;
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use crate::model::{GAMMA, Params};
use crate::{Error, Result};

/// Which rule updates the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Momentum 0.9, Nesterov: the reference recipe, for pretrained weights.
    Sgd,
    /// Adam with decoupled weight decay: for training from scratch.
    AdamW,
}

/// Momentum of SGD (AMIS.md section 4).
const MOMENTUM: f64 = 0.9;
/// Decay of AdamW's two averages and the floor of its denominator: PyTorch's defaults.
const BETAS: (f64, f64) = (0.9, 0.999);
const ADAM_EPS: f64 = 1e-8;
/// Prefixes of the two averages in a file.
const STATE_NAMES: [&str; 2] = ["momentum", "square"];

/// An optimizer and its state.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    weight_decay: f64,
    updates: i64,
    /// First and second average per parameter; SGD uses the first only.
    state: BTreeMap<String, [Tensor; 2]>,
}

impl Optimizer {
    /// An optimizer without history.
    pub fn new(rule: Rule, weight_decay: f64) -> Self {
        Self { rule, weight_decay, updates: 0, state: BTreeMap::new() }
    }

    /// Updates every parameter that has a gradient; `factor` scales the learning rate of a parameter by its name, 0 leaves it and its state alone.
    pub fn update(&mut self, params: &Params, learning_rate: f64, factor: &dyn Fn(&str) -> f64) {
        self.updates += 1;
        no_grad(|| {
            for (name, param) in params.iter() {
                let (gradient, factor) = (param.grad(), factor(name));
                if gradient.defined() && factor > 0.0 {
                    self.update_one(name, param, &gradient, learning_rate * factor);
                }
            }
        });
    }

    fn update_one(&mut self, name: &str, param: &Tensor, gradient: &Tensor, learning_rate: f64) {
        let mut param = param.shallow_clone();
        let fresh = || [gradient.zeros_like(), gradient.zeros_like()];
        let [first, second] = self.state.entry(name.to_owned()).or_insert_with(fresh);
        match self.rule {
            Rule::Sgd => {
                // As the reference, but for the gates, which start closed where a network got them later.
                let weight_decay = if name == GAMMA { 0.0 } else { self.weight_decay };
                let gradient = gradient + &param * weight_decay;
                // With a buffer of zeros this equals PyTorch, whose first buffer is the gradient itself.
                let _ = first.g_mul_scalar_(MOMENTUM).g_add_(&gradient);
                let _ = param.g_sub_(&((gradient + &*first * MOMENTUM) * learning_rate));
            }
            Rule::AdamW => {
                if decays(name, &param) {
                    let _ = param.g_mul_scalar_(1.0 - learning_rate * self.weight_decay);
                }
                let _ = first.g_mul_scalar_(BETAS.0).g_add_(&(gradient * (1.0 - BETAS.0)));
                let _ = second.g_mul_scalar_(BETAS.1).g_add_(&(gradient.square() * (1.0 - BETAS.1)));
                let correction = |beta: f64| 1.0 - beta.powi(self.updates as i32);
                let denominator = (&*second / correction(BETAS.1)).sqrt() + ADAM_EPS;
                let _ = param.g_sub_(&(&*first / denominator * (learning_rate / correction(BETAS.0))));
            }
        }
    }

    /// The state as tensors, for a file.
    ///
    /// # Errors
    /// libtorch fails to copy.
    pub fn to_weights(&self) -> Result<Weights> {
        let mut weights = Weights::new();
        for (name, tensors) in &self.state {
            for (prefix, tensor) in STATE_NAMES.iter().zip(tensors) {
                weights.insert(format!("{prefix}.{name}"), crate::model::to_host(tensor)?);
            }
        }
        Ok(weights)
    }

    /// Takes the state back after `updates` updates.
    ///
    /// # Errors
    /// The state belongs to other parameters.
    pub fn restore(&mut self, updates: i64, state: &Weights, params: &Params) -> Result<()> {
        self.updates = updates;
        let saved = Params::from_weights(state, tch::Device::Cpu, false)?;
        for (name, param) in params.iter() {
            let one = |prefix: &str| -> Result<Tensor> { Ok(saved.get(&format!("{prefix}.{name}"), &param.size())?.to_device(param.device())) };
            if state.contains_key(&format!("{}.{name}", STATE_NAMES[0])) {
                self.state.insert(name.to_owned(), [one(STATE_NAMES[0])?, one(STATE_NAMES[1])?]);
            }
        }
        if 2 * self.state.len() != state.len() {
            return Err(Error::Weights { network: "the optimizer", reason: format!("{} tensors for {} parameters", state.len(), self.state.len()) });
        }
        Ok(())
    }
}

/// AdamW decays matrices and kernels; not biases, norms, gates and embeddings, as is usual for ViTs.
fn decays(name: &str, param: &Tensor) -> bool {
    param.dim() > 1 && !["cls_token", "pos_embed", "cls_emb"].iter().any(|part| name.contains(part))
}
