//! What a server uses, by its process id and its folder: CPU time, resident memory, bytes on the disk.
//!
//! CPU time is user and system time of /proc/PID/stat: all threads together, those that have ended included. The kernel scales the two so that their sum is
//! what the scheduler counted; it is told in ticks of 10 ms, so a sample should last some seconds. Bytes on the disk are the blocks that files occupy, not
//! their lengths: a file with holes counts for what it holds.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::system;

const BLOCK_BYTES: u64 = 512;

/// User and system time that a process has used since it began.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
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

/// Resident memory.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    of_status(pid, "VmRSS:")
}

/// The most that it was since the process began.
pub fn resident_bytes_at_most(pid: u32) -> io::Result<u64> {
    of_status(pid, "VmHWM:")
}

/// Its threads.
pub fn threads(pid: u32) -> io::Result<u64> {
    number_of_status(pid, "Threads:")
}

/// Files and sockets that it has open. Only root sees those of a process that may not be dumped.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Waits until it does next to nothing: then what goes on beside serving is done. Whether that came within the limit.
pub fn rest(pid: u32, limit: Duration) -> io::Result<bool> {
    const LOOK: Duration = Duration::from_secs(1);
    const BUSY: Duration = Duration::from_millis(10);
    let begun = Instant::now();
    let mut before = cpu_time(pid)?;
    while begun.elapsed() < limit {
        std::thread::sleep(LOOK);
        let now = cpu_time(pid)?;
        if now - before <= BUSY {
            return Ok(true);
        }
        before = now;
    }
    Ok(false)
}

fn of_status(pid: u32, field: &str) -> io::Result<u64> {
    number_of_status(pid, field).map(|kilobytes| kilobytes << 10)
}

fn number_of_status(pid: u32, field: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = status.lines().find_map(|line| {
        let number = line.strip_prefix(field)?.trim();
        number.strip_suffix(" kB").unwrap_or(number).parse().ok()
    });
    number.ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no {field}")))
}

/// Bytes that the files of a folder occupy, in all folders below it. A file that goes away meanwhile counts for nothing.
pub fn disk_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let occupied = match entry.file_type()?.is_dir() {
            true => disk_bytes(&entry.path()),
            false => entry
                .metadata()
                .map(|metadata| metadata.blocks() * BLOCK_BYTES),
        };
        bytes += match occupied {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            known => known?,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu_time() {
        let own = std::process::id();
        let before = cpu_time(own).expect("we run");
        let mut number = 1_u64;
        while cpu_time(own).expect("we run") < before + Duration::from_millis(20) {
            number = std::hint::black_box(crate::chance::mix(number));
        }
    }

    #[test]
    fn a_process_has_threads_and_files() {
        let own = std::process::id();
        assert!(threads(own).expect("we run") >= 1);
        assert!(descriptors(own).expect("we see our own") >= 3);
    }

    #[test]
    fn a_process_is_somewhere_in_memory() {
        assert!(resident_bytes(std::process::id()).expect("we run") > 1 << 20);
    }

    #[test]
    fn files_in_folders_of_folders_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).expect("folders");
        let bytes: Vec<u8> = (0..200_000_u64)
            .map(|number| crate::chance::mix(number) as u8)
            .collect();
        fs::write(below.join("file"), &bytes).expect("a file");
        fs::File::open(below.join("file"))
            .and_then(|file| file.sync_all())
            .expect("a sync");
        assert!(disk_bytes(folder.path()).expect("a folder") >= 200_000);
    }
}
