//! WHERE: which relations name partitions, which name positions in them, and which have to be tried row by row.
//!
//! ```text
//! k1 = ? AND k2 IN (...)      Partition::Keys      every combination is one partition
//! token(k1, k2) > ?           Partition::Token     a stretch of the ring
//! c1 = ? AND (c2, c3) > (..)  clustering parts     a prefix of equalities, then at most one slice
//! anything else               filters              with ALLOW FILTERING only
//! ```
//!
//! What must hold: a row passes the whole WHERE exactly if it lies in a named partition, in a named slice, and passes all
//! filters.

use palladium_protocol::cql::ast::{InValues, Name, Operator, Relation};
use palladium_protocol::types::CqlType;

use super::term::{Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::Expression;
use crate::schema::{Column, ColumnKind, TableSchema};

/// Which statement the WHERE belongs to; they allow different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Select { allow_filtering: bool },
    Insert,
    Update,
    Delete,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::Select { .. } => "SELECT",
            Purpose::Insert => "INSERT",
            Purpose::Update => "UPDATE",
            Purpose::Delete => "DELETE",
        }
    }
}

/// The values a column or tuple may have.
#[derive(Debug, Clone)]
pub enum Alternatives {
    One(Expression),
    Several(Vec<Expression>),
    /// A bound list of them.
    Listed(Expression),
}

/// An end of a slice.
#[derive(Debug, Clone)]
pub struct End {
    pub value: Expression,
    pub inclusive: bool,
}

/// What is known of one clustering column, or of several as a tuple.
#[derive(Debug, Clone)]
pub enum Constraint {
    Among(Alternatives),
    Between {
        lower: Option<End>,
        upper: Option<End>,
    },
}

/// A constraint on neighbouring clustering columns. With `tuple` its values are tuples; else it is about one column.
#[derive(Debug, Clone)]
pub struct ClusteringPart {
    pub first: usize,
    pub count: usize,
    pub tuple: bool,
    pub constraint: Constraint,
}

#[derive(Debug, Clone)]
pub enum Partition {
    All,
    /// One for each column of the partition key.
    Keys(Vec<Alternatives>),
    Token {
        lower: Option<End>,
        upper: Option<End>,
    },
}

/// A condition to try on each row.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Columns by their place in the table; several for a tuple.
    pub columns: Vec<usize>,
    pub test: Test,
}

#[derive(Debug, Clone)]
pub enum Test {
    Compare(Operator, Expression),
    In(Alternatives),
    Contains(Expression),
    ContainsKey(Expression),
    /// `m[key] op value`
    Element {
        key: Expression,
        operator: Operator,
        value: Expression,
    },
}

#[derive(Debug, Clone)]
pub struct Restrictions {
    pub partition: Partition,
    /// In the order of the clustering; all but the last are `Among`.
    pub clustering: Vec<ClusteringPart>,
    pub filters: Vec<Filter>,
    /// Every clustering column has one value, or one of several.
    pub is_full_clustering: bool,
    /// Something other than the partition key is restricted.
    pub restricts_rows: bool,
}

pub const REQUIRES_FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have \
    unpredictable performance. If you want to execute this query despite the performance unpredictability, use ALLOW FILTERING";

/// What has been said of one column, or of one tuple of columns.
#[derive(Debug, Clone)]
struct Said {
    columns: Vec<usize>,
    tuple: bool,
    constraint: Option<Constraint>,
    others: Vec<Test>,
}

/// Sorts the relations out.
pub fn restrict(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    relations: &[Relation],
    purpose: Purpose,
    statics_only: bool,
) -> CqlResult<Restrictions> {
    let mut gathered = Gathered::default();
    for relation in relations {
        gathered.add(terms, table, relation, purpose)?;
    }
    gathered.sort_out(table, purpose, statics_only)
}

#[derive(Default)]
struct Gathered {
    said: Vec<Said>,
    token: Option<(Option<End>, Option<End>)>,
}

