use amis_trainer::model::Precision;

use super::Problem;

/// Floats of D channels that a transformer block keeps for the backward pass, a token: the input and the middle of the residual stream, two norms, query,
/// key and value, the attention's output, and two times four in the MLP. The first two are float32 in every precision.
const RESIDUAL: f64 = 2.0;
const INNER: f64 = 14.0;
/// Tensors `[C, H, W]` of one image that exist at once while the terms over pixels are differentiated.
const PIXEL_TENSORS: f64 = 7.0;
/// Bytes a pixel for labels, completed labels and weights, and what they are made with.
const LABEL_BYTES: f64 = 28.0;
const F32: f64 = 4.0;

/// What a training step needs beside the two networks, in bytes (docs/benchmarks.md, Memory).
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Kept by the blocks for the backward pass.
    pub activations: f64,
    /// Terms over pixels: one image, and the labels of the batch.
    pub pixels: f64,
    /// Gradients and momentum; in 16 bits also a copy of the weights.
    pub parameters: f64,
}

impl Memory {
    pub fn of(problem: &Problem, precision: Precision) -> Self {
        let number = if precision == Precision::Fp32 { F32 } else { 2.0 };
        let (spec, classes) = (&problem.spec, problem.groups.classes() as f64);
        let (batch, pixels, dim) = (problem.batch as f64, f64::from(problem.side_px).powi(2), f64::from(spec.dim));
        let patch_values = 3.0 * f64::from(spec.patch_px).powi(2);
        let patches = pixels / f64::from(spec.patch_px).powi(2);
        let tokens = f64::from(spec.depth) * (1.0 + patches) + f64::from(spec.decoder_depth) * (patches + classes);
        let a_token = dim * (RESIDUAL * F32 + INNER * number);
        let parameters: f64 = problem.new_weights().values().map(|t| t.data.len() as f64).sum();
        Self {
            activations: batch * (tokens * a_token + patches * patch_values * F32),
            pixels: PIXEL_TENSORS * classes * pixels * F32 + batch * pixels * LABEL_BYTES,
            parameters: parameters * (2.0 * F32 + if precision == Precision::Fp32 { 0.0 } else { number }),
        }
    }

    pub fn total(&self) -> f64 {
        self.activations + self.pixels + self.parameters
    }
}
