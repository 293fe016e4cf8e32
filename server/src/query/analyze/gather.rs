//! The relations of a WHERE, one after the other: columns are found, values get types, and what is said of one column, or of
//! one tuple of columns, comes together.
//!
//! What must hold: no two constraints on the same columns contradict each other in form; whether they do in value only the
//! rows can tell.

use palladium_protocol::cql::ast::{InValues, Name, Operator, Relation, Term};
use palladium_protocol::types::CqlType;

use super::restrict::{Alternatives, Constraint, End, Purpose, Test};
use super::term::{Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::Expression;
use crate::schema::{Column, ColumnKind, TableSchema};

/// What has been said of one column, or of one tuple of columns.
#[derive(Debug, Clone)]
pub struct Said {
    pub columns: Vec<usize>,
    pub tuple: bool,
    pub constraint: Option<Constraint>,
    pub others: Vec<Test>,
}

/// The relations of a WHERE by the columns they are about.
#[derive(Default)]
pub struct Gathered {
    pub said: Vec<Said>,
    /// The ends of a stretch of tokens.
    pub token: Option<(Option<End>, Option<End>)>,
    /// Both ends are one token.
    token_is_equal: bool,
}

impl Gathered {
    /// Takes one relation in.
    pub fn add(
        &mut self,
        terms: &mut Terms<'_>,
        table: &TableSchema,
        relation: &Relation,
        purpose: Purpose,
    ) -> CqlResult<()> {
        match relation {
            Relation::Column {
                column,
                operator,
                value,
            } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                check_operator(own, *operator, relation)?;
                let expression = terms.term(value, &own.name, &own.ty)?;
                self.compare(table, vec![index], false, *operator, expression)
            }
            Relation::Between { column, low, high } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                check_operator(own, Operator::GreaterOrEqual, relation)?;
                let low = terms.term(low, &own.name, &own.ty)?;
                let high = terms.term(high, &own.name, &own.ty)?;
                self.compare(table, vec![index], false, Operator::GreaterOrEqual, low)?;
                self.compare(table, vec![index], false, Operator::LessOrEqual, high)
            }
            Relation::In {
                column,
                negated,
                values,
            } => {
                if *negated {
                    return Err(CqlError::invalid(format!(
                        "Unsupported \"NOT IN\" relation: {relation}"
                    )));
                }
                let index = find(table, column)?;
                let own = &table.columns[index];
                if own.ty.is_multi_cell() {
                    return Err(CqlError::invalid(format!(
                        "Collection column '{}' ({}) cannot be restricted by a 'IN' relation",
                        own.name, own.ty
                    )));
                }
                let alternatives = in_values(terms, values, &own.name, &own.ty)?;
                self.among(table, vec![index], false, alternatives)
            }
            Relation::Contains {
                column,
                negated,
                key,
                value,
            } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                if *negated {
                    return Err(CqlError::invalid(format!(
                        "Unsupported \"NOT CONTAINS\" relation: {relation}"
                    )));
                }
                let test = match (own.ty.bare(), key) {
                    (CqlType::Map(inner, _), true) => Test::ContainsKey(terms.term(
                        value,
                        &format!("key({})", own.name),
                        inner,
                    )?),
                    (_, true) => {
                        return Err(CqlError::invalid(format!(
                            "Cannot use CONTAINS KEY on non-map column {column}"
                        )));
                    }
                    (
                        CqlType::Map(_, inner) | CqlType::List(inner) | CqlType::Set(inner),
                        false,
                    ) => {
                        Test::Contains(terms.term(value, &format!("value({})", own.name), inner)?)
                    }
                    _ => {
                        return Err(CqlError::invalid(format!(
                            "Cannot use CONTAINS on non-collection column {column}"
                        )));
                    }
                };
                self.other(index, test);
                Ok(())
            }
            Relation::Element {
                column,
                key,
                operator,
                value,
            } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                let CqlType::Map(key_type, value_type) = own.ty.bare() else {
                    return Err(CqlError::invalid(format!(
                        "Column {column} cannot be used as a map"
                    )));
                };
                if *operator != Operator::Equal {
                    return Err(CqlError::invalid(
                        "Only EQ relations are supported on map entries",
                    ));
                }
                let test = Test::Element {
                    key: terms.term(key, &format!("key({})", own.name), key_type)?,
                    operator: *operator,
                    value: terms.term(value, &format!("value({})", own.name), value_type)?,
                };
                self.other(index, test);
                Ok(())
            }
            Relation::Like { column, pattern } => {
                let own = &table.columns[find(table, column)?];
                terms.term(pattern, &own.name, &own.ty)?;
                Err(CqlError::invalid(format!(
                    "LIKE restriction is only supported on properly indexed columns. {column} LIKE {} is not valid.",
                    super::name::term(pattern)
                )))
            }
            Relation::IsNotNull { column } => {
                find(table, column)?;
                Err(CqlError::invalid(format!(
                    "Unsupported restriction: {column} IS NOT NULL"
                )))
            }
            Relation::Token {
                columns,
                operator,
                value,
            } => {
                check_token(table, columns, purpose)?;
                let value = terms.term(value, "partition key token", &CqlType::Bigint)?;
                self.token_compare(table, *operator, value)
            }
            Relation::TokenBetween { columns, low, high } => {
                check_token(table, columns, purpose)?;
                let low = terms.term(low, "partition key token", &CqlType::Bigint)?;
                let high = terms.term(high, "partition key token", &CqlType::Bigint)?;
                self.token_compare(table, Operator::GreaterOrEqual, low)?;
                self.token_compare(table, Operator::LessOrEqual, high)
            }
            Relation::Tuple {
                columns,
                operator,
                value,
            } => {
                let (indexes, ty, name) = tuple_columns(table, columns, relation)?;
                if *operator == Operator::NotEqual {
                    return Err(CqlError::invalid(format!(
                        "Unsupported \"!=\" relation: {relation}"
                    )));
                }
                let value = tuple(terms, table, &indexes, value, &name, &ty)?;
                self.compare(table, indexes, true, *operator, value)
            }
            Relation::TupleBetween { columns, low, high } => {
                let (indexes, ty, name) = tuple_columns(table, columns, relation)?;
                let low = tuple(terms, table, &indexes, low, &name, &ty)?;
                let high = tuple(terms, table, &indexes, high, &name, &ty)?;
                self.compare(table, indexes.clone(), true, Operator::GreaterOrEqual, low)?;
                self.compare(table, indexes, true, Operator::LessOrEqual, high)
            }
            Relation::TupleIn {
                columns,
                negated,
                values,
            } => {
                let (indexes, ty, name) = tuple_columns(table, columns, relation)?;
                if *negated {
                    return Err(CqlError::invalid(format!(
                        "Unsupported \"NOT IN\" relation: {relation}"
                    )));
                }
                let alternatives = match values {
                    InValues::Terms(list) => {
                        let values: CqlResult<Vec<Expression>> = list
                            .iter()
                            .map(|value| tuple(terms, table, &indexes, value, &name, &ty))
                            .collect();
                        some_of(values?)
                    }
                    marker => in_values(terms, marker, &name, &ty)?,
                };
                self.among(table, indexes, true, alternatives)
            }
            Relation::CustomIndex { index, .. } => {
                let mut indexes = table.indexes.iter();
                Err(CqlError::invalid(
                    match indexes.find(|own| own.name == index.as_str()) {
                        None => format!(
                            "Invalid index expression, index {} not found for {}",
                            index.as_str(),
                            table.full_name()
                        ),
                        Some(own) if !own.is_sai() => format!(
                            "Only CUSTOM indexes may be used in custom index expressions, {} is not valid",
                            index.as_str()
                        ),
                        Some(_) => {
                            format!(
                                "Index {} does not support custom expressions",
                                index.as_str()
                            )
                        }
                    },
                ))
            }
        }
    }

    fn entry(&mut self, columns: Vec<usize>, tuple: bool) -> &mut Said {
        let found = self
            .said
            .iter()
            .position(|said| said.columns == columns && said.tuple == tuple);
        let place = found.unwrap_or_else(|| {
            self.said.push(Said {
                columns,
                tuple,
                constraint: None,
                others: Vec::new(),
            });
            self.said.len() - 1
        });
        &mut self.said[place]
    }

    /// Where a slice that begins at these columns is gathered: the ends of one slice may be tuples of different length.
    fn slice_entry(
        &mut self,
        table: &TableSchema,
        columns: Vec<usize>,
        tuple: bool,
    ) -> CqlResult<&mut Said> {
        let is_slice = |said: &Said| matches!(said.constraint, Some(Constraint::Between { .. }));
        let found = self
            .said
            .iter()
            .position(|said| said.columns.first() == columns.first() && is_slice(said));
        let Some(place) = found else {
            return Ok(self.entry(columns, tuple));
        };
        let said = &mut self.said[place];
        if said.tuple != tuple {
            return Err(CqlError::invalid(format!(
                "Column \"{}\" cannot have both tuple-notation inequalities and single-column inequalities",
                table.columns[columns[0]].name
            )));
        }
        if columns.len() > said.columns.len() {
            said.columns = columns;
        }
        Ok(said)
    }

    fn other(&mut self, index: usize, test: Test) {
        self.entry(vec![index], false).others.push(test);
    }

    fn among(
        &mut self,
        table: &TableSchema,
        columns: Vec<usize>,
        tuple: bool,
        alternatives: Alternatives,
    ) -> CqlResult<()> {
        let shown = shown(table, &columns);
        let said = self.entry(columns, tuple);
        let before = match &said.constraint {
            None => None,
            Some(Constraint::Among(Alternatives::One(_))) => Some("an Equal"),
            Some(Constraint::Among(_)) => Some("a IN"),
            Some(Constraint::Between { .. }) => {
                return Err(CqlError::invalid(format!(
                    "Column \"{shown}\" cannot be restricted by both an equality and an inequality relation"
                )));
            }
        };
        if let Some(kind) = before {
            return Err(CqlError::invalid(format!(
                "{shown} cannot be restricted by more than one relation if it includes {kind}"
            )));
        }
        said.constraint = Some(Constraint::Among(alternatives));
        Ok(())
    }

    fn compare(
        &mut self,
        table: &TableSchema,
        columns: Vec<usize>,
        tuple: bool,
        operator: Operator,
        value: Expression,
    ) -> CqlResult<()> {
        if operator == Operator::Equal {
            return self.among(table, columns, tuple, Alternatives::One(value));
        }
        let shown = shown(table, &columns);
        let said = self.slice_entry(table, columns, tuple)?;
        let constraint = said.constraint.get_or_insert(Constraint::Between {
            lower: None,
            upper: None,
        });
        let Constraint::Between { lower, upper } = constraint else {
            let Constraint::Among(alternatives) = constraint else {
                return Ok(());
            };
            let kind = if matches!(alternatives, Alternatives::One(_)) {
                "an Equal"
            } else {
                "a IN"
            };
            return Err(CqlError::invalid(format!(
                "{shown} cannot be restricted by more than one relation if it includes {kind}"
            )));
        };
        put_end(lower, upper, operator, value, &shown)
    }

    fn token_compare(
        &mut self,
        table: &TableSchema,
        operator: Operator,
        value: Expression,
    ) -> CqlResult<()> {
        let names: Vec<&str> = table
            .partition_columns()
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let shown = names.join(", ");
        if self.token_is_equal {
            return Err(CqlError::invalid(format!(
                "{shown} cannot be restricted by more than one relation if it includes an Equal"
            )));
        }
        self.token_is_equal = operator == Operator::Equal;
        if self.token_is_equal && self.token.is_some() {
            return Err(CqlError::invalid(format!(
                "Column \"{shown}\" cannot be restricted by both an equality and an inequality relation"
            )));
        }
        let (lower, upper) = self.token.get_or_insert((None, None));
        if operator == Operator::Equal {
            put_end(
                lower,
                upper,
                Operator::GreaterOrEqual,
                value.clone(),
                &shown,
            )?;
            return put_end(lower, upper, Operator::LessOrEqual, value, &shown);
        }
        if operator == Operator::NotEqual {
            return Err(CqlError::invalid(
                "Unsupported \"!=\" relation: token(...) != ...",
            ));
        }
        put_end(lower, upper, operator, value, &shown)
    }
}

