//! What one operation costs a server: CPU time first, then latency, then throughput.
//!
//! ```text
//! Opponent (a server, by address and process id)  ─┐
//! Workload (a table, a statement, what it binds)  ─┼─► drive ─► Sample ─► Report (medians, Markdown, JSON)
//! Shape    (connections x requests in flight)     ─┘
//! ```
//!
//! The servers run in turns, so that a noisy neighbour hits all of them; a server is bound to one core and the client to another. Only ratios taken in one
//! run, at one shape, mean anything: a loaded machine makes every figure larger. What must hold: a refused request ends the run, because a cheap error is
//! no operation; CPU and operations are read at the same two moments.

pub mod cpu;
pub mod drive;
pub mod opponent;
pub mod report;
pub mod workload;
