//! The harness of the integration tests: servers as child processes, a client that can pipeline and say wrong things, and a search for plaintext.
//!
//! In reading order: `node` runs a server, `raw` talks to it, `world` fills it with rows that can be told from wrong ones, `grep` looks through what it left
//! on the disk, `bench` measures what it costs. `system` holds the system calls. The tests themselves are stories in `tests/it`, and the clients that are
//! not Rust in `clients/`; `run` brings them all together.

pub mod grep;
pub mod node;
pub mod system;
