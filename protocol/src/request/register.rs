//! REGISTER: the events a client wants to hear of.
//!
//! ```text
//! | event types [string list] |
//! ```

use crate::error::Malformed;
use crate::wire::primitive::Reader;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    TopologyChange,
    StatusChange,
    SchemaChange,
}

impl EventType {
    pub fn name(self) -> &'static str {
        match self {
            Self::TopologyChange => "TOPOLOGY_CHANGE",
            Self::StatusChange => "STATUS_CHANGE",
            Self::SchemaChange => "SCHEMA_CHANGE",
        }
    }

    fn read(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        let name = body.string()?;
        [Self::TopologyChange, Self::StatusChange, Self::SchemaChange]
            .into_iter()
            .find(|event| event.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| Malformed::from(format!("Invalid value '{name}' for Type")))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Register<'a> {
    events: &'a [u8],
}

impl<'a> Register<'a> {
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = body.short()?;
        let start = body.rest();
        for _ in 0..count {
            EventType::read(body)?;
        }
        let events = &start[..start.len() - body.rest().len()];
        Ok(Self { events })
    }

    pub fn events(&self) -> impl Iterator<Item = EventType> + use<'a> {
        let mut reader = Reader::new(self.events);
        std::iter::from_fn(move || EventType::read(&mut reader).ok())
    }
}
