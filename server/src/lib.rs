//! Placeholder: the essay comes with the code.

pub mod error;
pub mod schema;
