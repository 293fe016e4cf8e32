//! The relations of a WHERE, one after the other: columns are found, values get types, and what is said of one column, or of
//! one tuple of columns, comes together in `said`.
//!
//! What must hold: of several mistakes the one is met first that Cassandra meets first.

use palladium_protocol::cql::ast::{InValues, Name, Operator, Relation, Term};
use palladium_protocol::types::CqlType;

use super::indexes;
use super::restrict::Purpose;
use super::restrictions::{Alternatives, Constraint, End, Test};
use super::said::{Said, put_end};
use super::term::{Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::Expression;
use crate::schema::resolve::holds_durations;
use crate::schema::{Column, ColumnKind, TableSchema};

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
    /// Takes one relation in. The order of the checks is Cassandra's: a client sees the first of several mistakes.
    pub fn add(
        &mut self,
        terms: &mut Terms<'_>,
        table: &TableSchema,
        relation: &Relation,
        purpose: Purpose,
    ) -> CqlResult<()> {
        let unsupported = |operator: &str| {
            CqlError::invalid(format!("Unsupported \"{operator}\" relation: {relation}"))
        };
        match relation {
            Relation::Column {
                operator: Operator::NotEqual,
                ..
            }
            | Relation::Element {
                operator: Operator::NotEqual,
                ..
            }
            | Relation::Token {
                operator: Operator::NotEqual,
                ..
            }
            | Relation::Tuple {
                operator: Operator::NotEqual,
                ..
            } => Err(unsupported("!=")),
            Relation::Column {
                column,
                operator,
                value,
            } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                check_slice(own, *operator)?;
                check_whole(own, operator.symbol())?;
                let expression = terms.of_column(value, own)?;
                self.compare(table, vec![index], false, *operator, expression, purpose)
            }
            Relation::Between { column, low, high } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                check_slice(own, Operator::GreaterOrEqual)?;
                check_whole(own, "BETWEEN")?;
                let low = terms.of_column(low, own)?;
                let high = terms.of_column(high, own)?;
                let lower = Operator::GreaterOrEqual;
                self.compare(table, vec![index], false, lower, low, purpose)?;
                self.compare(
                    table,
                    vec![index],
                    false,
                    Operator::LessOrEqual,
                    high,
                    purpose,
                )
            }
            Relation::In { negated: true, .. } | Relation::TupleIn { negated: true, .. } => {
                Err(unsupported("NOT IN"))
            }
            Relation::In { column, values, .. } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                check_whole(own, "IN")?;
                let alternatives = match values {
                    InValues::Terms(list) => {
                        let values: CqlResult<Vec<Expression>> = list
                            .iter()
                            .map(|value| terms.of_column(value, own))
                            .collect();
                        some_of(values?)
                    }
                    marker => in_values(terms, marker, &own.name, &own.ty)?,
                };
                self.among(table, vec![index], false, alternatives, purpose)
            }
            Relation::Contains { negated: true, .. } => Err(unsupported("NOT CONTAINS")),
            Relation::Contains {
                column, key, value, ..
            } => {
                if matches!(purpose, Purpose::Update | Purpose::Delete) {
                    return Err(CqlError::invalid(format!(
                        "Cannot use {} with {}",
                        purpose.name(),
                        if *key { "CONTAINS KEY" } else { "CONTAINS" }
                    )));
                }
                let index = find(table, column)?;
                let own = &table.columns[index];
                let test = contains(terms, own, *key, value)?;
                self.other(table, index, test, purpose)
            }
            Relation::Element {
                column,
                key,
                operator,
                value,
            } => {
                let index = find(table, column)?;
                let own = &table.columns[index];
                let (key_type, value_type) = check_element(own, *operator)?;
                let test = Test::Element {
                    key: terms.term(key, &format!("key({})", own.name), key_type)?,
                    operator: *operator,
                    value: terms.term(value, &format!("value({})", own.name), value_type)?,
                };
                self.other(table, index, test, purpose)
            }
            Relation::Like { column, pattern } => {
                let own = &table.columns[find(table, column)?];
                check_whole(own, "LIKE")?;
                terms.term(pattern, &own.name, &own.ty)?;
                Err(CqlError::invalid(format!(
                    "LIKE restriction is only supported on properly indexed columns. {column} LIKE {} is not valid.",
                    super::name::term(pattern)
                )))
            }
            Relation::IsNotNull { column } => Err(CqlError::invalid(format!(
                "Unsupported restriction: {column} IS NOT NULL"
            ))),
            Relation::Token {
                columns,
                operator,
                value,
            } => {
                check_token(table, columns)?;
                let value = terms.term(value, "partition key token", &CqlType::Bigint)?;
                self.token_compare(table, *operator, value)
            }
            Relation::TokenBetween { columns, low, high } => {
                check_token(table, columns)?;
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
                let value = tuple(terms, table, &indexes, value, &name, &ty)?;
                self.compare(table, indexes, true, *operator, value, purpose)
            }
            Relation::TupleBetween { columns, low, high } => {
                let (indexes, ty, name) = tuple_columns(table, columns, relation)?;
                let low = tuple(terms, table, &indexes, low, &name, &ty)?;
                let high = tuple(terms, table, &indexes, high, &name, &ty)?;
                let lower = Operator::GreaterOrEqual;
                self.compare(table, indexes.clone(), true, lower, low, purpose)?;
                self.compare(table, indexes, true, Operator::LessOrEqual, high, purpose)
            }
            Relation::TupleIn {
                columns, values, ..
            } => {
                let (indexes, ty, name) = tuple_columns(table, columns, relation)?;
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
                self.among(table, indexes, true, alternatives, purpose)
            }
            Relation::CustomIndex { index, .. } => {
                let mut indexes = table.indexes.iter();
                Err(CqlError::invalid(
                    match indexes.find(|own| own.name == index.as_str()) {
                        None => format!(
                            "Invalid index expression, index {} not found for {}",
                            index.as_str(),
                            table.qualified_name()
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

    fn other(
        &mut self,
        table: &TableSchema,
        index: usize,
        test: Test,
        purpose: Purpose,
    ) -> CqlResult<()> {
        let new = Said {
            columns: vec![index],
            tuple: false,
            constraint: None,
            others: vec![test],
        };
        self.merge(table, new, purpose)
    }

    fn among(
        &mut self,
        table: &TableSchema,
        columns: Vec<usize>,
        tuple: bool,
        alternatives: Alternatives,
        purpose: Purpose,
    ) -> CqlResult<()> {
        let new = Said {
            columns,
            tuple,
            constraint: Some(Constraint::Among(alternatives)),
            others: Vec::new(),
        };
        self.merge(table, new, purpose)
    }

    fn compare(
        &mut self,
        table: &TableSchema,
        columns: Vec<usize>,
        tuple: bool,
        operator: Operator,
        value: Expression,
        purpose: Purpose,
    ) -> CqlResult<()> {
        if operator == Operator::Equal {
            return self.among(table, columns, tuple, Alternatives::One(value), purpose);
        }
        let (mut lower, mut upper) = (None, None);
        put_end(&mut lower, &mut upper, operator, value, "")?;
        let new = Said {
            columns,
            tuple,
            constraint: Some(Constraint::Between { lower, upper }),
            others: Vec::new(),
        };
        self.merge(table, new, purpose)
    }

    /// Joins what is newly said to what was said of the same columns.
    fn merge(&mut self, table: &TableSchema, new: Said, purpose: Purpose) -> CqlResult<()> {
        // What an index answers is free of the order of the clustering.
        let is_clustering = table.columns[new.columns[0]].kind == ColumnKind::Clustering
            && !indexes::is_any_answered(table, &indexes::asked(table, std::slice::from_ref(&new)));
        let last = self
            .said
            .iter()
            .filter(|said| table.columns[said.columns[0]].kind == ColumnKind::Clustering)
            .max_by_key(|said| said.columns.last().copied())
            .map(|said| (said.columns[0], said.is_slice()));
        let (first, is_slice) = (new.columns[0], new.is_slice());
        let met: Vec<usize> = (0..self.said.len())
            .filter(|place| self.said[*place].meets(&new))
            .collect();
        // Taken out and not copied: what is said of a column may be long.
        let taken: Vec<Said> = met
            .iter()
            .rev()
            .map(|place| self.said.remove(*place))
            .collect();
        let mut merged = new;
        for own in taken.into_iter().rev() {
            merged = own.merged(table, merged)?;
        }
        let place = met.first().copied().unwrap_or(self.said.len());
        self.said.insert(place, merged);
        self.check_order(table, is_clustering, last, first, is_slice, purpose)
    }

    /// A slice of the clustering ends what may be said of it, in whichever order it is said; filters are free of that.
    fn check_order(
        &self,
        table: &TableSchema,
        is_clustering: bool,
        last: Option<(usize, bool)>,
        first: usize,
        is_slice: bool,
        purpose: Purpose,
    ) -> CqlResult<()> {
        let filtering = purpose
            == Purpose::Select {
                allow_filtering: true,
            };
        let Some((last_first, last_is_slice)) = last.filter(|_| is_clustering && !filtering) else {
            return Ok(());
        };
        let name = |index: usize| &table.columns[index].name;
        if last_is_slice && first > last_first {
            return Err(CqlError::invalid(format!(
                "Clustering column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ relation)",
                name(first),
                name(last_first)
            )));
        }
        if first < last_first && is_slice {
            let next = self
                .said
                .iter()
                .flat_map(|said| &said.columns)
                .filter(|index| **index > first)
                .min()
                .copied()
                .unwrap_or(last_first);
            return Err(CqlError::invalid(format!(
                "PRIMARY KEY column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ relation)",
                name(next),
                name(first)
            )));
        }
        Ok(())
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
                "Columns \"{shown}\" cannot be restricted by both an equality and an inequality relation"
            )));
        }
        let (lower, upper) = self.token.get_or_insert((None, None));
        if operator == Operator::Equal {
            let end = Operator::GreaterOrEqual;
            put_end(lower, upper, end, value.clone(), &shown)?;
            return put_end(lower, upper, Operator::LessOrEqual, value, &shown);
        }
        put_end(lower, upper, operator, value, &shown)
    }
}

