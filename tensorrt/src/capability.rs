//! Compute capabilities: the generations of NVIDIA GPUs, as engines are built for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A compute capability such as 8.6; parses from `8.6`, `86`, `sm86` and `sm_86`, displays as `8.6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComputeCapability {
    major: u32,
    minor: u32,
}

impl ComputeCapability {
    /// The capability `major.minor`; `None` where `minor` is more than one digit or `major` more than three.
    pub const fn new(major: u32, minor: u32) -> Option<Self> {
        if major < 1000 && minor < 10 { Some(Self { major, minor }) } else { None }
    }

    /// NVIDIA's number for it, 86 for 8.6.
    pub const fn sm(self) -> u32 {
        self.major * 10 + self.minor
    }

    pub(crate) const fn from_sm(sm: u32) -> Self {
        Self { major: sm / 10, minor: sm % 10 }
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ComputeCapability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let lower = text.to_ascii_lowercase();
        let number = lower.strip_prefix("sm").map_or(lower.as_str(), |rest| rest.strip_prefix('_').unwrap_or(rest));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        // Without a point the last digit is the minor version.
        let parts = number.split_once('.').or_else(|| number.split_at_checked(number.len().saturating_sub(1)));
        parts
            .and_then(|(major, minor)| Self::new(digits(major)?, digits(minor)?))
            .filter(|capability| capability.major > 0)
            .ok_or_else(|| Error::Capability { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::ComputeCapability;

    #[test]
    fn every_usual_spelling_parses() {
        for text in ["8.6", "86", "sm86", "sm_86", "SM_86", "sm8.6"] {
            let capability: ComputeCapability = text.parse().unwrap();
            assert_eq!(capability.sm(), 86, "{text}");
            assert_eq!(capability.to_string(), "8.6");
        }
        assert_eq!("120".parse::<ComputeCapability>().unwrap().to_string(), "12.0");
        assert_eq!("sm_121".parse::<ComputeCapability>().unwrap().sm(), 121);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "8", "8.", ".6", "8.66", "x", "sm", "8.6a", "-8.6", "+8.6", "8.6.1", "99999999999", "0.1", "é", "8é"] {
            assert!(text.parse::<ComputeCapability>().is_err(), "{text:?}");
        }
    }
}
