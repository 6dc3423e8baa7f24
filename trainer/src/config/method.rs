use serde::{Deserialize, Serialize};

use crate::loss::distillation::Moved;
use crate::loss::pooling::Pooling;

/// Which terms of AMIS.md section 3 take part in an incremental step, and how strongly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Method {
    /// Old classes in the background become labels where the old model is at least this sure (term 1); 1.1 turns it off.
    pub pseudo_threshold: f64,
    /// Pixels that the old model doubts are ignored (term 2).
    pub ignore_doubt: bool,
    /// Weight of the output distillation (term 3); 0 turns it off.
    pub distill_weight: f64,
    /// What moves to the new class at labelled pixels (term 3).
    pub moved: Moved,
    /// Weight of the orthogonality of class embeddings (term 4); 0 turns it off.
    pub orthogonality_weight: f64,
    /// Pixels this near to a border between background and a class weigh more (term 5).
    pub boundary_px: i64,
    /// How much more they weigh (term 5); 0 turns it off.
    pub boundary_weight: f64,
    /// Weight of the patch distillation (terms 6 and 7); 0 turns it off.
    pub patch_weight: f64,
    /// Weight of the class features' squared distance (term 8); 0 turns it off.
    pub class_weight: f64,
    /// Weight of the class features' cosine distance (term 8); 0 turns it off.
    pub class_embedding_weight: f64,
    /// Plane of the multi-scale pooling (term 9).
    pub pooling: Pooling,
    /// Factor of the multi-scale pooling over the grid (term 9).
    pub pod_factor: f64,
    /// New class embeddings start as a copy of the background's.
    pub weight_transfer: bool,
}

/// Named sets of terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Cross-entropy alone: what forgetting looks like.
    Finetune,
    /// The MBS method: terms 1 to 4, 6 to 8 without the cosine form.
    Mbs,
    /// Everything.
    Amis,
}

impl Method {
    /// The terms of a preset.
    pub fn preset(preset: Preset) -> Self {
        let amis = Self {
            pseudo_threshold: 0.7,
            ignore_doubt: true,
            distill_weight: 25.0,
            moved: Moved::All,
            orthogonality_weight: 1.0,
            boundary_px: 3,
            boundary_weight: 0.5,
            patch_weight: 1.0,
            class_weight: 1.0,
            class_embedding_weight: 0.1,
            pooling: Pooling::Grid,
            pod_factor: 0.01,
            weight_transfer: true,
        };
        match preset {
            Preset::Amis => amis,
            Preset::Mbs => Self { moved: Moved::Background, boundary_weight: 0.0, class_embedding_weight: 0.0, pooling: Pooling::Off, ..amis },
            Preset::Finetune => Self {
                pseudo_threshold: 1.1,
                ignore_doubt: false,
                distill_weight: 0.0,
                orthogonality_weight: 0.0,
                boundary_weight: 0.0,
                patch_weight: 0.0,
                class_weight: 0.0,
                class_embedding_weight: 0.0,
                pooling: Pooling::Off,
                weight_transfer: false,
                ..amis
            },
        }
    }

    /// Whether any term besides the plain cross-entropy takes part.
    pub fn is_more_than_finetuning(&self) -> bool {
        self.pseudo_threshold <= 1.0 || self.ignore_doubt || self.weights().iter().any(|(_, w)| *w != 0.0) || self.pooling != Pooling::Off
    }
}

impl Method {
    /// The weights of the terms, by key.
    pub(super) fn weights(&self) -> [(&'static str, f64); 6] {
        [
            ("distill_weight", self.distill_weight),
            ("orthogonality_weight", self.orthogonality_weight),
            ("boundary_weight", self.boundary_weight),
            ("patch_weight", self.patch_weight),
            ("class_weight", self.class_weight),
            ("class_embedding_weight", self.class_embedding_weight),
        ]
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::preset(Preset::Amis)
    }
}
