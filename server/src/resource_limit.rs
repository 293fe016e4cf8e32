//! Limits that the kernel holds the process to: of each resource the operator allows more than a process has at first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises a limit to what the operator allows. A refusal leaves it as it was.
pub fn raise(resource: Resource) {
    let limit = getrlimit(resource);
    let _ = setrlimit(
        resource,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
