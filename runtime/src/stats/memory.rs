//! Resident memory of this process, from `/proc`.

/// Largest so far, in MiB; 0 where the system does not tell.
pub fn peak_rss_mib() -> f64 {
    of_status("VmHWM:")
}

/// Now, in MiB; 0 where the system does not tell.
pub fn rss_mib() -> f64 {
    of_status("VmRSS:")
}

fn of_status(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_this_process() {
        assert!(rss_mib() > 1.0 && peak_rss_mib() >= rss_mib() / 2.0);
    }
}