impl Gathered {
    fn add(
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
                find(table, column)?;
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
                self.token_compare(*operator, value)
            }
            Relation::TokenBetween { columns, low, high } => {
                check_token(table, columns, purpose)?;
                let low = terms.term(low, "partition key token", &CqlType::Bigint)?;
                let high = terms.term(high, "partition key token", &CqlType::Bigint)?;
                self.token_compare(Operator::GreaterOrEqual, low)?;
                self.token_compare(Operator::LessOrEqual, high)
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
                let value = terms.term(value, &name, &ty)?;
                self.compare(table, indexes, true, *operator, value)
            }
            Relation::TupleBetween { columns, low, high } => {
                let (indexes, ty, name) = tuple_columns(table, columns, relation)?;
                let low = terms.term(low, &name, &ty)?;
                let high = terms.term(high, &name, &ty)?;
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
                let alternatives = in_values(terms, values, &name, &ty)?;
                self.among(table, indexes, true, alternatives)
            }
            Relation::CustomIndex { index, .. } => Err(CqlError::invalid(format!(
                "Invalid index name {index}: no such index on table {}",
                table.name
            ))),
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
        let equal = matches!(alternatives, Alternatives::One(_));
        let shown = shown(table, &columns);
        let said = self.entry(columns, tuple);
        if said.constraint.is_some() {
            let kind = if equal { "an Equal" } else { "a IN" };
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
        let said = self.entry(columns, tuple);
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

    fn token_compare(&mut self, operator: Operator, value: Expression) -> CqlResult<()> {
        let (lower, upper) = self.token.get_or_insert((None, None));
        if operator == Operator::Equal {
            put_end(
                lower,
                upper,
                Operator::GreaterOrEqual,
                value.clone(),
                "partition key token",
            )?;
            return put_end(
                lower,
                upper,
                Operator::LessOrEqual,
                value,
                "partition key token",
            );
        }
        if operator == Operator::NotEqual {
            return Err(CqlError::invalid(
                "Unsupported \"!=\" relation: token(...) != ...",
            ));
        }
        put_end(lower, upper, operator, value, "partition key token")
    }

    fn sort_out(
        mut self,
        table: &TableSchema,
        purpose: Purpose,
        statics_only: bool,
    ) -> CqlResult<Restrictions> {
        let filtering = purpose
            == Purpose::Select {
                allow_filtering: true,
            };
        let selecting = matches!(purpose, Purpose::Select { .. });
        let mut filters = Vec::new();
        let partition = self.partition(table, purpose, &mut filters)?;
        let is_range = !matches!(partition, Partition::Keys(_));
        let clustering = self.clustering(table, purpose, statics_only, &mut filters)?;
        // What is left is about columns outside the key, or about key columns that filters have to try.
        let mut outside = Vec::new();
        for said in self.said {
            for index in &said.columns {
                if !table.columns[*index].kind.is_primary_key() {
                    outside.push(table.columns[*index].name.clone());
                }
            }
            filters.extend(filters_of(said)?);
        }
        if !selecting && !outside.is_empty() {
            return Err(CqlError::invalid(format!(
                "Non PRIMARY KEY columns found in where clause: {} ",
                outside.join(", ")
            )));
        }
        if selecting && !filtering && (!filters.is_empty() || (is_range && !clustering.is_empty()))
        {
            return Err(CqlError::invalid(REQUIRES_FILTERING));
        }
        let covered: usize = clustering
            .iter()
            .filter(|part| matches!(part.constraint, Constraint::Among(_)))
            .map(|part| part.count)
            .sum();
        let restricts_rows = !clustering.is_empty()
            || filters.iter().any(|filter| {
                filter.columns.iter().any(|index| {
                    matches!(
                        table.columns[*index].kind,
                        ColumnKind::Clustering | ColumnKind::Regular
                    )
                })
            });
        Ok(Restrictions {
            partition,
            is_full_clustering: covered == table.clustering.len(),
            clustering,
            filters,
            restricts_rows,
        })
    }

    /// Takes what is said of single columns of that kind.
    fn take(&mut self, table: &TableSchema, kind: ColumnKind) -> Vec<Said> {
        let (taken, kept) = std::mem::take(&mut self.said)
            .into_iter()
            .partition(|said| {
                said.columns
                    .iter()
                    .all(|index| table.columns[*index].kind == kind)
            });
        self.said = kept;
        taken
    }

    fn partition(
        &mut self,
        table: &TableSchema,
        purpose: Purpose,
        filters: &mut Vec<Filter>,
    ) -> CqlResult<Partition> {
        let said = self.take(table, ColumnKind::PartitionKey);
        let selecting = matches!(purpose, Purpose::Select { .. });
        if let Some((lower, upper)) = self.token.take() {
            for said in said {
                // Token and key together: the key's columns are tried one by one.
                filters.extend(filters_of(said)?);
            }
            return Ok(Partition::Token { lower, upper });
        }
        let missing: Vec<&str> = table
            .partition_columns()
            .iter()
            .enumerate()
            .filter(|(index, _)| !said.iter().any(|said| said.columns == [*index]))
            .map(|(_, column)| column.name.as_str())
            .collect();
        if !selecting && !missing.is_empty() {
            return Err(CqlError::invalid(format!(
                "Some partition key parts are missing: {}",
                missing.join(", ")
            )));
        }
        let all_among = said.iter().all(|said| {
            matches!(said.constraint, Some(Constraint::Among(_))) && said.others.is_empty()
        });
        if !all_among && !selecting {
            return Err(CqlError::invalid(format!(
                "Only EQ and IN relation are supported on the partition key (unless you use the token() function) for {} \
                 statements",
                purpose.name()
            )));
        }
        if missing.is_empty() && all_among {
            let mut keys: Vec<(usize, Alternatives)> = Vec::new();
            for said in said {
                if let (Some(index), Some(Constraint::Among(alternatives))) =
                    (said.columns.first(), said.constraint)
                {
                    keys.push((*index, alternatives));
                }
            }
            keys.sort_by_key(|(index, _)| *index);
            return Ok(Partition::Keys(
                keys.into_iter()
                    .map(|(_, alternatives)| alternatives)
                    .collect(),
            ));
        }
        for said in said {
            filters.extend(filters_of(said)?);
        }
        Ok(Partition::All)
    }

    fn clustering(
        &mut self,
        table: &TableSchema,
        purpose: Purpose,
        statics_only: bool,
        filters: &mut Vec<Filter>,
    ) -> CqlResult<Vec<ClusteringPart>> {
        let mut said = self.take(table, ColumnKind::Clustering);
        said.sort_by_key(|said| said.columns.first().copied());
        let base = table.partition_key.len();
        let filtering = purpose
            == Purpose::Select {
                allow_filtering: true,
            };
        if matches!(purpose, Purpose::Insert | Purpose::Update) {
            if said
                .iter()
                .any(|said| matches!(said.constraint, Some(Constraint::Between { .. })))
            {
                return Err(CqlError::invalid(format!(
                    "Slice restrictions are not supported on the clustering columns in {} statements",
                    purpose.name()
                )));
            }
            let missing: Vec<&str> = table
                .clustering_columns()
                .iter()
                .enumerate()
                .filter(|(place, _)| {
                    !said
                        .iter()
                        .any(|said| said.columns.contains(&(base + place)))
                })
                .map(|(_, column)| column.name.as_str())
                .collect();
            if !statics_only && !missing.is_empty() {
                return Err(CqlError::invalid(format!(
                    "Some clustering keys are missing: {}",
                    missing.join(", ")
                )));
            }
        }
        let mut parts: Vec<ClusteringPart> = Vec::new();
        let mut next = 0;
        let mut ended: Option<usize> = None;
        for said in said {
            let first = said.columns[0] - base;
            if !said.others.is_empty() && !filtering {
                return Err(CqlError::invalid(
                    "Clustering columns can only be restricted with CONTAINS with a secondary index or filtering",
                ));
            }
            let name = |place: usize| &table.columns[base + place].name;
            if let Some(slice) = ended
                && !filtering
            {
                return Err(CqlError::invalid(format!(
                    "Clustering column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ relation)",
                    name(first),
                    name(slice)
                )));
            }
            if first != next && !filtering {
                return Err(CqlError::invalid(if first < next {
                    format!(
                        "Column \"{}\" cannot be restricted by two relations",
                        name(first)
                    )
                } else {
                    format!(
                        "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                        name(first),
                        name(next)
                    )
                }));
            }
            if first != next || ended.is_some() || said.constraint.is_none() {
                filters.extend(filters_of(said)?);
                continue;
            }
            let Said {
                columns,
                tuple,
                constraint,
                others,
            } = said;
            let Some(constraint) = constraint else {
                continue;
            };
            if matches!(constraint, Constraint::Between { .. }) {
                ended = Some(first);
            }
            next += columns.len();
            filters.extend(others.into_iter().map(|test| Filter {
                columns: columns.clone(),
                test,
            }));
            parts.push(ClusteringPart {
                first,
                count: columns.len(),
                tuple,
                constraint,
            });
        }
        Ok(parts)
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

fn filters_of(said: Said) -> CqlResult<Vec<Filter>> {
    let mut tests = said.others;
    match said.constraint {
        None => {}
        Some(Constraint::Among(Alternatives::One(value))) => {
            tests.push(Test::Compare(Operator::Equal, value))
        }
        Some(Constraint::Among(alternatives)) => tests.push(Test::In(alternatives)),
        Some(Constraint::Between { lower, upper }) => {
            for (end, open, closed) in [
                (lower, Operator::Greater, Operator::GreaterOrEqual),
                (upper, Operator::Less, Operator::LessOrEqual),
            ] {
                if let Some(end) = end {
                    let operator = if end.inclusive { closed } else { open };
                    tests.push(Test::Compare(operator, end.value));
                }
            }
        }
    }
    Ok(tests
        .into_iter()
        .map(|test| Filter {
            columns: said.columns.clone(),
            test,
        })
        .collect())
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
            let mut values = values?;
            Ok(match values.len() {
                1 => Alternatives::One(values.remove(0)),
                _ => Alternatives::Several(values),
            })
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