fn find(table: &TableSchema, name: &Name) -> CqlResult<usize> {
    table
        .column_index(name.as_str())
        .ok_or_else(|| undefined(table, name))
}

/// What has no order has no slices.
fn check_slice(column: &Column, operator: Operator) -> CqlResult<()> {
    if operator == Operator::Equal || !holds_durations(&column.ty) {
        return Ok(());
    }
    let refused = match column.ty.bare() {
        CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) => "collections containing durations",
        CqlType::Tuple(_) => "tuples containing durations",
        CqlType::Udt(_) => "UDTs containing durations",
        _ => "duration columns",
    };
    Err(CqlError::invalid(format!(
        "Slice restrictions are not supported on {refused}"
    )))
}

/// What consists of many cells is not compared as a whole.
fn check_whole(column: &Column, operator: &str) -> CqlResult<()> {
    if !column.ty.is_multi_cell() {
        return Ok(());
    }
    Err(CqlError::invalid(match column.ty.is_collection() {
        true => format!(
            "Collection column '{}' ({}) cannot be restricted by a '{operator}' relation",
            column.name, column.ty
        ),
        false => format!(
            "Non-frozen UDT column '{}' ({}) cannot be restricted by any relation",
            column.name, column.ty
        ),
    }))
}

/// CONTAINS, and with `key` CONTAINS KEY.
fn contains(terms: &mut Terms<'_>, own: &Column, key: bool, value: &Term) -> CqlResult<Test> {
    match (own.ty.bare(), key) {
        (CqlType::Map(inner, _), true) => {
            let name = format!("key({})", own.name);
            Ok(Test::ContainsKey(terms.term(value, &name, inner)?))
        }
        (_, true) => Err(CqlError::invalid(format!(
            "Cannot use CONTAINS KEY on non-map column {}",
            own.name
        ))),
        (CqlType::Map(_, inner) | CqlType::List(inner) | CqlType::Set(inner), false) => {
            let name = format!("value({})", own.name);
            Ok(Test::Contains(terms.term(value, &name, inner)?))
        }
        _ => Err(CqlError::invalid(format!(
            "Cannot use CONTAINS on non-collection column {}",
            own.name
        ))),
    }
}

