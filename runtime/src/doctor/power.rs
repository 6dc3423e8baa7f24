use amis_artifacts::board::Board;
use serde::Serialize;

use super::{Files, Report};

/// Power mode and the GPU's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Power {
    /// Name of the power mode.
    pub mode: Option<String>,
    /// The GPU's clock now.
    pub gpu_mhz: Option<u64>,
    /// The lowest that it may fall to.
    pub gpu_lowest_mhz: Option<u64>,
    /// The highest that the mode allows.
    pub gpu_highest_mhz: Option<u64>,
}

pub(super) fn examine(files: &Files, report: &mut Report, board: Option<&Board>) {
    if !report.jetson {
        return;
    }
    let modes = files.text("etc/nvpmodel.conf").map(|text| modes(&text)).unwrap_or_default();
    let current = files.text("var/lib/nvpmodel/status").and_then(|text| current(&text));
    let mode = current.and_then(|id| modes.iter().find(|(i, _)| *i == id)).map(|(_, name)| name.clone());
    // The board's modes stand with the fastest first; which of them there are depends on JetPack.
    let known = board.into_iter().flat_map(|b| &b.mode).find_map(|m| modes.iter().find(|(_, name)| *name == m.name));
    let fastest = known.or_else(|| modes.iter().find(|(_, name)| name.starts_with("MAXN")));
    match (&mode, fastest) {
        (Some(mode), Some((_, fastest))) if mode == fastest => report.good("power mode", format!("{mode}, the fastest")),
        (Some(mode), Some((id, fastest))) => report.advise("power mode", mode.clone(), format!("{fastest} is faster: sudo nvpmodel -m {id}")),
        (Some(mode), None) => report.good("power mode", mode.clone()),
        (None, _) => report.advise("power mode", "not known".into(), "sudo nvpmodel -q says it"),
    }
    let gpu = files.names("sys/class/devfreq").into_iter().find(|name| ["gpu", "ga10b", "gv11b"].iter().any(|part| name.contains(part)));
    let mhz = |file: &str| Some(files.number(&format!("sys/class/devfreq/{}/{file}", gpu.as_ref()?))?.unsigned_abs() / 1_000_000);
    let power = Power { mode, gpu_mhz: mhz("cur_freq"), gpu_lowest_mhz: mhz("min_freq"), gpu_highest_mhz: mhz("max_freq") };
    match (power.gpu_mhz, power.gpu_lowest_mhz, power.gpu_highest_mhz) {
        (Some(now), Some(lowest), Some(highest)) if lowest < highest => {
            report.advise("GPU clock", format!("{now} MHz, moves from {lowest} to {highest}"), "times vary; for even ones: sudo jetson_clocks");
        }
        (Some(now), ..) => report.good("GPU clock", format!("{now} MHz, fixed")),
        _ => report.advise("GPU clock", "not known".into(), "is the GPU's driver loaded? sudo dmesg | grep -i gpu"),
    }
    report.power = Some(power);
}

/// Modes by id, from lines such as `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`.
fn modes(conf: &str) -> Vec<(u32, String)> {
    let mode = |line: &str| {
        let mut words = line.trim().strip_prefix('<')?.split_whitespace();
        (words.next()? == "POWER_MODEL").then_some(())?;
        let id = words.next()?.strip_prefix("ID=")?.parse().ok()?;
        Some((id, words.next()?.strip_prefix("NAME=")?.to_owned()))
    };
    conf.lines().filter_map(mode).collect()
}

/// Id from `pmode:0002`.
fn current(status: &str) -> Option<u32> {
    status.split("pmode:").nth(1)?.split_whitespace().next()?.parse().ok()
}
