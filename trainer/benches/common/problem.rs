use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::weights::{HostTensor, Weights};
use amis_trainer::model::initial_weights;
use tch::{Device, Kind, Tensor};

/// Classes by step: VOC 15-1, step 1.
const GROUPS: [u32; 3] = [1, 15, 1];
const SEED: u64 = 7;
/// Side of the squares that labels consist of, in pixels.
const LABEL_PATCH_PX: i64 = 32;
/// Spread of the old network's logits: enough for pixels on both sides of the threshold of pseudo-labels.
const SHARPNESS: f32 = 4.0;
/// How far the new network has moved away from the old one, relative to its weights.
const DRIFT: f32 = 0.1;

/// A training step to measure: ViT with a decoder of two blocks, without GAB.
#[derive(Debug, Clone)]
pub struct Problem {
    pub spec: ModelSpec,
    pub groups: Groups,
    pub side_px: u32,
    pub batch: i64,
}

impl Problem {
    /// `vit_tiny`, `vit_small` or `vit_base` on `batch` square images.
    pub fn new(backbone: &str, side_px: u32, batch: i64) -> Option<Self> {
        let (dim, heads) = match backbone {
            "vit_tiny" => (192, 3),
            "vit_small" => (384, 6),
            "vit_base" => (768, 12),
            _ => return None,
        };
        let spec = ModelSpec { patch_px: 16, dim, depth: 12, heads, decoder_depth: 2, decoder_heads: heads, gab: false };
        Some(Self { spec, groups: Groups(GROUPS.to_vec()), side_px, batch })
    }

    pub fn position_grid(&self) -> [u32; 2] {
        [self.side_px / self.spec.patch_px; 2]
    }

    /// Random weights of the old network.
    pub fn old(&self) -> Weights {
        let mut weights = initial_weights(&self.spec, &self.groups.without_last(), self.position_grid(), SEED);
        for (_, tensor) in weights.iter_mut().filter(|(name, _)| name.starts_with("decoder.mask_norm.weight")) {
            tensor.data.iter_mut().for_each(|x| *x *= SHARPNESS);
        }
        weights
    }

    /// Weights of the new network: the old ones some way on, and one more class.
    pub fn new_weights(&self) -> Weights {
        let mut weights = initial_weights(&self.spec, &self.groups, self.position_grid(), SEED);
        weights.extend(self.old());
        let last = format!("decoder.cls_emb.{}", self.groups.0.len() - 1);
        weights.insert(last, weights["decoder.cls_emb.0"].clone());
        tch::manual_seed(SEED as i64);
        for tensor in weights.values_mut() {
            let values = Tensor::from_slice(&tensor.data);
            let moved = &values + values.randn_like() * values.square().mean(Kind::Float).sqrt() * f64::from(DRIFT);
            tensor.data = Vec::try_from(moved).unwrap();
        }
        weights
    }

    /// Size of both networks.
    pub fn network_bytes(&self) -> f64 {
        [self.old(), self.new_weights()].iter().flat_map(|weights| weights.values()).map(|t| 4.0 * t.data.len() as f64).sum()
    }

    /// Images `[B, 3, H, W]`: smooth shapes and noise.
    pub fn images(&self) -> Tensor {
        tch::manual_seed(SEED as i64 + 1);
        let side = i64::from(self.side_px);
        let float = (Kind::Float, Device::Cpu);
        let shapes = Tensor::randn([self.batch, 3, 8, 8], float).upsample_bilinear2d([side, side], false, None, None);
        shapes * 1.5 + Tensor::randn([self.batch, 3, side, side], float) * 0.3
    }

    /// Labels `[B, H, W]`: squares of background, the new class and 255.
    pub fn labels(&self) -> Tensor {
        tch::manual_seed(SEED as i64 + 2);
        let (side, new) = (i64::from(self.side_px), self.groups.classes() as i64 - 1);
        let squares = (side + LABEL_PATCH_PX - 1) / LABEL_PATCH_PX;
        let draw = Tensor::randint(10, [self.batch, squares, squares], (Kind::Int64, Device::Cpu));
        let labels = (draw.lt(4).to_kind(Kind::Int64) * new).masked_fill(&draw.eq(9), 255);
        let enlarged = labels.repeat_interleave_self_int(LABEL_PATCH_PX, 1, None).repeat_interleave_self_int(LABEL_PATCH_PX, 2, None);
        enlarged.narrow(1, 0, side).narrow(2, 0, side).contiguous()
    }
}

/// A tensor as float32 on the host, for a file.
pub fn to_host(tensor: &Tensor) -> HostTensor {
    let shape = tensor.size().iter().map(|&n| n as usize).collect();
    HostTensor { shape, data: Vec::try_from(tensor.to_kind(Kind::Float).contiguous().view(-1)).unwrap() }
}
