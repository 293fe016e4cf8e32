//! The harness of the integration tests: servers as child processes, a client that can pipeline and say wrong things, and a search for plaintext.
//!
//! In reading order: `node` runs a server, `raw` talks to it, `owners` hold its keys, `chance` decides from one seed, `grep` looks through what was left on the disk,
//! `linearizable` judges what many clients saw at once, `bench` measures what it cost, `oracle` compares it with Cassandra. `system` holds the system calls.
//! The tests themselves are stories in `tests/it`, and the clients that are not Rust in `clients/`; `run` brings them all together.

pub mod bench;
pub mod chance;
pub mod grep;
pub mod linearizable;
pub mod memory;
pub mod node;
pub mod oracle;
pub mod owners;
pub mod raw;
pub mod system;
