use amis_artifacts::model_spec::{Groups, ModelSpec};
use amis_artifacts::weights::Weights;
use tch::{Device, Tensor, no_grad};

use super::Params;
use super::Precision;
use super::decoder::Decoder;
use super::encoder::Encoder;
use crate::Result;

/// Segmenter: ViT encoder, optional Global Attention Block, mask transformer.
#[derive(Debug)]
pub struct Segmenter {
    /// Sizes.
    pub spec: ModelSpec,
    /// Classes by step.
    pub groups: Groups,
    /// Rows and columns of the position embedding's grid.
    pub position_grid: [u32; 2],
    /// All parameters.
    pub params: Params,
    precision: Precision,
    encoder: Encoder,
    decoder: Decoder,
}

/// What the network gives for images `[B, 3, H, W]`.
#[derive(Debug)]
pub struct Output {
    /// Low-resolution masks `[B, C, ceil(H / P), ceil(W / P)]`.
    pub masks: Tensor,
    /// Projected patch features `[B, N, D]`, before they are brought to unit length.
    pub patches: Tensor,
    /// Projected class features `[B, C, D]`, before they are brought to unit length.
    pub class_features: Tensor,
    /// Mean opening of the Global Attention Block's gates, `|gamma s m|`.
    pub gate: Option<Tensor>,
}

/// Whether stochastic depth is on.
pub enum Mode<'a> {
    /// Training: the next number in 0..1 of a sample, named by its place in the batch, decides whether it drops a residual branch.
    Train(&'a mut dyn FnMut(usize) -> f64),
    /// Deterministic.
    Eval,
}

impl Segmenter {
    /// A network around weights under the reference names.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the sizes ask for.
    pub fn new(spec: &ModelSpec, groups: &Groups, position_grid: [u32; 2], weights: &Weights, device: Device, trainable: bool) -> Result<Self> {
        spec.validate()?;
        groups.validate()?;
        let params = Params::from_weights(weights, device, trainable)?;
        Ok(Self {
            encoder: Encoder::new(&params, spec, position_grid)?,
            decoder: Decoder::new(&params, spec, groups)?,
            spec: spec.clone(),
            groups: groups.clone(),
            position_grid,
            precision: Precision::default(),
            params,
        })
    }

    /// The same network with Linear layers and attention in another number format.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Class embeddings of all groups `[1, C, D]`.
    pub fn class_embeddings(&self) -> Tensor {
        self.decoder.class_embeddings()
    }

    /// Logits `[B, C, H, W]` of images `[B, 3, H, W]`, deterministic and without gradients.
    pub fn logits(&self, images: &Tensor) -> Tensor {
        no_grad(|| self.enlarge(&self.forward(images, Mode::Eval).masks, images))
    }

    /// Masks `[B, C, h, w]` at the size of the images `[_, 3, H, W]` they belong to: their logits `[B, C, H, W]`.
    ///
    /// Bilinear resizing mixes rows, then columns: two products with small matrices. On a CPU they take half the time of libtorch's operator for it, and a
    /// sixth backwards.
    pub fn enlarge(&self, masks: &Tensor, images: &Tensor) -> Tensor {
        let (mask, image, options) = (masks.size(), images.size(), (masks.kind(), masks.device()));
        let mix = |from: i64, to: i64| {
            let one_hot = Tensor::eye(from, options).view([1, 1, from, from]);
            one_hot.upsample_bilinear2d([from * i64::from(self.spec.patch_px), from], false, None, None).view([-1, from]).narrow(0, 0, to)
        };
        mix(mask[2], image[2]).matmul(&masks.matmul(&mix(mask[3], image[3]).transpose(0, 1)))
    }

    /// Runs the network on images `[B, 3, H, W]`. Sides that the patch does not divide are padded with zeros right and below.
    pub fn forward(&self, images: &Tensor, mode: Mode<'_>) -> Output {
        let patch = i64::from(self.spec.patch_px);
        let (batch, _, height, width) = images.size4().unwrap_or_default();
        let (pad_y, pad_x) = ((patch - height % patch) % patch, (patch - width % patch) % patch);
        let padded = if pad_y + pad_x > 0 { images.constant_pad_nd([0, pad_x, 0, pad_y]) } else { images.shallow_clone() };
        let tokens = self.encoder.forward(&padded, self.precision.kind());
        let decoded = match mode {
            Mode::Train(draw) => self.decoder.forward(&tokens, Some(draw), self.precision.kind()),
            Mode::Eval => self.decoder.forward(&tokens, None, self.precision.kind()),
        };
        let (rows, columns) = ((height + pad_y) / patch, (width + pad_x) / patch);
        let masks = decoded.masks.transpose(1, 2).reshape([batch, -1, rows, columns]);
        Output { masks, patches: decoded.patches, class_features: decoded.classes, gate: decoded.gate }
    }
}
