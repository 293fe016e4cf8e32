//! CQL over a socket, against a server of our own: golden scripts, prepared statements, pages, batches, clients that get
//! in each other's way, the audit trail, proof of what was destroyed, what is counted, and random statements that must be answered alike wherever the rows lie, writes of which nobody knows whether they happened.

mod audit;
mod builds;
mod client;
mod clock;
mod entries;
mod groups;
mod guardrails;
mod indexes;
mod instruments;
mod keys;
mod lengths;
mod levels;
mod masking;
mod nearest;
mod outcomes;
mod owners;
mod paging;
mod prepared;
mod roles;
mod salvage;
mod scene;
mod schema;
mod scripts;
mod shredding;
#[cfg(feature = "opentelemetry")]
mod spans;
mod tracing;
mod turns;
mod views;
mod walk;
mod wrong;
