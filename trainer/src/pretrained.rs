//! The encoder of a base step from pretrained weights: timm's Vision Transformers, or the encoder of a reference checkpoint.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use amis_artifacts::files;
use amis_artifacts::model_spec::ModelSpec;
use amis_artifacts::weights::Weights;
use serde::{Deserialize, Serialize};

use crate::foreign::names::{blocks, family, prefixes};
use crate::foreign::{ForeignWeights, foreign};
use crate::model::{Backbone, resize_position};
use crate::{Error, Result};

/// A tensor that every Vision Transformer with timm's names has; what stands before it is the network's place in the file.
const ANCHOR: &str = "patch_embed.proj.weight";
const POSITION: &str = "pos_embed";
/// Beginnings of names that take part in an encoder's computation. Heads, and what pretraining alone uses, have others.
const ENCODER_PARTS: [&str; 8] = ["blocks.", "patch_embed.", "norm_pre.", "norm.", "reg_token", "register_token", "pos_embed", "rope"];

/// What became of the tensors of a file (`pretrained.json` beside a run). Names of the network are the reference's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The file.
    pub file: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What stands before the network's names in the file.
    pub prefix: String,
    /// Tensors of the network that were taken as they are.
    pub matched: Vec<String>,
    /// Tensors that were resized.
    pub resized: Vec<Resized>,
    /// Tensors of the file that nothing was done with.
    pub left_in_file: Vec<String>,
    /// Tensors of the network that the file does not have; they start as without it.
    pub left_in_network: Vec<String>,
}

/// A position embedding that was brought to another grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// Tensor of the network.
    pub name: String,
    /// Rows and columns in the file.
    pub from: [u32; 2],
    /// Rows and columns in the network.
    pub to: [u32; 2],
}

impl LoadReport {
    /// The report in one line, for a log.
    pub fn summary(&self) -> String {
        let resized: Vec<String> =
            self.resized.iter().map(|r| format!(", {} resized from {}x{} to {}x{}", r.name, r.from[0], r.from[1], r.to[0], r.to[1])).collect();
        format!(
            "{}: {} tensors taken{}; left in the file: {}; left in the network: {}",
            self.file.display(),
            self.matched.len(),
            resized.concat(),
            listed(&self.left_in_file),
            listed(&self.left_in_network)
        )
    }
}

/// A few names and the number of the others.
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [first @ .., _] if first.len() >= 3 => format!("{} and {} more", names[..3].join(", "), names.len() - 3),
        all => all.join(", "),
    }
}

/// A file whose encoder fits a network, before its values are read.
#[derive(Debug)]
pub struct Pretrained {
    file: ForeignWeights,
    prefix: String,
    /// Rows and columns of the position embedding.
    grid: [u32; 2],
}

impl Pretrained {
    /// Opens a file and checks that its encoder has the sizes of `spec`.
    ///
    /// # Errors
    /// A file that is not read (see [`ForeignWeights::open`]), another family of networks, other sizes: says what was found and which backbone would fit.
    pub fn open(path: &Path, spec: &ModelSpec) -> Result<Self> {
        let file = ForeignWeights::open(path)?;
        let prefix = encoder_prefix(&file)?;
        let found = EncoderSizes::of(&file, &prefix)?;
        found.must_equal(spec, path)?;
        let grid = position_grid(&file, &prefix)?;
        check_left_over(&file, &prefix, spec)?;
        Ok(Self { file, prefix, grid })
    }

    /// Puts the encoder into `weights`, whose tensors have the reference's names and the shapes of the network with a position embedding for `grid`.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape, or values that cannot be read.
    pub fn load_into(mut self, weights: &mut Weights, grid: [u32; 2]) -> Result<LoadReport> {
        let (mut matched, mut resized, mut left_in_network) = (Vec::new(), Vec::new(), Vec::new());
        let mut wanted = Vec::new();
        for (name, tensor) in weights.iter() {
            let Some(own) = name.strip_prefix("encoder.") else {
                left_in_network.push(name.clone());
                continue;
            };
            let found = self.file.tensors().get(&format!("{}{own}", self.prefix));
            match found {
                _ if own == POSITION => {}
                Some(found) if found.shape == tensor.shape => wanted.push(own.to_owned()),
                // Networks that average their patches norm behind that, under another name.
                None if own.starts_with("norm.") => left_in_network.push(name.clone()),
                Some(found) => return Err(self.wrong(format!("{own} has shape {:?}, expected {:?}", found.shape, tensor.shape))),
                None => return Err(self.wrong(format!("{own} is missing, expected one of shape {:?}", tensor.shape))),
            }
        }
        let file_names: Vec<String> = wanted.iter().map(String::as_str).chain([POSITION]).map(|own| format!("{}{own}", self.prefix)).collect();
        let mut values = self.file.read(file_names.iter().map(String::as_str))?;
        if let Some(mut position) = values.remove(&format!("{}{POSITION}", self.prefix)) {
            let dim = position.shape[2];
            let prefix_tokens = position.shape[1] - (self.grid[0] * self.grid[1]) as usize;
            // A distilled network has a second token behind the class token: its place is taken out.
            position.data.drain(dim..prefix_tokens * dim);
            position.shape[1] -= prefix_tokens - 1;
            let name = format!("encoder.{POSITION}");
            if self.grid == grid {
                matched.push(name.clone());
            } else {
                position = resize_position(&position, self.grid, grid)?;
                resized.push(Resized { name: name.clone(), from: self.grid, to: grid });
            }
            weights.insert(name, position);
        }
        for own in wanted {
            if let Some(tensor) = values.remove(&format!("{}{own}", self.prefix)) {
                matched.push(format!("encoder.{own}"));
                weights.insert(format!("encoder.{own}"), tensor);
            }
        }
        let used: BTreeSet<String> = file_names.into_iter().collect();
        let left_in_file = self.file.names().filter(|name| !used.contains(*name)).map(str::to_owned).collect();
        let path = self.file.path();
        Ok(LoadReport { file: path.into(), sha256: files::sha256_file(path)?, prefix: self.prefix, matched, resized, left_in_file, left_in_network })
    }

