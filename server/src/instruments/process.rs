//! The process as the kernel sees it, by the names that Prometheus' own clients use. What cannot be read is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::exposition::{Exposition, Kind};

/// Adds the process's figures.
pub(super) fn put(out: &mut Exposition, started_seconds: i64) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    out.metric(
        "process_cpu_seconds_total",
        Kind::Counter,
        "User and system CPU time.",
    )
    .value(&[], cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
    out.metric(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the server started, in seconds of wall time.",
    )
    .value(&[], started_seconds as f64);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let fields = [
        (
            "process_resident_memory_bytes",
            "VmRSS:",
            1024.0,
            "Memory in RAM.",
        ),
        (
            "process_virtual_memory_bytes",
            "VmSize:",
            1024.0,
            "Memory that is mapped.",
        ),
        ("process_threads", "Threads:", 1.0, "Threads."),
    ];
    for (name, field, unit, help) in fields {
        if let Some(value) = number(field) {
            out.metric(name, Kind::Gauge, help).value(&[], value * unit);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        let open = open.count().saturating_sub(1);
        out.metric("process_open_fds", Kind::Gauge, "Open file descriptors.")
            .value(&[], open as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        out.metric(
            "process_max_fds",
            Kind::Gauge,
            "File descriptors that may be open.",
        )
        .value(&[], most as f64);
    }
}
