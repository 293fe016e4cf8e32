//! What one operation costs a server: CPU time first, then latency, then throughput.
//!
//! ```text
//! Server   (by address, process id and folder)        ─┐
//! Workload (tables, statements, what an operation is) ─┼─► load ─► Sample ─► Report (medians and ranges, Markdown, JSON, SVG)
//! Shape, Pace (connections x in flight; closed, rate) ─┘
//! ```
//!
//! The servers run in turns, so that a noisy neighbour hits all of them; a server is bound to one core and the client to another. Only ratios taken in one
//! run, at one shape, mean anything: a loaded machine makes every figure larger. What must hold: a refused request ends its workload, because a cheap error is
//! no operation; CPU and operations are read at the same two moments; at a fixed rate latency counts from when an operation was due.
//!
//! Reading order: `server` and `process`; `workloads` and `request`; `load` and `histogram`; `suite`, `experiments`, `report`.

pub mod experiments;
pub mod histogram;
pub mod load;
pub mod process;
pub mod report;
pub mod request;
pub mod server;
pub mod suite;
pub mod workloads;
