//! How much memory the machine gives this process: what is built in, or what its control group may take, if that is less. Where a container is given 2 GiB of a machine of 64, half of
//! the machine would be ended by the kernel.

use std::fs::read_to_string;
use std::path::Path;

/// Where the kernel does not say.
const UNKNOWN_BYTES: u64 = 2 << 30;
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that there are for this process.
pub fn memory_bytes() -> u64 {
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = group_limit(&groups, Path::new(GROUPS));
    let built_in = read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| built_in(&text))
        .unwrap_or(UNKNOWN_BYTES);
    limit.map_or(built_in, |limit| limit.min(built_in))
}

fn built_in(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// The lowest limit of the groups that the process is in, and of all above them: version 2 of control groups, and 1.
fn group_limit(groups: &str, mounted: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        let (top, file) = match controllers {
            "" => (mounted.to_owned(), "memory.max"),
            some if some.split(',').any(|one| one == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let group = top.join(group.trim_start_matches('/'));
        let with_those_above = group
            .ancestors()
            .take_while(|group| group.starts_with(&top));
        with_those_above
            .filter_map(|group| read_to_string(group.join(file)).ok()?.trim().parse().ok())
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_container_has_what_its_control_group_gives() {
        let mounted = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| group_limit(groups, mounted.path());
        assert_eq!(limit("0::/system.slice/palladium.service\n"), None);
        // A group of no limit in one that has one.
        write("system.slice/palladium.service/memory.max", "max\n");
        write("system.slice/memory.max", "2147483648\n");
        assert_eq!(
            limit("0::/system.slice/palladium.service\n"),
            Some(2_147_483_648)
        );
        // Seen from inside of a container, its own group is the top.
        write("memory.max", "1073741824\n");
        assert_eq!(limit("0::/\n"), Some(1_073_741_824));
        assert_eq!(limit("0::/not/to/be/seen\n"), Some(1_073_741_824));
        write("memory/docker/1/memory.limit_in_bytes", "536870912\n");
        assert_eq!(
            limit("5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n"),
            Some(536_870_912)
        );
        assert_eq!(limit("5:cpu,cpuacct:/docker/1\n"), None);
    }

    #[test]
    fn what_is_built_in_is_told_in_kilobytes() {
        let text = "MemTotal:       24689044 kB\nMemFree: 1 kB\n";
        assert_eq!(built_in(text), Some(24_689_044 << 10));
        assert_eq!(built_in(""), None);
        assert!(memory_bytes() > 0);
    }
}
