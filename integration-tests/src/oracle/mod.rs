//! Cassandra as oracle: the same statements go to an Apache Cassandra 5.0.6 and to ours, and everything that a client can see is compared.
//!
//! In reading order: a `step` is a statement and the way in which it is sent; steps come from `script` (hand-written, by chapter) or from `generate`
//! (from a seed). `pair` sends them to both servers over `wire` (in `segment`s), `answer` holds what came, `compare` says whether it is alike, `kept` lists the differences
//! that stay and why, and `shrink` leaves of a long block what a difference needs.

pub mod answer;
pub mod compare;
pub mod generate;
pub mod kept;
pub mod not_yet;
pub mod pair;
pub mod script;
pub mod segment;
pub mod shrink;
pub mod step;
pub mod wire;