fn put_end(
    lower: &mut Option<End>,
    upper: &mut Option<End>,
    operator: Operator,
    value: Expression,
    shown: &str,
) -> CqlResult<()> {
    let (end, which) = match operator {
        Operator::Greater | Operator::GreaterOrEqual => (lower, "start"),
        _ => (upper, "end"),
    };
    if end.is_some() {
        return Err(CqlError::invalid(format!(
            "More than one restriction was found for the {which} bound on {shown}"
        )));
    }
    *end = Some(End {
        value,
        inclusive: matches!(operator, Operator::GreaterOrEqual | Operator::LessOrEqual),
    });
    Ok(())
}

fn find(table: &TableSchema, name: &Name) -> CqlResult<usize> {
    table
        .column_index(name.as_str())
        .ok_or_else(|| undefined(table, name))
}

fn shown(table: &TableSchema, columns: &[usize]) -> String {
    match columns {
        [single] => table.columns[*single].name.clone(),
        several => {
            let names: Vec<&str> = several
                .iter()
                .map(|index| table.columns[*index].name.as_str())
                .collect();
            format!("({})", names.join(", "))
        }
    }
}

fn check_operator(column: &Column, operator: Operator, relation: &Relation) -> CqlResult<()> {
    if operator == Operator::NotEqual {
        return Err(CqlError::invalid(format!(
            "Unsupported \"!=\" relation: {relation}"
        )));
    }
    if column.ty.is_multi_cell() {
        let kind = if column.ty.is_collection() {
            "Collection"
        } else {
            "Non-frozen UDT"
        };
        return Err(CqlError::invalid(format!(
            "{kind} column '{}' ({}) cannot be restricted by a '{}' relation",
            column.name,
            column.ty,
            operator.symbol()
        )));
    }
    if operator != Operator::Equal {
        let refused = match column.ty.bare() {
            CqlType::Duration => Some("duration columns"),
            _ => None,
        };
        if let Some(refused) = refused {
            return Err(CqlError::invalid(format!(
                "Slice restrictions are not supported on {refused}"
            )));
        }
    }
    Ok(())
}

