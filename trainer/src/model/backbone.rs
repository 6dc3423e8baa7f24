use amis_artifacts::model_spec::ModelSpec;
use serde::Deserialize;

/// Encoders that pretrained weights exist for: patches of 16 pixels, 12 blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backbone {
    /// Width 192, 3 heads.
    VitTiny,
    /// Width 384, 6 heads.
    VitSmall,
    /// Width 768, 12 heads.
    VitBase,
}

/// Width of an attention head in all of them, and in the reference decoder.
pub const HEAD_DIM: u32 = 64;

impl Backbone {
    const ALL: [Self; 3] = [Self::VitTiny, Self::VitSmall, Self::VitBase];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::VitTiny => "vit_tiny",
            Self::VitSmall => "vit_small",
            Self::VitBase => "vit_base",
        }
    }

    /// Sizes of a Segmenter around it, with the decoder of the reference: 2 blocks, heads of width 64.
    pub fn spec(self) -> ModelSpec {
        let dim = match self {
            Self::VitTiny => 192,
            Self::VitSmall => 384,
            Self::VitBase => 768,
        };
        let heads = dim / HEAD_DIM;
        ModelSpec { patch_px: 16, dim, depth: 12, heads, decoder_depth: 2, decoder_heads: heads, gab: false }
    }

    /// The one with these sizes.
    pub fn with_sizes(patch_px: u32, dim: u32, depth: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|backbone| {
            let spec = backbone.spec();
            (spec.patch_px, spec.dim, spec.depth) == (patch_px, dim, depth)
        })
    }
}
