use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{Files, Report};

/// 2025: no clock that is set shows less.
const EARLIEST_S: i64 = 1_735_689_600;
const DAY_S: i64 = 86_400;

/// Main memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What the system has.
    pub total_bytes: u64,
    /// What a program can have now, as the kernel estimates it.
    pub available_bytes: u64,
    /// Swap that is free.
    pub swap_free_bytes: u64,
}

pub(super) fn examine(files: &Files, report: &mut Report) {
    report.memory = files.text("proc/meminfo").and_then(|text| memory(&text));
    if let Some(m) = report.memory {
        let found = format!("{} of {} available, {} swap", gib(m.available_bytes), gib(m.total_bytes), gib(m.swap_free_bytes));
        if report.jetson && m.available_bytes < 2 << 30 {
            report.advise(
                "memory",
                found,
                "building an engine may end for want of it: stop the desktop with sudo systemctl isolate multi-user.target, or add swap",
            );
        } else {
            report.good("memory", found);
        }
    }
    let folder = files.path("var/lib");
    report.disk_free_bytes = rustix::fs::statvfs(if folder.exists() { &folder } else { &files.0 }).ok().map(|s| s.f_bavail * s.f_frsize);
    match report.disk_free_bytes {
        Some(free) if free < 2 << 30 => report.advise("disk", format!("{} free", gib(free)), "engines and bundles need 2 GiB: sudo apt-get clean; df -h"),
        Some(free) => report.good("disk", format!("{} free", gib(free))),
        None => {}
    }
    clock(files, report);
}

/// Memory from lines such as `MemTotal:        7802936 kB`.
fn memory(meminfo: &str) -> Option<Memory> {
    let bytes = |name: &str| Some(meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_suffix("kB")?.trim().parse::<u64>().ok())? * 1024);
    Some(Memory { total_bytes: bytes("MemTotal:")?, available_bytes: bytes("MemAvailable:")?, swap_free_bytes: bytes("SwapFree:").unwrap_or(0) })
}

/// The time, and whether it survives a power cut: signed updates expire, so a clock that starts in 1970 refuses them.
fn clock(files: &Files, report: &mut Report) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() as i64;
    if now < EARLIEST_S {
        return report.advise("clock", format!("{now} s since 1970, so it is not set"), "updates are refused until it is: sudo timedatectl set-ntp true");
    }
    match files.number("sys/class/rtc/rtc0/since_epoch") {
        Some(hardware) if (hardware - now).abs() < DAY_S => report.good("clock", "set, and so is the hardware clock".into()),
        Some(_) => report.advise(
            "clock",
            "the hardware clock is more than a day off".into(),
            "without its battery it starts anew after a power cut, and updates wait for the network's time; put one in, then sudo hwclock -w",
        ),
        None if report.jetson => report.advise("clock", "no hardware clock".into(), "after a power cut updates wait for the network's time"),
        None => report.good("clock", "set".into()),
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
