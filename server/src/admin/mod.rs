//! What an operator does beside serving: keys, verification, and asking a running server.

pub mod audit;
pub mod client;
mod folder;
pub mod keyring;
pub mod verify;
