use amis_artifacts::model_spec::ModelSpec;
use tch::{Kind, Tensor};

use super::layers::{Block, LayerNorm};
use super::{Params, position};
use crate::Result;

/// ViT encoder.
#[derive(Debug)]
pub(super) struct Encoder {
    patch_weight: Tensor,
    patch_bias: Tensor,
    class_token: Tensor,
    position: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    patch_px: i64,
    grid: [i64; 2],
}

impl Encoder {
    pub(super) fn new(params: &Params, spec: &ModelSpec, grid: [u32; 2]) -> Result<Self> {
        let (dim, patch_px, grid) = (i64::from(spec.dim), i64::from(spec.patch_px), grid.map(i64::from));
        let block = |i| Block::new(params, &format!("encoder.blocks.{i}"), dim, i64::from(spec.heads));
        Ok(Self {
            patch_weight: params.get("encoder.patch_embed.proj.weight", &[dim, 3, patch_px, patch_px])?,
            patch_bias: params.get("encoder.patch_embed.proj.bias", &[dim])?,
            class_token: params.get("encoder.cls_token", &[1, 1, dim])?,
            position: params.get("encoder.pos_embed", &[1, 1 + grid[0] * grid[1], dim])?,
            blocks: (0..spec.depth).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::new(params, "encoder.norm", dim)?,
            patch_px,
            grid,
        })
    }

    /// Images `[B, 3, H, W]` with sides that the patch divides -> patch tokens `[B, N, D]`. The blocks compute in `kind`.
    pub(super) fn forward(&self, images: &Tensor, kind: Kind) -> Tensor {
        let (batch, channels, height, width) = images.size4().unwrap_or_default();
        let (patch, grid) = (self.patch_px, [height / self.patch_px, width / self.patch_px]);
        // A convolution whose stride is the size of its kernel is a product of patches and kernel: on a CPU a third of the time.
        let patches = images.reshape([batch, channels, grid[0], patch, grid[1], patch]).permute([0, 2, 4, 1, 3, 5]).reshape([batch, grid[0] * grid[1], -1]);
        let tokens = patches.linear(&self.patch_weight.flatten(1, 3), Some(&self.patch_bias));
        let class_token = self.class_token.expand([batch, 1, -1], false);
        let mut x = Tensor::cat(&[class_token, tokens], 1) + self.position_for(grid);
        for block in &self.blocks {
            x = block.forward(&x, None, kind);
        }
        // The class token has done its work inside the blocks.
        self.norm.forward(&x).slice(1, 1, None, 1)
    }

    /// Position embedding for a grid of `rows` x `columns`, bilinear where it differs from the learned one.
    fn position_for(&self, grid: [i64; 2]) -> Tensor {
        if grid == self.grid {
            return self.position.shallow_clone();
        }
        position::resize(&self.position, self.grid, grid)
    }
}
