use serde::{Deserialize, Serialize};
use tch::Kind;

/// Number format of the Linear layers and of attention. Weights, residual sums, norms, class masks and losses are float32 in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    Fp32,
    /// bfloat16: range of float32, 8 bits of fraction.
    Bf16,
    /// float16: 11 bits of fraction, a small range; gradients need scaling.
    Fp16,
}

impl Precision {
    /// The format as libtorch names it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Fp32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::Fp16 => Kind::Half,
        }
    }
}
