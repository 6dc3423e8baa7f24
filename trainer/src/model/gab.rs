use tch::{Kind, Tensor};

use super::Params;
use super::layers::{LayerNorm, Linear};
use crate::Result;

/// Opens the gates: a factor per channel.
pub(crate) const GAMMA: &str = "decoder.gab.gamma";

/// Global Attention Block (AMIS.md section 2): gates the patch tokens by what the tasks' prototypes say about the image.
#[derive(Debug)]
pub(super) struct GlobalAttention {
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    fc1: Linear,
    fc2: Linear,
    spatial: Linear,
    gamma: Tensor,
    dim: i64,
}

impl GlobalAttention {
    pub(super) fn new(params: &Params, dim: i64) -> Result<Self> {
        let name = |part: &str| format!("decoder.gab.{part}");
        Ok(Self {
            norm: LayerNorm::new(params, &name("norm"), dim)?,
            query: Linear::without_bias(params, &name("wq"), dim, dim)?,
            key: Linear::without_bias(params, &name("wk"), dim, dim)?,
            value: Linear::without_bias(params, &name("wv"), dim, dim)?,
            fc1: Linear::new(params, &name("fc1"), dim, dim / 4)?,
            fc2: Linear::new(params, &name("fc2"), dim / 4, dim)?,
            spatial: Linear::new(params, &name("spatial"), dim, 1)?,
            gamma: params.get(GAMMA, &[dim])?,
            dim,
        })
    }

    /// Tokens `[B, N, D]` and class embeddings per task `[1, n_k, D]` -> gated tokens `[B, N, D]` and the mean of `|gamma s m|`.
    pub(super) fn forward(&self, x: &Tensor, embeddings: &[Tensor]) -> (Tensor, Tensor) {
        let prototypes: Vec<Tensor> = embeddings.iter().map(|e| mean_over(e, 1).squeeze_dim(0)).collect();
        let prototypes = Tensor::stack(&prototypes, 0); // t [K, D]
        let normed = self.norm.forward(x);
        let image = mean_over(&normed, 1); // g [B, D]
        let scores = self.query.forward(&image).matmul(&self.key.forward(&prototypes).transpose(0, 1)) / (self.dim as f64).sqrt();
        let attention = scores.softmax(-1, None::<Kind>); // a [B, K]
        let context = &image + attention.matmul(&self.value.forward(&prototypes)); // c [B, D]
        let channel = self.fc2.forward(&self.fc1.forward(&context).gelu("none")).sigmoid().unsqueeze(1); // s [B, 1, D]
        let spatial = self.spatial.forward(&(&normed * &channel)).sigmoid(); // m [B, N, 1]
        let gate = &self.gamma * &channel * &spatial;
        (x + x * &gate, gate.detach().abs().mean(Kind::Float))
    }
}

fn mean_over(x: &Tensor, dim: i64) -> Tensor {
    x.mean_dim([dim].as_slice(), false, None::<Kind>)
}
