//! Column values as cells, and cells as column values.
//!
//! ```text
//! column              path                          value
//! any single value    empty                         the value
//! set                 component of the element      empty, or the element if its spelling was lost
//! map                 component of the key          the value; behind a framed key (-1: spelling kept) if the key's type
//!                                                   has several spellings
//! list                timeuuid, ordered, 16 bytes   the element
//! user-defined type   field number, u16             the field
//! ```
//!
//! What must hold: two writes of the same element, key or field meet in one cell.

use bytes::Bytes;
use palladium_protocol::types::CqlType;
use palladium_storage::{Cell, CellState, ColumnId, Deletion, Liveness};

use super::Malformed;
use super::order::{self, Cursor, Spelling};
use super::wire::{self, Elements, Fields};

/// When a write happens and how long it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds.
    pub timestamp: i64,
    /// Seconds; 0 is forever.
    pub ttl: u32,
    /// Seconds.
    pub now: i64,
}

impl Stamp {
    pub fn live(&self, value: Bytes) -> CellState {
        match self.ttl {
            0 => CellState::Live(value),
            ttl => CellState::Expiring {
                value,
                ttl,
                expires_at: self.now.saturating_add(i64::from(ttl)),
            },
        }
    }

    pub fn tombstone(&self) -> CellState {
        CellState::Tombstone {
            local_deletion_time: self.now,
        }
    }

    pub fn deletion(&self) -> Deletion {
        Deletion {
            timestamp: self.timestamp,
            local_deletion_time: self.now,
        }
    }

    /// What a collection is cleared with before its new value: one microsecond earlier, so the value survives it.
    pub fn deletion_before(&self) -> Deletion {
        Deletion {
            timestamp: self.timestamp.saturating_sub(1),
            local_deletion_time: self.now,
        }
    }

    pub fn liveness(&self) -> Liveness {
        Liveness {
            timestamp: self.timestamp,
            ttl: self.ttl,
            expires_at: match self.ttl {
                0 => 0,
                ttl => self.now.saturating_add(i64::from(ttl)),
            },
        }
    }

    pub fn cell(&self, column: ColumnId, path: Bytes, state: CellState) -> Cell {
        Cell {
            column,
            path,
            timestamp: self.timestamp,
            state,
        }
    }
}

/// The path of a set's element or a map's key.
pub fn key_path(ty: &CqlType, key: &[u8]) -> Result<(Bytes, Spelling), Malformed> {
    let mut path = Vec::with_capacity(key.len() + 4);
    let spelling = order::encode(ty, Some(key), false, &mut path)?;
    Ok((path.into(), spelling))
}

/// Path and value of the cell of a set's element.
pub fn set_cell(ty: &CqlType, element: Bytes) -> Result<(Bytes, Bytes), Malformed> {
    let (path, spelling) = key_path(ty, &element)?;
    let value = match spelling {
        Spelling::Kept => Bytes::new(),
        Spelling::Lost => element,
    };
    Ok((path, value))
}

/// Path and value of the cell of a map's entry.
pub fn map_cell(key_type: &CqlType, key: &[u8], value: Bytes) -> Result<(Bytes, Bytes), Malformed> {
    let (path, spelling) = key_path(key_type, key)?;
    if !order::may_lose_spelling(key_type) {
        return Ok((path, value));
    }
    let mut framed = Vec::new();
    wire::put_element((spelling == Spelling::Lost).then_some(key), &mut framed);
    framed.extend_from_slice(&value);
    Ok((path, framed.into()))
}

/// The path of a field of an unfrozen user-defined type.
pub fn field_path(field: usize) -> Bytes {
    Bytes::copy_from_slice(&(field as u16).to_be_bytes())
}

/// The value of a live cell.
pub fn cell_value(cell: &Cell) -> &Bytes {
    static EMPTY: Bytes = Bytes::new();
    match &cell.state {
        CellState::Live(value) | CellState::Expiring { value, .. } => value,
        CellState::Tombstone { .. } => &EMPTY,
    }
}

/// The element a set's cell stands for.
pub fn set_element(ty: &CqlType, cell: &Cell) -> Result<Bytes, Malformed> {
    let spelled = cell_value(cell);
    if !spelled.is_empty() {
        return Ok(spelled.clone());
    }
    path_key(ty, &cell.path)
}

