//! What a modification does to one row: operations and values become cells and deletions.
//!
//! A whole new value for a collection first deletes what was there, one microsecond before itself. Appending to a list gives
//! its elements fresh timeuuids; prepending mirrors time, so that later elements come first.
//!
//! What must hold: a row leaves here with cells and complex deletions in order, none twice.

use std::collections::HashSet;

use bytes::Bytes;
use palladium_protocol::cql::ast::Arithmetic;
use palladium_protocol::types::CqlType;
use palladium_storage::{Cell, Row};

use crate::encode::cell::{self, Stamp, cell_value};
use crate::encode::order;
use crate::encode::wire::Elements;
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::Operation;
use crate::query::expression::{Bound, Expression, Scope};
use crate::query::functions::number;
use crate::query::functions::timeuuid::mirrored_ticks;
use crate::schema::{Column, TableSchema};

/// A row under construction.
pub struct RowWriter<'a> {
    pub table: &'a TableSchema,
    pub scope: &'a Scope<'a>,
    pub stamp: Stamp,
    /// What the row held before, for operations that have to know.
    pub existing: Option<&'a Row>,
}

impl RowWriter<'_> {
    /// Does one operation to the row.
    pub fn apply(&self, index: usize, operation: &Operation, row: &mut Row) -> CqlResult<()> {
        let column = &self.table.columns[index];
        match operation {
            Operation::Set(value) => match value.evaluate(self.scope)? {
                Bound::Unset => {}
                Bound::Null => self.clear(column, row),
                Bound::Value(value) => self.set(column, value, row)?,
            },
            Operation::Delete => match column.ty.is_multi_cell() {
                true => row
                    .complex_deletions
                    .push((column.id, self.stamp.deletion())),
                false => row.cells.push(self.stamp.cell(
                    column.id,
                    Bytes::new(),
                    self.stamp.tombstone(),
                )),
            },
            Operation::Append(value) => {
                if let Bound::Value(value) = value.evaluate(self.scope)? {
                    self.append(column, &value, row)?;
                }
            }
            Operation::Prepend(value) => {
                if let Bound::Value(value) = value.evaluate(self.scope)? {
                    self.prepend(column, &value, row)?;
                }
            }
            Operation::Remove(value) => {
                if let Bound::Value(value) = value.evaluate(self.scope)? {
                    self.remove(column, &value, row)?;
                }
            }
            Operation::SetElement { key, value } => self.set_element(column, key, value, row)?,
            Operation::DeleteElement(key) => self.delete_element(column, key, row)?,
            Operation::SetField { field, value } => {
                let path = cell::field_path(*field);
                match value.evaluate(self.scope)? {
                    Bound::Unset => {}
                    Bound::Null => {
                        row.cells
                            .push(self.stamp.cell(column.id, path, self.stamp.tombstone()))
                    }
                    Bound::Value(value) => {
                        row.cells
                            .push(self.stamp.cell(column.id, path, self.stamp.live(value)))
                    }
                }
            }
            Operation::DeleteField(field) => {
                let path = cell::field_path(*field);
                row.cells
                    .push(self.stamp.cell(column.id, path, self.stamp.tombstone()));
            }
            Operation::Add(value) => self.add(column, value, row)?,
            Operation::Count { .. } => {
                return Err(CqlError::server("counters are changed under their latch"));
            }
        }
        Ok(())
    }

    /// The whole value of a column.
    pub fn set(&self, column: &Column, value: Bytes, row: &mut Row) -> CqlResult<()> {
        if !column.ty.is_multi_cell() {
            row.cells.push(
                self.stamp
                    .cell(column.id, Bytes::new(), self.stamp.live(value)),
            );
            return Ok(());
        }
        row.complex_deletions
            .push((column.id, self.stamp.deletion_before()));
        self.append(column, &value, row)
    }

    /// Null: the value goes.
    pub fn clear(&self, column: &Column, row: &mut Row) {
        match column.ty.is_multi_cell() {
            true => row
                .complex_deletions
                .push((column.id, self.stamp.deletion_before())),
            false => row.cells.push(self.stamp.cell(
                column.id,
                Bytes::new(),
                self.stamp.tombstone(),
            )),
        }
    }

    fn append(&self, column: &Column, value: &Bytes, row: &mut Row) -> CqlResult<()> {
        let CqlType::List(_) = &column.ty else {
            cell::complex_cells(&column.ty, column.id, value, &self.stamp, &mut row.cells)?;
            return Ok(());
        };
        for element in elements(value)? {
            let moment = self.scope.moment;
            let path = order::timeuuid(moment.uuids.next(moment.micros));
            row.cells.push(self.stamp.cell(
                column.id,
                Bytes::copy_from_slice(&path),
                self.stamp.live(element),
            ));
        }
        Ok(())
    }

    /// Adds to what is there: of nothing nothing comes. What the same statement has added before counts, and of two sums the one with the greater bytes stays,
    /// as in Cassandra.
    fn add(&self, column: &Column, value: &Expression, row: &mut Row) -> CqlResult<()> {
        let own = row.cells.iter().filter(|cell| cell.column == column.id);
        let Some(current) = own
            .map(cell_value)
            .max()
            .or_else(|| Some(cell_value(self.existing?.cell(column.id)?)))
        else {
            return Ok(());
        };
        let value = value.evaluate(self.scope)?;
        let is_text = matches!(column.ty, CqlType::Text | CqlType::Ascii);
        let sum = match value {
            Bound::Value(value) if is_text => [&current[..], &value[..]].concat(),
            // The same text, written anew.
            Bound::Unset if is_text => current.to_vec(),
            Bound::Unset => return Ok(()),
            value => {
                let value = value.value().unwrap_or_default();
                let sides = (
                    number::read(&column.ty, current)?,
                    number::read(&column.ty, &value)?,
                );
                let (Some(left), Some(right)) = sides else {
                    return Err(CqlError::invalid(format!(
                        "Invalid null or empty value for addition to column {}",
                        column.name
                    )));
                };
                let sum = number::arithmetic(Arithmetic::Add, &left, &right, &column.ty)?;
                number::write(&sum, &column.ty)?
            }
        };
        self.set(column, sum.into(), row)
    }

    fn prepend(&self, column: &Column, value: &Bytes, row: &mut Row) -> CqlResult<()> {
        let elements = elements(value)?;
        let moment = self.scope.moment;
        // The first element of the value ends up first, so it gets the smallest tick. Two prepends in one microsecond would
        // meet, so each takes its place from the timestamps, which never repeat.
        let first = mirrored_ticks(moment.micros).saturating_sub(elements.len() as i64);
        for (place, element) in elements.into_iter().enumerate() {
            let path = order::timeuuid(moment.uuids.at(first + place as i64));
            row.cells.push(self.stamp.cell(
                column.id,
                Bytes::copy_from_slice(&path),
                self.stamp.live(element),
            ));
        }
        Ok(())
    }

    fn remove(&self, column: &Column, value: &Bytes, row: &mut Row) -> CqlResult<()> {
        let key_type = match &column.ty {
            CqlType::Set(element) => element,
            CqlType::Map(key, _) => key,
            CqlType::List(element_type) => {
                let there = self.existing_cells(column);
                if there.is_empty() {
                    return Ok(());
                }
                // In their order's bytes, which are the same for what is the same: looked at in pairs, two long lists would take minutes.
                let ordered = |value: &[u8]| {
                    let mut bytes = Vec::with_capacity(value.len() + 4);
                    order::encode(element_type, Some(value), false, &mut bytes).map(|_| bytes)
                };
                let unwanted = elements(value)?;
                let unwanted = unwanted.iter().map(|element| ordered(element));
                let unwanted: HashSet<Vec<u8>> = unwanted.collect::<Result<_, _>>()?;
                for own in there {
                    if unwanted.contains(&ordered(cell_value(own))?) {
                        row.cells.push(self.stamp.cell(
                            column.id,
                            own.path.clone(),
                            self.stamp.tombstone(),
                        ));
                    }
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        for key in elements(value)? {
            let (path, _) = cell::key_path(key_type, &key)?;
            row.cells
                .push(self.stamp.cell(column.id, path, self.stamp.tombstone()));
        }
        Ok(())
    }

    fn set_element(
        &self,
        column: &Column,
        key: &Expression,
        value: &Expression,
        row: &mut Row,
    ) -> CqlResult<()> {
        let key = key.evaluate(self.scope)?;
        let value = value.evaluate(self.scope)?;
        let key = self.element_key(column, key, "set")?;
        if value == Bound::Unset {
            // Nothing is set, of a list nevertheless where there is something.
            if let CqlType::List(_) = &column.ty {
                self.list_path(column, &key, "set")?;
            }
            return Ok(());
        }
        let path_and_value = match &column.ty {
            CqlType::Map(key_type, _) => match value {
                Bound::Value(value) => {
                    let (path, value) = cell::map_cell(key_type, &key, value)?;
                    (path, Some(value))
                }
                _ => (cell::key_path(key_type, &key)?.0, None),
            },
            _ => (self.list_path(column, &key, "set")?, value.value()),
        };
        let (path, value) = path_and_value;
        let state = match value {
            Some(value) => self.stamp.live(value),
            None => self.stamp.tombstone(),
        };
        row.cells.push(self.stamp.cell(column.id, path, state));
        Ok(())
    }

    fn delete_element(&self, column: &Column, key: &Expression, row: &mut Row) -> CqlResult<()> {
        let key = key.evaluate(self.scope)?;
        let is_unset = key == Bound::Unset;
        match &column.ty {
            CqlType::List(_) if is_unset => return Ok(()),
            // An unset element is an empty one to Cassandra, where its type has such a thing.
            CqlType::Set(element) if is_unset => {
                if let Ok((path, _)) = cell::key_path(element, &[]) {
                    row.cells
                        .push(self.stamp.cell(column.id, path, self.stamp.tombstone()));
                }
                return Ok(());
            }
            _ => {}
        }
        let key = self.element_key(column, key, "delete")?;
        let path = match &column.ty {
            CqlType::Map(key_type, _) | CqlType::Set(key_type) => cell::key_path(key_type, &key)?.0,
            _ => self.list_path(column, &key, "delete")?,
        };
        row.cells
            .push(self.stamp.cell(column.id, path, self.stamp.tombstone()));
        Ok(())
    }

    fn element_key(&self, column: &Column, key: Bound, what: &str) -> CqlResult<Bytes> {
        let (null, unset) = match (&column.ty, what) {
            (CqlType::List(_), _) => (
                "Invalid null value for list index",
                "Invalid unset value for list index",
            ),
            (CqlType::Map(..), _) => ("Invalid null map key", "Invalid unset map key"),
            _ => ("Invalid null set element", "Invalid unset set element"),
        };
        match key {
            Bound::Value(key) => Ok(key),
            Bound::Null => Err(CqlError::invalid(null)),
            Bound::Unset => Err(CqlError::invalid(unset)),
        }
    }

    /// The path of a list's element by its index.
    fn list_path(&self, column: &Column, index: &[u8], what: &str) -> CqlResult<Bytes> {
        let cells = self.existing_cells(column);
        let index = index
            .try_into()
            .map(i32::from_be_bytes)
            .map_err(|_| CqlError::invalid("Invalid empty value for list index"))?;
        if cells.is_empty() {
            return Err(CqlError::invalid(match what {
                "set" => "Attempted to set an element on a list which is null".to_owned(),
                _ => "Attempted to delete an element from a list which is null".to_owned(),
            }));
        }
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| cells.get(index));
        found.map(|cell| cell.path.clone()).ok_or_else(|| {
            CqlError::invalid(format!(
                "List index {index} out of bound, list has size {}",
                cells.len()
            ))
        })
    }

    fn existing_cells(&self, column: &Column) -> &[Cell] {
        self.existing.map_or(&[], |row| row.cells_of(column.id))
    }
}

/// Whether the operation has to see the row before it can say what changes. What adds to a number or a text stands beside conditions, and sees it by them.
pub fn needs_existing(column: &Column, operation: &Operation) -> bool {
    matches!(column.ty, CqlType::List(_))
        && matches!(
            operation,
            Operation::Remove(_) | Operation::SetElement { .. } | Operation::DeleteElement(_)
        )
}

fn elements(value: &Bytes) -> CqlResult<Vec<Bytes>> {
    let mut all = Vec::new();
    for element in Elements::read(value)? {
        if let Some(element) = element? {
            all.push(value.slice_ref(element));
        }
    }
    Ok(all)
}
