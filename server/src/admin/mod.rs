//! What an operator does beside serving: keys, verification, and asking a running server.

pub mod client;
pub mod keyring;
pub mod verify;