/// The types of key and value of `m[key] = value`.
fn check_element(own: &Column, operator: Operator) -> CqlResult<(&CqlType, &CqlType)> {
    check_slice(own, operator)?;
    let name = &own.name;
    Err(CqlError::invalid(match (own.ty.bare(), &own.ty) {
        (CqlType::List(_), _) => {
            format!("Indexes on list entries ({name}[index] = value) are not currently supported.")
        }
        (CqlType::Map(..), CqlType::Frozen(_)) => {
            format!("Map-entry equality predicates on frozen map column {name} are not supported")
        }
        (CqlType::Map(key, value), _) if operator == Operator::Equal => return Ok((key, value)),
        (CqlType::Map(..), _) => "Only EQ relations are supported on map entries".into(),
        _ => format!("Column {name} cannot be used as a map"),
    }))
}

fn check_token(table: &TableSchema, columns: &[Name]) -> CqlResult<()> {
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
        } else if (1..given.len()).any(|place| given[..place].contains(&given[place])) {
            "The token() function contains duplicate partition key components".into()
        } else if !given.iter().all(|name| own.contains(name)) {
            "The token() function must contains only partition key components".into()
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
            // A tuple's name has its own parentheses, and IN does not add to them.
            let bare = name
                .strip_prefix('(')
                .and_then(|name| name.strip_suffix(')'))
                .unwrap_or(name);
            let name = format!("in({bare})");
            Ok(Alternatives::Listed(terms.alternatives(marker, &name, ty)))
        }
    }
}
