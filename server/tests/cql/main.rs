//! CQL over a socket, against a server of our own: golden scripts, prepared statements, pages, batches, and clients that get
//! in each other's way.

mod client;
mod prepared;
mod scripts;
