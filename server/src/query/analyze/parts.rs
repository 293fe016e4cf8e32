//! Parts of a value: a field, an element, a slice; and what is known of a column's cells beside their values.

use palladium_protocol::cql::ast::{CellFact, Name, Selectable, Term};
use palladium_protocol::types::{CqlType, UserType};

use super::natural::column_of;
use super::term::{Terms, print};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Bound, Expression, Part, Scope, Typed};

impl Terms<'_> {
    pub(super) fn fact(&mut self, fact: CellFact, of: &Selectable) -> CqlResult<Typed> {
        let column = column_of(of);
        let Selectable::Column(name) = column else {
            return Err(CqlError::invalid(format!(
                "{} is only supported on columns, fields and elements",
                fact.name()
            )));
        };
        // When a value was written is nobody's secret.
        let masked = std::mem::replace(&mut self.masked, false);
        let typed = self.column(name);
        self.masked = masked;
        let Expression::Column(index) = typed?.expression else {
            return Err(CqlError::server("a column is a column"));
        };
        let own = self.table.map(|table| &table.columns[index]);
        if let Some(column) = own.filter(|column| column.kind.is_primary_key()) {
            return Err(CqlError::invalid(format!(
                "Cannot use selection function {} on PRIMARY KEY part {}",
                fact.name(),
                column.name
            )));
        }
        // The part is checked as if its value were asked for.
        let masked = std::mem::replace(&mut self.masked, false);
        let checked = self.any(of, None);
        self.masked = masked;
        let part = match checked?.expression {
            Expression::Element { key, .. } => Part::Element(key),
            Expression::Field { field, .. } => Part::Field(field),
            Expression::Slice { from, to, .. } => Part::Slice { from, to },
            _ => Part::Whole,
        };
        let one = match fact {
            CellFact::Ttl => CqlType::Int,
            _ => CqlType::Bigint,
        };
        let several = matches!(part, Part::Whole | Part::Slice { .. })
            && fact != CellFact::MaxWriteTime
            && own.is_some_and(|column| column.ty.is_multi_cell());
        Ok(Typed {
            expression: Expression::Fact {
                fact,
                column: index,
                part,
            },
            ty: match several {
                true => CqlType::list(one).frozen(),
                false => one,
            },
        })
    }

    pub(super) fn field(&mut self, of: &Selectable, field: &Name) -> CqlResult<Typed> {
        let typed = self.any(of, None)?;
        let CqlType::Udt(udt) = typed.ty.bare() else {
            return Err(CqlError::invalid(format!(
                "Invalid field selection: {} of type {} is not a user type",
                print(of),
                typed.ty
            )));
        };
        let place = field_place(udt, field.as_str()).ok_or_else(|| {
            CqlError::invalid(format!(
                "{} of type {} has no field {}",
                print(of),
                typed.ty,
                field.as_str()
            ))
        })?;
        Ok(Typed {
            ty: udt.fields[place].1.clone(),
            expression: Expression::Field {
                of: Box::new(typed.expression),
                field: place,
            },
        })
    }

    pub(super) fn element(&mut self, of: &Selectable, key: &Term) -> CqlResult<Typed> {
        let typed = self.any(of, None)?;
        let (key_type, ty) = match typed.ty.bare() {
            CqlType::Map(key, value) => ((**key).clone(), (**value).clone()),
            CqlType::Set(element) => ((**element).clone(), (**element).clone()),
            CqlType::List(_) => {
                return Err(CqlError::invalid(format!(
                    "Element selection is only allowed on sets and maps, but {} is a list",
                    print(of)
                )));
            }
            _ => {
                return Err(CqlError::invalid(format!(
                    "Invalid element selection: {} is of type {} is not a collection",
                    print(of),
                    typed.ty
                )));
            }
        };
        let prefix = match typed.ty.bare() {
            CqlType::Set(_) => "value",
            _ => "key",
        };
        let key = self.term(key, &format!("{prefix}({})", print(of)), &key_type)?;
        self.choose(&key, of, true);
        Ok(Typed {
            expression: Expression::Element {
                of: Box::new(typed),
                key: Box::new(key),
            },
            ty,
        })
    }

    pub(super) fn slice(
        &mut self,
        of: &Selectable,
        from: Option<&Term>,
        to: Option<&Term>,
    ) -> CqlResult<Typed> {
        let typed = self.any(of, None)?;
        let (name, key_type) = match typed.ty.bare() {
            CqlType::Map(key, _) => ("key", (**key).clone()),
            CqlType::Set(element) => ("value", (**element).clone()),
            CqlType::List(_) => {
                return Err(CqlError::invalid(format!(
                    "Slice selection is only allowed on sets and maps, but {} is a list",
                    print(of)
                )));
            }
            _ => {
                return Err(CqlError::invalid(format!(
                    "Invalid slice selection: {} of type {} is not a collection",
                    print(of),
                    typed.ty
                )));
            }
        };
        let name = format!("{name}({})", print(of));
        let mut end = |term: Option<&Term>| {
            term.map(|term| self.term(term, &name, &key_type).map(Box::new))
                .transpose()
        };
        let (from, to) = (end(from)?, end(to)?);
        for end in from.iter().chain(&to) {
            self.choose(end, of, false);
        }
        let ty = typed.ty.clone();
        Ok(Typed {
            expression: Expression::Slice {
                of: Box::new(typed),
                from,
                to,
            },
            ty,
        })
    }

    /// Remembers what has to be a value when the statement is executed.
    fn choose(&mut self, key: &Expression, of: &Selectable, is_element: bool) {
        if !matches!(key, Expression::Constant(Bound::Value(_))) {
            self.chosen.push(Chosen {
                key: key.clone(),
                of: print(of),
                is_element,
            });
        }
    }
}

/// The key of an element, or an end of a slice.
#[derive(Debug)]
pub struct Chosen {
    key: Expression,
    /// What it is chosen of.
    of: String,
    is_element: bool,
}

impl Chosen {
    /// Refuses what is none. A slice without an end is one to the end.
    pub fn check(&self, scope: &Scope<'_>) -> CqlResult<()> {
        let refused = match (self.key.evaluate(scope)?, self.is_element) {
            (Bound::Null, true) => "null value for element",
            (Bound::Null, false) => "null value for slice",
            (Bound::Unset, true) => "unset value for element",
            _ => return Ok(()),
        };
        Err(CqlError::invalid(format!(
            "Invalid {refused} selection on {}",
            self.of
        )))
    }
}

pub(super) fn field_place(udt: &UserType, field: &str) -> Option<usize> {
    udt.fields.iter().position(|(own, _)| own == field)
}
