use amis_artifacts::model_spec::{LAYER_NORM_EPS, MLP_RATIO};
use tch::{Kind, Tensor};

use super::Params;
use crate::Result;

/// `x W^T + b`.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn new(params: &Params, name: &str, inputs: i64, outputs: i64) -> Result<Self> {
        let bias = Some(params.get(&format!("{name}.bias"), &[outputs])?);
        Ok(Self { weight: params.get(&format!("{name}.weight"), &[outputs, inputs])?, bias })
    }

    pub(super) fn without_bias(params: &Params, name: &str, inputs: i64, outputs: i64) -> Result<Self> {
        Ok(Self { weight: params.get(&format!("{name}.weight"), &[outputs, inputs])?, bias: None })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }

    /// In a number format of its own; casting to the format that is there costs nothing.
    fn forward_in(&self, x: &Tensor, kind: Kind) -> Tensor {
        x.to_kind(kind).linear(&self.weight.to_kind(kind), self.bias.as_ref().map(|bias| bias.to_kind(kind)))
    }
}

/// LayerNorm over the last dimension.
#[derive(Debug)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    dim: i64,
}

impl LayerNorm {
    pub(super) fn new(params: &Params, name: &str, dim: i64) -> Result<Self> {
        Ok(Self { weight: params.get(&format!("{name}.weight"), &[dim])?, bias: params.get(&format!("{name}.bias"), &[dim])?, dim })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm([self.dim], Some(&self.weight), Some(&self.bias), LAYER_NORM_EPS, false)
    }
}

/// Pre-norm transformer block.
#[derive(Debug)]
pub(super) struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: i64,
}

impl Block {
    pub(super) fn new(params: &Params, name: &str, dim: i64, heads: i64) -> Result<Self> {
        let hidden = dim * i64::from(MLP_RATIO);
        Ok(Self {
            norm1: LayerNorm::new(params, &format!("{name}.norm1"), dim)?,
            qkv: Linear::new(params, &format!("{name}.attn.qkv"), dim, 3 * dim)?,
            proj: Linear::new(params, &format!("{name}.attn.proj"), dim, dim)?,
            norm2: LayerNorm::new(params, &format!("{name}.norm2"), dim)?,
            fc1: Linear::new(params, &format!("{name}.mlp.fc1"), dim, hidden)?,
            fc2: Linear::new(params, &format!("{name}.mlp.fc2"), hidden, dim)?,
            heads,
        })
    }

    /// `x` `[B, N, D]`. `keep` `[B, 1, 1]` scales the two residual branches (stochastic depth: 0 or 1 / keep probability), one mask each.
    /// Linear layers and attention compute in `kind`; the sums stay in the format of `x`.
    pub(super) fn forward(&self, x: &Tensor, keep: Option<&[Tensor; 2]>, kind: Kind) -> Tensor {
        let branch = |value: Tensor, which: usize| match keep {
            Some(masks) => value * &masks[which],
            None => value,
        };
        let x = x + branch(self.attention(&self.norm1.forward(x), kind), 0);
        let hidden = self.fc1.forward_in(&self.norm2.forward(&x), kind).gelu("none");
        let mlp = self.fc2.forward_in(&hidden, kind);
        &x + branch(mlp, 1)
    }

    fn attention(&self, x: &Tensor, kind: Kind) -> Tensor {
        let (batch, tokens, dim) = x.size3().unwrap_or_default();
        // Query, key and value are columns of one product, [B, heads, N, D / heads] each; cut by one operator, their gradients come together in one copy.
        let heads: Vec<Tensor> =
            self.qkv.forward_in(x, kind).chunk(3, 2).iter().map(|part| part.view([batch, tokens, self.heads, dim / self.heads]).transpose(1, 2)).collect();
        let mixed = Tensor::scaled_dot_product_attention(&heads[0], &heads[1], &heads[2], None::<Tensor>, 0.0, false, None, false);
        self.proj.forward_in(&mixed.transpose(1, 2).reshape([batch, tokens, dim]), kind)
    }
}
