//! The sizes of a Segmenter: all that is needed to rebuild the network around its weights.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Sizes of the network (AMIS.md section 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Side of a square patch.
    pub patch_px: u32,
    /// Width D of the tokens.
    pub dim: u32,
    /// Blocks of the encoder.
    pub depth: u32,
    /// Attention heads of the encoder; divides `dim`.
    pub heads: u32,
    /// Blocks of the decoder.
    pub decoder_depth: u32,
    /// Attention heads of the decoder; divides `dim`.
    pub decoder_heads: u32,
    /// Whether the Global Attention Block stands between `proj_dec` and the decoder's blocks.
    pub gab: bool,
}

/// Width of the MLP's hidden layer as a multiple of `dim`.
pub const MLP_RATIO: u32 = 4;
/// Epsilon of every LayerNorm (AMIS.md section 1).
pub const LAYER_NORM_EPS: f64 = 1e-5;
/// Epsilon that `mask_norm` adds to the standard deviation.
pub const MASK_NORM_EPS: f64 = 1e-5;

impl ModelSpec {
    /// Checks divisibility and limits.
    ///
    /// # Errors
    /// Names the first field that does not fit.
    pub fn validate(&self) -> Result<()> {
        let within = |name: &str, value: u32, max: u32| {
            if (1..=max).contains(&value) { Ok(()) } else { Err(wrong(format!("{name} is {value}, expected 1 to {max}"))) }
        };
        within("patch_px", self.patch_px, 256)?;
        within("dim", self.dim, 4096)?;
        within("depth", self.depth, 64)?;
        within("decoder_depth", self.decoder_depth, 64)?;
        for (name, heads) in [("heads", self.heads), ("decoder_heads", self.decoder_heads)] {
            within(name, heads, self.dim)?;
            if !self.dim.is_multiple_of(heads) {
                return Err(wrong(format!("{name} is {heads}, which does not divide dim {}", self.dim)));
            }
        }
        if !self.dim.is_multiple_of(4) {
            return Err(wrong(format!("dim is {}, expected a multiple of 4", self.dim)));
        }
        Ok(())
    }
}

fn wrong(reason: String) -> Error {
    Error::Spec { what: "model", reason }
}

/// Sizes of the class groups `[1, base, new_1, ...]`: one parameter per group carries the class embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Groups(pub Vec<u32>);

impl Groups {
    /// Background alone, then one group a step.
    pub fn from_steps(classes_per_step: &[usize]) -> Self {
        Self(std::iter::once(1).chain(classes_per_step.iter().map(|&n| n as u32)).collect())
    }

    /// All classes, background included.
    pub fn classes(&self) -> usize {
        self.0.iter().map(|&n| n as usize).sum()
    }

    /// Classes of all groups but the last: what the step before knew.
    pub fn old_classes(&self) -> usize {
        self.classes() - self.0.last().map_or(0, |&n| n as usize)
    }

    /// The groups of the step before.
    pub fn without_last(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// Checks that background is alone, no group is empty and labels fit a byte.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn validate(&self) -> Result<()> {
        let total = self.0.iter().try_fold(0u32, |sum, &n| sum.checked_add(n));
        if self.0.len() < 2 || self.0[0] != 1 || self.0.contains(&0) || total.is_none_or(|t| t > 255) {
            return Err(Error::Spec { what: "class groups", reason: format!("{:?}, expected [1, base, ...] with at most 255 classes in all", self.0) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn heads_must_divide_the_width() {
        let mut spec = ModelSpec { patch_px: 16, dim: 192, depth: 12, heads: 3, decoder_depth: 2, decoder_heads: 3, gab: true };
        spec.validate().unwrap();
        spec.heads = 5;
        assert!(spec.validate().unwrap_err().to_string().contains("heads is 5"));
    }

    #[test]
    fn groups_count_old_and_all() {
        let groups = Groups::from_steps(&[4, 1]);
        groups.validate().unwrap();
        assert_eq!((groups.classes(), groups.old_classes()), (6, 5));
        assert!(Groups(vec![2, 4]).validate().is_err());
        assert!(Groups(vec![1, u32::MAX, 5]).validate().is_err());
    }
}
