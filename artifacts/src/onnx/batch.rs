//! How many images a graph takes at once.

use std::fmt;
use std::str::FromStr;

use super::{DimensionValue, ModelProto};

/// Metadata key: largest batch of a graph whose batch is dynamic.
pub const MAX_BATCH_KEY: &str = "amis.max_batch";
/// Largest batch.
pub const MAX_BATCH: u16 = 1024;
/// Name of a dynamic batch in the shapes of inputs and outputs.
const NAME: &str = "batch";

/// How many images a graph takes at once. In text: `4`, or `1..8` for a dynamic batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// Always so many.
    Fixed(u16),
    /// From one up to so many; the limit is for engines, the graph itself has none.
    Dynamic(u16),
}

impl Batch {
    /// The batch of a graph's only input; none if it has none, or a size that is neither fixed nor named.
    pub fn of(model: &ModelProto) -> Option<Self> {
        let input = model.graph.as_ref()?.input.first()?;
        match input.sizes()?.first()? {
            DimensionValue::DimValue(n) => Some(Self::Fixed(u16::try_from(*n).ok().filter(|n| (1..=MAX_BATCH).contains(n))?)),
            DimensionValue::DimParam(_) => Some(Self::Dynamic(model.metadata(MAX_BATCH_KEY).and_then(|v| v.parse().ok()).unwrap_or(1))),
        }
    }

    /// Size in a Reshape: 0 takes that of the input.
    pub fn reshape(self) -> usize {
        match self {
            Self::Fixed(n) => usize::from(n),
            Self::Dynamic(_) => 0,
        }
    }

    /// Size in the shape of an input or output.
    pub fn dimension(self) -> DimensionValue {
        match self {
            Self::Fixed(n) => DimensionValue::DimValue(i64::from(n)),
            Self::Dynamic(_) => DimensionValue::DimParam(NAME.into()),
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Dynamic(max) => write!(f, "1..{max}"),
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = |text: &str| text.parse().ok().filter(|n| (1..=MAX_BATCH).contains(n));
        let batch = match text.strip_prefix("1..") {
            Some(max) => size(max).filter(|&max| max > 1).map(Self::Dynamic),
            None => size(text).map(Self::Fixed),
        };
        batch.ok_or_else(|| format!("expected a number from 1 to {MAX_BATCH}, or 1..N with N from 2"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_batch_is_text() {
        for (text, batch) in [("1", Batch::Fixed(1)), ("4", Batch::Fixed(4)), ("1..8", Batch::Dynamic(8))] {
            assert_eq!((text.parse(), batch.to_string().as_str()), (Ok(batch), text));
        }
        for text in ["0", "", "1..1", "2..8", "1..", "-1", "1025", "1..1025", "x"] {
            assert!(text.parse::<Batch>().is_err(), "{text}");
        }
    }
}