/// Key and value of a map's cell.
pub fn map_entry(key_type: &CqlType, cell: &Cell) -> Result<(Bytes, Bytes), Malformed> {
    let value = cell_value(cell);
    if !order::may_lose_spelling(key_type) {
        return Ok((path_key(key_type, &cell.path)?, value.clone()));
    }
    let spelled = Fields::read(value).next().ok_or(Malformed::SHORT)??;
    let rest = value.slice(4 + spelled.map_or(0, <[u8]>::len)..);
    let key = match spelled {
        Some(key) => value.slice_ref(key),
        None => path_key(key_type, &cell.path)?,
    };
    Ok((key, rest))
}

/// The value of a map's cell alone.
pub fn map_value(key_type: &CqlType, cell: &Cell) -> Result<Bytes, Malformed> {
    let value = cell_value(cell);
    if !order::may_lose_spelling(key_type) {
        return Ok(value.clone());
    }
    let spelled = Fields::read(value).next().ok_or(Malformed::SHORT)??;
    Ok(value.slice(4 + spelled.map_or(0, <[u8]>::len)..))
}

fn path_key(ty: &CqlType, path: &[u8]) -> Result<Bytes, Malformed> {
    let mut key = Vec::with_capacity(path.len());
    order::decode(ty, &mut Cursor::new(path), &mut key)?;
    Ok(key.into())
}

/// Appends the value of an unfrozen column made of these live cells, in the order of their paths.
pub fn put_complex(ty: &CqlType, cells: &[Cell], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match ty {
        CqlType::List(_) => {
            out.extend((cells.len() as i32).to_be_bytes());
            for cell in cells {
                wire::put_element(Some(cell_value(cell)), out);
            }
        }
        CqlType::Set(inner) => {
            out.extend((cells.len() as i32).to_be_bytes());
            for cell in cells {
                wire::put_element(Some(&set_element(inner, cell)?), out);
            }
        }
        CqlType::Map(key, _) => {
            out.extend((cells.len() as i32).to_be_bytes());
            for cell in cells {
                let (key, value) = map_entry(key, cell)?;
                wire::put_element(Some(&key), out);
                wire::put_element(Some(&value), out);
            }
        }
        CqlType::Udt(udt) => {
            let mut cells = cells.iter().peekable();
            for field in 0..udt.fields.len() {
                let cell = cells.next_if(|cell| *cell.path == (field as u16).to_be_bytes());
                wire::put_element(cell.map(|cell| &cell_value(cell)[..]), out);
            }
        }
        _ => {
            if let [cell] = cells {
                out.extend_from_slice(cell_value(cell));
            }
        }
    }
    Ok(())
}

/// The cells of a whole value of an unfrozen set, map or user-defined type, sorted by path as the value is. `value` has
/// been checked and normalized; lists need fresh timeuuids and are made by their own operation.
pub fn complex_cells(
    ty: &CqlType,
    column: ColumnId,
    value: &Bytes,
    stamp: &Stamp,
    out: &mut Vec<Cell>,
) -> Result<(), Malformed> {
    match ty {
        CqlType::Set(inner) => {
            for element in Elements::read(value)? {
                let element = value.slice_ref(element?.ok_or(Malformed::LENGTH)?);
                let (path, spelled) = set_cell(inner, element)?;
                out.push(stamp.cell(column, path, stamp.live(spelled)));
            }
        }
        CqlType::Map(key_type, _) => {
            let mut elements = Elements::read_map(value)?;
            while let Some(key) = elements.next() {
                let key = key?.ok_or(Malformed::LENGTH)?;
                let entry = elements
                    .next()
                    .ok_or(Malformed::SHORT)??
                    .ok_or(Malformed::LENGTH)?;
                let (path, entry) = map_cell(key_type, key, value.slice_ref(entry))?;
                out.push(stamp.cell(column, path, stamp.live(entry)));
            }
        }
        CqlType::Udt(_) => {
            for (place, field) in Fields::read(value).enumerate() {
                if let Some(field) = field? {
                    let state = stamp.live(value.slice_ref(field));
                    out.push(stamp.cell(column, field_path(place), state));
                }
            }
        }
        _ => out.push(stamp.cell(column, Bytes::new(), stamp.live(value.clone()))),
    }
    Ok(())
}
