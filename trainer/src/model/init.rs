use amis_artifacts::files::sha256;
use amis_artifacts::model_spec::{Groups, MLP_RATIO, ModelSpec};
use amis_artifacts::weights::{HostTensor, Weights};
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

/// Standard deviation of the truncated normal that linear weights and embeddings start from (timm's ViT).
const STD: f32 = 0.02;

/// Random starting weights under the reference names.
///
/// Every tensor has a random stream of its own, from seed and name, so that adding a part leaves the others as they were.
pub fn initial_weights(spec: &ModelSpec, groups: &Groups, position_grid: [u32; 2], seed: u64) -> Weights {
    let (dim, patch) = (spec.dim as usize, spec.patch_px as usize);
    let mut init = Init { seed, weights: Weights::new() };
    // Convolutions start as in PyTorch: uniform within 1 / sqrt(inputs).
    let bound = 1.0 / ((3 * patch * patch) as f32).sqrt();
    init.uniform("encoder.patch_embed.proj.weight", &[dim, 3, patch, patch], bound);
    init.uniform("encoder.patch_embed.proj.bias", &[dim], bound);
    init.normal("encoder.cls_token", &[1, 1, dim], STD);
    init.normal("encoder.pos_embed", &[1, 1 + (position_grid[0] * position_grid[1]) as usize, dim], STD);
    for i in 0..spec.depth {
        init.block(&format!("encoder.blocks.{i}"), dim);
    }
    init.norm("encoder.norm", dim);
    init.linear("decoder.proj_dec", dim, dim);
    if spec.gab {
        init.gab(dim);
    }
    for i in 0..spec.decoder_depth {
        init.block(&format!("decoder.blocks.{i}"), dim);
    }
    init.norm("decoder.decoder_norm", dim);
    // Segmenter scales its two projections by D^-1/2.
    let scale = 1.0 / (dim as f32).sqrt();
    init.normal("decoder.proj_patch", &[dim, dim], scale);
    init.normal("decoder.proj_classes", &[dim, dim], scale);
    for (k, &n) in groups.0.iter().enumerate() {
        init.group(k, n as usize, dim);
    }
    init.weights
}

/// Adds the parameters of a new last group. With `copy_background` every new embedding starts as the old background's (`weight_transfer`).
pub(crate) fn add_group(weights: &mut Weights, groups: &Groups, dim: usize, copy_background: bool, seed: u64) {
    let k = groups.0.len() - 1;
    let count = groups.0[k] as usize;
    let mut init = Init { seed, weights: std::mem::take(weights) };
    init.group(k, count, dim);
    *weights = init.weights;
    if copy_background && let Some(background) = weights.get("decoder.cls_emb.0").map(|t| t.data.clone()) {
        weights.insert(format!("decoder.cls_emb.{k}"), HostTensor { shape: vec![1, count, dim], data: background.repeat(count) });
    }
}

struct Init {
    seed: u64,
    weights: Weights,
}

impl Init {
    fn rng(&self, name: &str) -> Pcg64Mcg {
        let digest = sha256(format!("{}/{name}", self.seed).as_bytes());
        Pcg64Mcg::seed_from_u64(u64::from_str_radix(&digest[..16], 16).unwrap_or_default())
    }

    fn insert(&mut self, name: &str, shape: &[usize], data: Vec<f32>) {
        self.weights.insert(name.to_owned(), HostTensor { shape: shape.to_vec(), data });
    }

    fn normal(&mut self, name: &str, shape: &[usize], std: f32) {
        let mut rng = self.rng(name);
        let data = (0..shape.iter().product()).map(|_| std * truncated_normal(&mut rng)).collect();
        self.insert(name, shape, data);
    }

    fn uniform(&mut self, name: &str, shape: &[usize], bound: f32) {
        let mut rng = self.rng(name);
        let data = (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect();
        self.insert(name, shape, data);
    }

    fn constant(&mut self, name: &str, shape: &[usize], value: f32) {
        self.insert(name, shape, vec![value; shape.iter().product()]);
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.normal(&format!("{name}.weight"), &[outputs, inputs], STD);
        self.constant(&format!("{name}.bias"), &[outputs], 0.0);
    }

    fn norm(&mut self, name: &str, dim: usize) {
        self.constant(&format!("{name}.weight"), &[dim], 1.0);
        self.constant(&format!("{name}.bias"), &[dim], 0.0);
    }

    fn block(&mut self, name: &str, dim: usize) {
        let hidden = dim * MLP_RATIO as usize;
        self.norm(&format!("{name}.norm1"), dim);
        self.linear(&format!("{name}.attn.qkv"), dim, 3 * dim);
        self.linear(&format!("{name}.attn.proj"), dim, dim);
        self.norm(&format!("{name}.norm2"), dim);
        self.linear(&format!("{name}.mlp.fc1"), dim, hidden);
        self.linear(&format!("{name}.mlp.fc2"), hidden, dim);
    }

    fn gab(&mut self, dim: usize) {
        self.norm("decoder.gab.norm", dim);
        for part in ["wq", "wk", "wv"] {
            self.normal(&format!("decoder.gab.{part}.weight"), &[dim, dim], STD);
        }
        self.linear("decoder.gab.fc1", dim, dim / 4);
        self.linear("decoder.gab.fc2", dim / 4, dim);
        self.linear("decoder.gab.spatial", dim, 1);
        self.constant("decoder.gab.gamma", &[dim], 1.0);
    }

    fn group(&mut self, k: usize, count: usize, dim: usize) {
        self.normal(&format!("decoder.cls_emb.{k}"), &[1, count, dim], STD);
        self.constant(&format!("decoder.mask_norm.weight.{k}"), &[count], 1.0);
        self.constant(&format!("decoder.mask_norm.bias.{k}"), &[count], 0.0);
    }
}

/// Standard normal, drawn again beyond two standard deviations.
fn truncated_normal(rng: &mut impl Rng) -> f32 {
    loop {
        let value: f32 = StandardNormal.sample(rng);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}
