use amis_artifacts::model_spec::{Groups, MASK_NORM_EPS, ModelSpec};
use tch::{Kind, Tensor};

use super::Params;
use super::gab::GlobalAttention;
use super::layers::{Block, LayerNorm, Linear};
use crate::Result;
use crate::device::upload;

/// Largest rate of stochastic depth in the decoder; rates go linearly from 0 over the blocks (AMIS.md section 1).
const MAX_DROP_PATH: f64 = 0.1;
/// Smallest norm that L2 normalisation divides by, as PyTorch's `normalize`.
const NORM_FLOOR: f64 = 1e-12;

/// Mask transformer: patches meet class embeddings.
#[derive(Debug)]
pub(super) struct Decoder {
    proj_dec: Linear,
    gab: Option<GlobalAttention>,
    embeddings: Vec<Tensor>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    proj_patch: Tensor,
    proj_classes: Tensor,
    mask_weights: Vec<Tensor>,
    mask_biases: Vec<Tensor>,
}

/// What the decoder gives.
pub(super) struct Decoded {
    /// `[B, N, C]`, after `mask_norm`.
    pub(super) masks: Tensor,
    /// `[B, N, D]`, before they are brought to unit length.
    pub(super) patches: Tensor,
    /// `[B, C, D]`, before they are brought to unit length.
    pub(super) classes: Tensor,
    /// Mean of `|gamma s m|`, where there is a GAB.
    pub(super) gate: Option<Tensor>,
}

impl Decoder {
    pub(super) fn new(params: &Params, spec: &ModelSpec, groups: &Groups) -> Result<Self> {
        let dim = i64::from(spec.dim);
        let block = |i| Block::new(params, &format!("decoder.blocks.{i}"), dim, i64::from(spec.decoder_heads));
        let per_group = |name: &str, shape: &dyn Fn(i64) -> Vec<i64>| -> Result<Vec<Tensor>> {
            groups.0.iter().enumerate().map(|(k, &n)| params.get(&format!("decoder.{name}.{k}"), &shape(i64::from(n)))).collect()
        };
        Ok(Self {
            proj_dec: Linear::new(params, "decoder.proj_dec", dim, dim)?,
            gab: if spec.gab { Some(GlobalAttention::new(params, dim)?) } else { None },
            embeddings: per_group("cls_emb", &|n| vec![1, n, dim])?,
            blocks: (0..spec.decoder_depth).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::new(params, "decoder.decoder_norm", dim)?,
            proj_patch: params.get("decoder.proj_patch", &[dim, dim])?,
            proj_classes: params.get("decoder.proj_classes", &[dim, dim])?,
            mask_weights: per_group("mask_norm.weight", &|n| vec![n])?,
            mask_biases: per_group("mask_norm.bias", &|n| vec![n])?,
        })
    }

    /// Class embeddings of all groups `[1, C, D]`.
    pub(super) fn class_embeddings(&self) -> Tensor {
        Tensor::cat(&self.embeddings, 1)
    }

    /// Patch tokens `[B, N, D]`. `uniform` draws a sample's next number in 0..1 for stochastic depth; without it the network is deterministic. The blocks compute in `kind`.
    pub(super) fn forward(&self, tokens: &Tensor, mut uniform: Option<&mut dyn FnMut(usize) -> f64>, kind: Kind) -> Decoded {
        let mut x = self.proj_dec.forward(tokens);
        let mut gate = None;
        if let Some(gab) = &self.gab {
            let (gated, mean) = gab.forward(&x, &self.embeddings);
            (x, gate) = (gated, Some(mean));
        }
        let (batch, patches, dim) = x.size3().unwrap_or_default();
        let classes = self.class_embeddings().expand([batch, -1, dim], false);
        x = Tensor::cat(&[x, classes], 1);
        let last = (self.blocks.len() - 1).max(1) as f64;
        for (i, block) in self.blocks.iter().enumerate() {
            let rate = MAX_DROP_PATH * i as f64 / last;
            let keep = uniform.as_mut().filter(|_| rate > 0.0).map(|draw| [0; 2].map(|_| keep_mask(&x, batch, rate, *draw)));
            x = block.forward(&x, keep.as_ref(), kind);
        }
        let x = self.norm.forward(&x);
        let patch_features = x.slice(1, 0, patches, 1).matmul(&self.proj_patch);
        let class_features = x.slice(1, patches, None, 1).matmul(&self.proj_classes);
        let masks = self.mask_norm(&unit(&patch_features).matmul(&unit(&class_features).transpose(1, 2)));
        Decoded { masks, patches: patch_features, classes: class_features, gate }
    }

    /// Normalises `[B, N, C]` over C with the unbiased standard deviation, then scales and shifts per class.
    fn mask_norm(&self, masks: &Tensor) -> Tensor {
        let mean = masks.mean_dim([-1].as_slice(), true, None::<Kind>);
        let std = masks.std_dim([-1].as_slice(), true, true);
        (masks - mean) / (std + MASK_NORM_EPS) * Tensor::cat(&self.mask_weights, 0) + Tensor::cat(&self.mask_biases, 0)
    }
}

/// Rows of unit length over the last dimension.
fn unit(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1].as_slice(), true).clamp_min(NORM_FLOOR)
}

/// `[B, 1, 1]`: 0 for dropped samples, `1 / (1 - rate)` for kept ones.
fn keep_mask(like: &Tensor, batch: i64, rate: f64, draw: &mut dyn FnMut(usize) -> f64) -> Tensor {
    let mask: Vec<f32> = (0..batch).map(|sample| if draw(sample as usize) < rate { 0.0 } else { (1.0 / (1.0 - rate)) as f32 }).collect();
    upload(&Tensor::from_slice(&mask).view([batch, 1, 1]), like.device())
}
