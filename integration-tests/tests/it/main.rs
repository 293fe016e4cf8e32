//! One binary; each module a story about a running server.
//!
//! Every test starts servers of its own on free loopback ports and folders of its own, so they may run side by side. `TESTS_LONG=1` asks for the long
//! versions, `TESTS_SEED=N` repeats a run that failed.

mod architecture;
mod at_rest;
mod aws;
mod budget;
mod derivation;
mod drivers;
mod durability;
mod full_disk;
mod handshake;
mod key_services;
mod keys;
mod kmip;
mod limits;
mod linearizable;
mod load;
mod memory;
mod noise;
mod oracle;
mod passwords;
mod retries;
mod roles;
mod rollback;
mod rows;
mod runtimes;
mod salvage;
mod schema;
mod shortage;
mod slow;
mod tamper;
mod vault;
mod vectors;
