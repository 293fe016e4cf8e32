//! What the process asks of the kernel for the sake of key bytes: no core files, no debugger of another user, as many locked pages as the operator allows.
//!
//! Key bytes stand in pages that `palladium_crypto` locks, as far as RLIMIT_MEMLOCK goes (`ulimit -l`, `LimitMEMLOCK=` of systemd): 64 bytes for a secret, 640
//! for an expanded key, of which an open SSTable has three or four. 8 MiB, the usual limit, are about 12,000 of them. What does not fit may be swapped out,
//! and the log says so, once.

use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::resource_limit;

/// Between two looks at how many pages could not be locked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Key bytes must not reach a core file, nor the swap where that can be helped. Called before the first key is there.
pub fn protect() {
    forbid_core_dumps();
    // Where that is refused, the watch tells when what there is is too little.
    resource_limit::raise(Resource::Memlock);
}

/// Says once that key bytes may reach the swap.
pub async fn watch() {
    loop {
        let memory = palladium_crypto::locked_memory();
        if memory.unlocked_bytes > 0 {
            tracing::warn!(
                locked_bytes = memory.locked_bytes,
                unlocked_bytes = memory.unlocked_bytes,
                "key bytes may be swapped out: the limit of locked memory (ulimit -l, LimitMEMLOCK) is reached"
            );
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let refused = setrlimit(Resource::Core, none).is_err()
        | set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err();
    if refused {
        tracing::warn!("core dumps could not be forbidden");
    }
}
