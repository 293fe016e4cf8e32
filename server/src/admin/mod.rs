//! What an operator does beside serving: keys, a look at a folder that is not in use (verify, explain, audit), accepting an older one, giving up what is damaged, and asking a running server.

pub mod accept_rollback;
mod age;
pub mod audit;
pub mod client;
pub mod explain;
pub mod folder;
pub mod keyring;
pub mod salvage;
pub mod shred;
pub mod verify;
