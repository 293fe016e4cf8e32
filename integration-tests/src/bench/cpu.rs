//! CPU time of a process, all threads together, those that have ended included: user and system time of /proc/PID/stat. The kernel scales the two so that
//! their sum is what the scheduler counted; it is told in ticks of 10 ms, so a sample should last some seconds.

use std::fs;
use std::io;
use std::time::Duration;

use crate::system;

/// User and system time that a process has used since it began.
pub fn of_process(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the fields behind it are numbers, and the first of them is field 3.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| -> io::Result<u64> {
        let number = fields.get(field - 3).and_then(|text| text.parse().ok());
        number.ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no field {field}")))
    };
    let total = ticks(14)? + ticks(15)?;
    Ok(Duration::from_nanos(
        total * 1_000_000_000 / system::clock_ticks_per_second(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu_time() {
        let own = std::process::id();
        let before = of_process(own).expect("we run");
        let mut number = 1_u64;
        while of_process(own).expect("we run") < before + Duration::from_millis(20) {
            number = std::hint::black_box(crate::chance::mix(number));
        }
    }
}
