//! What time it can be, on boards whose clock starts in 1970 after every loss of power.

use std::time::{SystemTime, UNIX_EPOCH};

/// When this program was made at the earliest, in seconds since 1970 (2026-11-01). No device that runs it lives before.
const BUILT_UNIX_S: u64 = 1_793_491_200;

/// The system's clock, in seconds since 1970.
pub fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The time by which expiry dates are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Seconds since 1970.
    pub unix_s: u64,
    /// Whether it is the system's clock. If not, that is behind what is known for sure, and was lifted.
    pub clock_trusted: bool,
}

/// The latest of the system's clock, the making of this program, and `vouched_unix_s`, a time that a signature vouches for.
///
/// The system's clock itself is not remembered: were it once years ahead, nothing would be accepted ever after.
pub fn judge(system_unix_s: u64, vouched_unix_s: u64) -> Judged {
    let least = vouched_unix_s.max(BUILT_UNIX_S);
    Judged { unix_s: system_unix_s.max(least), clock_trusted: system_unix_s >= least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_behind_what_is_known_is_lifted_and_said_so() {
        assert_eq!(judge(100, 0), Judged { unix_s: BUILT_UNIX_S, clock_trusted: false });
        assert_eq!(judge(100, BUILT_UNIX_S + 5), Judged { unix_s: BUILT_UNIX_S + 5, clock_trusted: false });
        assert_eq!(judge(BUILT_UNIX_S + 9, BUILT_UNIX_S + 5), Judged { unix_s: BUILT_UNIX_S + 9, clock_trusted: true });
    }
}