    fn wrong(&self, reason: String) -> Error {
        foreign(self.file.path(), reason, "the file is cut down, or of another kind of network than its sizes say")
    }
}

/// A tensor that takes part in the encoder's computation, and that ours has not, stands for another architecture.
fn check_left_over(file: &ForeignWeights, prefix: &str, spec: &ModelSpec) -> Result<()> {
    let mut ours: BTreeSet<String> = ["cls_token", POSITION, ANCHOR, "patch_embed.proj.bias", "norm.weight", "norm.bias"].map(str::to_owned).into();
    for block in 0..spec.depth {
        for part in ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"] {
            ours.extend(["weight", "bias"].map(|kind| format!("blocks.{block}.{part}.{kind}")));
        }
    }
    let parts = file.names().filter_map(|name| name.strip_prefix(prefix)).filter(|name| ENCODER_PARTS.iter().any(|start| name.starts_with(start)));
    let strange: Vec<String> = parts.filter(|name| !ours.contains(*name)).map(str::to_owned).collect();
    if strange.is_empty() {
        return Ok(());
    }
    let reason = format!("a Vision Transformer of another kind, with {}", listed(&strange));
    Err(foreign(file.path(), reason, "take a plain ViT of timm (vit_*_patch16_*, deit_*_patch16_*), without layer scale, register tokens or other norms"))
}

/// Prefix of the encoder in a file: the shortest one, where it holds several networks.
pub(crate) fn encoder_prefix(file: &ForeignWeights) -> Result<String> {
    let mut found = prefixes(file.names(), ANCHOR);
    if found.is_empty() {
        let advice =
            "take a plain ViT of timm (vit_*_patch16_*, deit_*_patch16_*) or a reference checkpoint, for model.backbone vit_tiny, vit_small or vit_base";
        return Err(foreign(file.path(), format!("this is {}, not a Vision Transformer with timm's names", family(file.names())), advice));
    }
    if found.len() > 1 {
        tracing::info!("{} holds {} networks: the one under {:?} is taken, not {}", file.path().display(), found.len(), found[0], listed(&found[1..]));
    }
    Ok(found.swap_remove(0))
}

/// Sizes of an encoder that its tensors show; heads leave no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EncoderSizes {
    pub(crate) patch_px: u32,
    pub(crate) dim: u32,
    pub(crate) depth: u32,
}

impl EncoderSizes {
    pub(crate) fn of(file: &ForeignWeights, prefix: &str) -> Result<Self> {
        let shape = file.tensors().get(&format!("{prefix}{ANCHOR}")).map(|t| t.shape.as_slice()).unwrap_or_default();
        let depth = blocks(file.names(), &format!("{prefix}blocks."));
        match *shape {
            [dim, 3, rows, columns] if rows == columns && depth > 0 && dim <= 4096 && rows <= 256 => Ok(Self { patch_px: rows as u32, dim: dim as u32, depth }),
            _ => {
                let reason = format!("this is {}, with a patch embedding {shape:?} and {depth} blocks", family(file.names()));
                Err(foreign(file.path(), reason, "take a plain ViT of timm for RGB images (vit_*_patch16_*, deit_*_patch16_*)"))
            }
        }
    }

    fn must_equal(self, spec: &ModelSpec, path: &Path) -> Result<()> {
        let expected = Self { patch_px: spec.patch_px, dim: spec.dim, depth: spec.depth };
        if self == expected {
            return Ok(());
        }
        let text = |s: Self| match Backbone::with_sizes(s.patch_px, s.dim, s.depth) {
            Some(backbone) => format!("a {} (patch {}, width {}, {} blocks)", backbone.name(), s.patch_px, s.dim, s.depth),
            None => format!("a ViT of patch {}, width {} and {} blocks", s.patch_px, s.dim, s.depth),
        };
        let advice = match Backbone::with_sizes(self.patch_px, self.dim, self.depth) {
            Some(backbone) => format!("set model.backbone = \"{}\", or take another file", backbone.name()),
            None => format!(
                "take another file, or set model.patch_px = {}, dim = {}, depth = {} and the heads that it was trained with",
                self.patch_px, self.dim, self.depth
            ),
        };
        Err(foreign(path, format!("this is {}, expected {}", text(self), text(expected)), advice))
    }
}

/// Rows and columns of a file's position embedding: a square behind the class token and, in a distilled network, the distillation token.
pub(crate) fn position_grid(file: &ForeignWeights, prefix: &str) -> Result<[u32; 2]> {
    let shape = file.tensors().get(&format!("{prefix}{POSITION}")).map(|t| t.shape.as_slice()).unwrap_or_default();
    let tokens = if file.tensors().contains_key(&format!("{prefix}dist_token")) { 2 } else { 1 };
    let side = match *shape {
        [1, entries, _] if entries > tokens => (entries - tokens).isqrt(),
        _ => 0,
    };
    if side == 0 || side > 4096 || side * side + tokens != shape[1] {
        let reason = format!("{POSITION} has shape {shape:?}, expected [1, {tokens} + rows * rows, width]");
        return Err(foreign(file.path(), reason, "position embeddings of a square grid behind a class token are read"));
    }
    Ok([side as u32; 2])
}