fn check_token(table: &TableSchema, columns: &[Name], purpose: Purpose) -> CqlResult<()> {
    if !matches!(purpose, Purpose::Select { .. }) {
        return Err(CqlError::invalid(format!(
            "The token function cannot be used in WHERE clauses for {} statements",
            purpose.name()
        )));
    }
    for column in columns {
        find(table, column)?;
    }
    let own: Vec<&str> = table
        .partition_columns()
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let given: Vec<&str> = columns.iter().map(Name::as_str).collect();
    if own == given {
        return Ok(());
    }
    Err(CqlError::invalid(
        if !own.iter().all(|name| given.contains(name)) {
            "The token() function must be applied to all partition key components or none of them"
                .into()
        } else if !given.iter().all(|name| own.contains(name)) {
            "The token() function must contains only partition key components".into()
        } else if given.len() > own.len() {
            "The token() function contains duplicate partition key components".into()
        } else {
            format!(
                "The token function arguments must be in the partition key order: {}",
                own.join(", ")
            )
        },
    ))
}

/// Places, tuple type and name of the columns of a tuple relation: neighbours in clustering order.
fn tuple_columns(
    table: &TableSchema,
    columns: &[Name],
    relation: &Relation,
) -> CqlResult<(Vec<usize>, CqlType, String)> {
    let mut indexes = Vec::new();
    for name in columns {
        let index = find(table, name)?;
        let column = &table.columns[index];
        if column.kind != ColumnKind::Clustering {
            return Err(CqlError::invalid(format!(
                "Multi-column relations can only be applied to clustering columns but was applied to: {}",
                column.name
            )));
        }
        if indexes.contains(&index) {
            return Err(CqlError::invalid(format!(
                "Column \"{}\" appeared twice in a relation: {relation}",
                column.name
            )));
        }
        if indexes.last().is_some_and(|last| last + 1 != index) {
            return Err(CqlError::invalid(format!(
                "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: {relation}"
            )));
        }
        indexes.push(index);
    }
    let ty = CqlType::tuple(indexes.iter().map(|index| table.columns[*index].ty.clone()));
    let names: Vec<&str> = columns.iter().map(Name::as_str).collect();
    Ok((indexes, ty, format!("({})", names.join(","))))
}

