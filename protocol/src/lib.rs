//! Cassandra's native protocol, versions 3, 4 and 5, and CQL, as a pure machine.
//!
//! ```text
//! bytes ──wire::Decoder──► Frame ──request::Request::decode──► Request ──cql::parse──► Statement
//! bytes ◄──wire::Encoder── envelope ◄──response::Response / RowsWriter── what the server has to say
//! ```
//!
//! This crate does no I/O and reads no clock: bytes go in, values come out, and the other way round. It knows nothing of
//! tables, keys or sessions. Requests are borrowed views of the bytes that arrived; responses are written straight into the
//! connection's outgoing buffer.
//!
//! What must hold, whatever a peer sends: no panic, no allocation larger than what arrived (times the codec's own expansion
//! bound), no recursion deeper than `limits` says.

pub mod cql;
pub mod error;
pub mod limits;
pub mod request;
pub mod response;
pub mod types;
pub mod wire;

pub use error::{AnswerIn, Complaint, ErrorCode, Malformed, ProtocolError};
pub use limits::FrameLimits;
pub use request::Request;
pub use response::Response;
pub use types::{CqlType, CqlValue, MarshalError};
pub use wire::{Consistency, Decoder, Encoder, Frame, Opcode, Value, Version};
