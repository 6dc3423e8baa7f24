//! Optimizers with state of our own, because tch cannot save that of its optimizers.

mod gradients;
mod scaler;
mod schedule;
#[cfg(test)]
mod tests;

pub use scaler::Scaler;
pub use schedule::{Schedule, learning_rate};

use std::collections::BTreeMap;

use amis_artifacts::weights::Weights;
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use crate::model::{GAMMA, Params, Precision};
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
/// Floor of the norm that clipping divides by: PyTorch's default.
const CLIP_EPS: f64 = 1e-6;
/// Prefixes of the two averages in a file.
const STATE_NAMES: [&str; 2] = ["momentum", "square"];

/// An optimizer and its state: all that lies between gradients and weights.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    weight_decay: f64,
    clip_norm: Option<f64>,
    scaler: Option<Scaler>,
    updates: i64,
    /// Average of the gradients, by parameter.
    first: BTreeMap<String, Tensor>,
    /// Average of their squares; AdamW alone has it.
    second: BTreeMap<String, Tensor>,
}

impl Optimizer {
    /// An optimizer without history.
    pub fn new(rule: Rule, weight_decay: f64) -> Self {
        Self { rule, weight_decay, clip_norm: None, scaler: None, updates: 0, first: BTreeMap::new(), second: BTreeMap::new() }
    }

    /// The same optimizer, which shortens gradients that are longer than this all together.
    pub fn clipped(self, clip_norm: Option<f64>) -> Self {
        Self { clip_norm, ..self }
    }

    /// The same optimizer, which scales the loss where the precision needs it.
    pub fn for_precision(self, precision: Precision) -> Self {
        Self { scaler: (precision == Precision::Fp16).then(Scaler::default), ..self }
    }

    /// The scaler of the loss, if there is one.
    pub fn scaler(&self) -> Option<&Scaler> {
        self.scaler.as_ref()
    }

    /// Updates done.
    pub fn updates(&self) -> i64 {
        self.updates
    }

    /// A loss as the backward pass needs it.
    pub fn scaled(&self, loss: Tensor) -> Tensor {
        match &self.scaler {
            Some(scaler) => loss * scaler.scale,
            None => loss,
        }
    }

    /// Updates every parameter that has a gradient; `factor` scales the learning rate of a parameter by its name.
    /// Returns the length of all gradients together, before clipping: a scalar on their device.
    ///
    /// With a scaler the host waits for one number, that length; where it is not finite, nothing is updated and the scale is halved. Without a scaler the
    /// host waits for nothing.
    ///
    /// # Errors
    /// Gradients were not finite so often that a smaller scale will not help; names the first one.
    pub fn update(&mut self, params: &Params, learning_rate: f64, factor: &dyn Fn(&str) -> f64) -> Result<Tensor> {
        let mut norm = gradients::norm(params);
        let mut correction = None;
        if let Some(scaler) = &mut self.scaler {
            let inverse = 1.0 / scaler.scale;
            norm *= inverse;
            let finite = norm.double_value(&[]).is_finite();
            scaler.count(finite);
            if let Some(times) = scaler.exhausted() {
                let tensor = gradients::first_not_finite(params).unwrap_or_default();
                return Err(Error::Overflow { tensor, times, scale: scaler.scale });
            }
            if !finite {
                return Ok(norm);
            }
            correction = Some(norm.full_like(inverse));
        }
        if let Some(longest) = self.clip_norm {
            let clip = ((&norm + CLIP_EPS).reciprocal() * longest).clamp_max(1.0);
            correction = Some(correction.map_or_else(|| clip.shallow_clone(), |scale| scale * &clip));
        }
        if let Some(correction) = correction {
            gradients::scale(params, &correction);
        }
        self.updates += 1;
        no_grad(|| {
            for (name, param) in params.iter() {
                let (gradient, factor) = (param.grad(), factor(name));
                if gradient.defined() {
                    self.update_one(name, param, &gradient, learning_rate * factor);
                }
            }
        });
        Ok(norm)
    }

    fn update_one(&mut self, name: &str, param: &Tensor, gradient: &Tensor, learning_rate: f64) {
        let mut param = param.shallow_clone();
        let first = self.first.entry(name.to_owned()).or_insert_with(|| gradient.zeros_like());
        match self.rule {
            Rule::Sgd => {
                // As the reference, but for the gates, which start closed where a network got them later.
                let weight_decay = if name == GAMMA { 0.0 } else { self.weight_decay };
                // `x.addcmul(y, number)` is x + number * y in one pass.
                let number = |value: f64| gradient.new_full([], value, (gradient.kind(), gradient.device()));
                let mut direction = gradient.addcmul(&param, &number(weight_decay));
                // With a buffer of zeros this equals PyTorch, whose first buffer is the gradient itself.
                let _ = first.g_mul_scalar_(MOMENTUM).g_add_(&direction);
                let _ = direction.addcmul_(first, &number(MOMENTUM));
                let _ = param.addcmul_(&direction, &number(-learning_rate));
            }
            Rule::AdamW => {
                let second = self.second.entry(name.to_owned()).or_insert_with(|| gradient.zeros_like());
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
        for (prefix, averages) in STATE_NAMES.iter().zip([&self.first, &self.second]) {
            for (name, tensor) in averages {
                weights.insert(format!("{prefix}.{name}"), crate::model::to_host(tensor)?);
            }
        }
        Ok(weights)
    }

    /// Takes the state back after `updates` updates.
    ///
    /// # Errors
    /// The state belongs to other parameters.
    pub fn restore(&mut self, updates: i64, scaler: Option<Scaler>, state: &Weights, params: &Params) -> Result<()> {
        self.updates = updates;
        self.scaler = scaler.or(self.scaler.take());
        let saved = Params::from_weights(state, tch::Device::Cpu, false)?;
        for (prefix, averages) in STATE_NAMES.iter().zip([&mut self.first, &mut self.second]) {
            for (name, param) in params.iter() {
                let key = format!("{prefix}.{name}");
                if state.contains_key(&key) {
                    averages.insert(name.to_owned(), saved.get(&key, &param.size())?.to_device(param.device()));
                }
            }
        }
        let found = self.first.len() + self.second.len();
        if found != state.len() {
            return Err(Error::Weights { network: "the optimizer", reason: format!("{} tensors, {found} of them for parameters of the network", state.len()) });
        }
        Ok(())
    }
}

/// AdamW decays matrices and kernels; not biases, norms, gates and embeddings, as is usual for ViTs.
fn decays(name: &str, param: &Tensor) -> bool {
    param.dim() > 1 && !["cls_token", "pos_embed", "cls_emb"].iter().any(|part| name.contains(part))
}
