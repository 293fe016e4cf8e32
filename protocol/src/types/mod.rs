//! The CQL type system as plain data.
//!
//! `CqlType` names a type, as a schema, a result's metadata or Cassandra's class names do. `CqlValue` is a value of one. `encode`
//! writes a value's bytes, `decode` checks bytes against a type and reads them; both keep to what Cassandra's serializers do,
//! error texts included. `token` tells where a partition key stands on the ring.
//!
//! Reading order: `cql_type`, `class_name`, `option`, `value`, `vint`, `encode`, `decode`, `token`.

pub mod class_name;
pub mod cql_type;
pub mod decode;
pub mod encode;
pub mod option;
pub mod token;
pub mod value;
pub mod vint;

pub use cql_type::{CqlType, UserType};
pub use decode::{MarshalError, decode, validate, validate_alternatives};
pub use token::{composite_key, split_composite_key, token_of};
pub use value::{CqlValue, Duration};