fn some_of(mut values: Vec<Expression>) -> Alternatives {
    match values.len() {
        1 => Alternatives::One(values.remove(0)),
        _ => Alternatives::Several(values),
    }
}

/// A value for several columns: of a tuple that is written out, each part is for its own column.
fn tuple(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    indexes: &[usize],
    value: &Term,
    name: &str,
    ty: &CqlType,
) -> CqlResult<Expression> {
    let Term::Tuple(written) = value else {
        return terms.term(value, name, ty);
    };
    if written.len() != indexes.len() {
        return Err(CqlError::invalid(format!(
            "Expected {} elements in value tuple, but got {}: {}",
            indexes.len(),
            written.len(),
            super::name::term(value)
        )));
    }
    let mut parts = Vec::with_capacity(written.len());
    for (part, index) in written.iter().zip(indexes) {
        let column = &table.columns[*index];
        parts.push(terms.term(part, &column.name, &column.ty)?);
    }
    Ok(Expression::Build {
        ty: ty.clone(),
        parts,
    })
}

/// The right side of IN.
pub fn in_values(
    terms: &mut Terms<'_>,
    values: &InValues,
    name: &str,
    ty: &CqlType,
) -> CqlResult<Alternatives> {
    match values {
        InValues::Terms(list) => {
            let values: CqlResult<Vec<Expression>> = list
                .iter()
                .map(|value| terms.term(value, name, ty))
                .collect();
            Ok(some_of(values?))
        }
        InValues::Marker(marker) => {
            let ty = CqlType::list(ty.clone());
            // A tuple's name has its own parentheses, and IN does not add to them.
            let bare = name
                .strip_prefix('(')
                .and_then(|name| name.strip_suffix(')'))
                .unwrap_or(name);
            Ok(Alternatives::Listed(terms.marker(
                marker,
                &format!("in({bare})"),
                &ty,
            )))
        }
    }
}
