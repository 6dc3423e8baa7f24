use std::fs;

/// Seconds that all running threads of this process have spent on a processor, in the kernel too.
pub fn cpu_seconds() -> f64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = |path| fs::read_to_string(path).ok()?.split(' ').next()?.parse::<u64>().ok();
    threads.filter_map(|thread| nanoseconds(thread.unwrap().path().join("schedstat"))).sum::<u64>() as f64 * 1e-9
}

/// A line of `/proc/self/status` in bytes: `VmRSS` is the memory in use, `VmHWM` the most there has been.
pub fn memory_bytes(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
