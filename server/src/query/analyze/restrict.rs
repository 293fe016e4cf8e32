//! WHERE: which relations name partitions, which name positions in them, and which have to be tried row by row.
//!
//! ```text
//! k1 = ? AND k2 IN (...)      Partition::Keys      every combination is one partition
//! token(k1, k2) > ?           Partition::Token     a stretch of the ring
//! c1 = ? AND (c2, c3) > (..)  clustering parts     a prefix of equalities, then at most one slice
//! anything else               filters              with ALLOW FILTERING, or where an index brings the rows to try (`indexes`)
//! ```
//!
//! What must hold: a row passes the whole WHERE exactly if it lies in a named partition, in a named slice, and passes all
//! filters.

use std::sync::Arc;

use palladium_protocol::cql::ast::{Operator, Relation};
use palladium_protocol::types::CqlType;

use super::gather::Gathered;
use super::indexes::{self, IndexChoice};
use super::said::Said;
use super::term::Terms;
use crate::error::{CqlError, CqlResult};
use crate::query::check::{fold, is_range_of_addresses};
use crate::query::expression::Expression;
use crate::schema::{Catalog, ColumnKind, TableSchema};

/// Which statement the WHERE belongs to; they allow different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Select {
        allow_filtering: bool,
    },
    /// What is near is looked for in an index, and all else that is said has to be answered by its group.
    SelectNearest,
    Insert,
    Update,
    Delete,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Select { .. } | Purpose::SelectNearest => "SELECT",
            Purpose::Insert => "INSERT",
            Purpose::Update => "UPDATE",
            Purpose::Delete => "DELETE",
        }
    }

    fn is_select(self) -> bool {
        matches!(self, Purpose::Select { .. } | Purpose::SelectNearest)
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
    /// Columns by their place in the table; several only for a tuple.
    pub columns: Vec<usize>,
    /// Whether the values are tuples, be it of one.
    pub tuple: bool,
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

/// Who tries rows: Cassandra's indexes compare values in ways of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// Whoever tries those that no index brings.
    Any,
    /// The classic index of this column, which knows its values by their bytes; whatever else is said is tried as ever.
    Classic(usize),
    /// Storage-attached indexes, and nobody after them.
    Attached,
    /// Storage-attached indexes; what they brought is tried again as rows are that no index brings.
    AttachedAndAny,
}

impl Judge {
    pub fn is_attached(self) -> bool {
        matches!(self, Judge::Attached | Judge::AttachedAndAny)
    }
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
    /// Where the rows to try are found, if not by their key.
    pub index: Option<IndexChoice>,
    /// Cassandra would look into an index, be it one that brings nothing.
    pub asks_index: bool,
    /// What is said of the clustering where Cassandra asks an index as well: then its values have to be values before anything else is looked at.
    pub tried_clustering: Vec<Filter>,
    pub judge: Judge,
    /// Something is said of the partition key, be it enough or not.
    pub restricts_partition: bool,
    /// A column of the partition key is restricted by IN, be the rest of the key known or not.
    pub lists_keys: bool,
    /// The ends of a stretch of tokens that named partitions have to lie in.
    pub token: Option<(Option<End>, Option<End>)>,
    /// Rows would have to be tried, and the statement does not allow that; it is said last, after other mistakes.
    pub needs_filtering: bool,
}

impl Restrictions {
    /// Whether some column of the partition key may have one of several values.
    pub fn names_several_partitions(&self) -> bool {
        match &self.partition {
            Partition::Keys(columns) => columns
                .iter()
                .any(|column| !matches!(column, Alternatives::One(_))),
            _ => false,
        }
    }
}

impl Restrictions {
    /// Every column that is restricted, in the table's order.
    pub fn columns(&self, table: &TableSchema) -> Vec<usize> {
        let partition: &[usize] = match self.partition {
            Partition::All => &[],
            Partition::Keys(_) | Partition::Token { .. } => &table.partition_key,
        };
        let first_clustering = table.partition_key.len();
        let clustering = self
            .clustering
            .iter()
            .flat_map(|part| part.first..part.first + part.count)
            .map(|place| first_clustering + place);
        let filtered = self.filters.iter().flat_map(|filter| &filter.columns);
        let mut all: Vec<usize> = partition
            .iter()
            .copied()
            .chain(clustering)
            .chain(filtered.copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What is said of a column whose index knows what is near, and no more.
pub const VECTORS_ARE_NOT_COMPARED: &str = "Vector indexes only support ANN queries";

/// What is said of an index that is asked about several partitions.
pub const SEVERAL_PARTITIONS: &str =
    "Select on indexed columns and with IN clause for the PRIMARY KEY are not supported";

/// What is said of a WHERE that only a try of every row answers.
pub const REQUIRES_FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have \
    unpredictable performance. If you want to execute this query despite the performance unpredictability, use ALLOW FILTERING";

/// Whether the first vector among columns has an index of any kind.
fn has_indexed_vector(table: &TableSchema, columns: &[usize]) -> bool {
    let vectors = columns
        .iter()
        .filter(|index| matches!(table.columns[**index].ty.bare(), CqlType::Vector(..)));
    vectors.min().is_some_and(|index| {
        let mut indexes = table.indexes_of(&table.columns[*index].name);
        indexes.next().is_some()
    })
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

/// Checks what a view says of its base's rows, and gives the columns it is about.
pub fn check_view_conditions(
    catalog: &Catalog,
    base: &Arc<TableSchema>,
    relations: &[Relation],
) -> CqlResult<Vec<usize>> {
    let filters = view_filters(catalog, base, relations.iter())?;
    Ok(filters
        .into_iter()
        .flat_map(|filter| filter.columns)
        .collect())
}

/// What a view says of its base's rows, as conditions to try on each.
pub fn view_filters<'a>(
    catalog: &Catalog,
    base: &Arc<TableSchema>,
    relations: impl Iterator<Item = &'a Relation>,
) -> CqlResult<Vec<Filter>> {
    let mut terms = Terms::new(catalog, &base.keyspace, Some(base));
    let mut gathered = Gathered::default();
    let purpose = Purpose::Select {
        allow_filtering: true,
    };
    for relation in relations {
        gathered.add(&mut terms, base, relation, purpose)?;
    }
    if !terms.into_markers()?.specs.is_empty() {
        return Err(CqlError::invalid(
            "Bind variables are not allowed in CREATE MATERIALIZED VIEW statements",
        ));
    }
    let mut filters = Vec::new();
    for said in gathered.said {
        filters.extend(filters_of(said)?);
    }
    Ok(filters)
}

impl Gathered {
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
        let selecting = purpose.is_select();
        let mut filters = Vec::new();
        let asked = match selecting {
            true => indexes::asked(table, &self.said),
            false => Vec::new(),
        };
        let is_lenient = filtering || indexes::is_any_answered(table, &asked);
        let restricts_partition = self.token.is_some()
            || self.said.iter().any(|said| {
                let first = said.columns.first();
                first.is_some_and(|index| table.columns[*index].kind == ColumnKind::PartitionKey)
            });
        // Beside a token an IN counts only where all of the key is given.
        let lists_keys = self.token.is_none()
            && self.said.iter().any(|said| {
                let first = said.columns.first();
                first.is_some_and(|index| table.columns[*index].kind == ColumnKind::PartitionKey)
                    && matches!(
                        &said.constraint,
                        Some(Constraint::Among(
                            Alternatives::Several(_) | Alternatives::Listed(_)
                        ))
                    )
            });
        let mut token = None;
        let partition = self.partition(table, purpose, &mut filters, &mut token)?;
        if selecting && !is_lenient && !filters.is_empty() {
            return Err(CqlError::invalid(REQUIRES_FILTERING));
        }
        let is_range = !matches!(partition, Partition::Keys(_));
        self.check_static(table, purpose, statics_only)?;
        let before = filters.len();
        let clustering = self.clustering(table, purpose, statics_only, is_lenient, &mut filters)?;
        let is_filtered = filters.len() > before;
        // What is left is about columns outside the key.
        let mut outside: Vec<usize> = Vec::new();
        for said in self.said {
            outside.extend(&said.columns);
            filters.extend(filters_of(said)?);
        }
        if !outside.is_empty() {
            if !selecting {
                outside.sort();
                let names: Vec<&str> = outside
                    .iter()
                    .map(|index| table.columns[*index].name.as_str())
                    .collect();
                return Err(CqlError::invalid(format!(
                    "Non PRIMARY KEY columns found in where clause: {} ",
                    names.join(", ")
                )));
            }
            if has_indexed_vector(table, &outside) {
                return Err(CqlError::invalid(VECTORS_ARE_NOT_COMPARED));
            }
            if !is_lenient {
                return Err(CqlError::invalid(REQUIRES_FILTERING));
            }
        }
        let mut index = None;
        let mut asks_index = false;
        let mut tried_clustering = Vec::new();
        let mut needs_filtering = false;
        let mut judge = Judge::Any;
        if selecting {
            let is_nearest = purpose == Purpose::SelectNearest;
            let verdict = indexes::decide(table, &asked, is_range, is_filtered, is_nearest);
            asks_index = verdict.asks_index;
            if let Some(from) = verdict.tried_from {
                tried_clustering = tried(table, &clustering, from)?;
            }
            if asks_index && lists_keys {
                return Err(CqlError::invalid(SEVERAL_PARTITIONS));
            }
            needs_filtering = verdict.needs_filtering && !filtering;
            index = verdict.choice;
            judge = match &index {
                _ if verdict.by_attached => {
                    // Slices are in the order of the bytes.
                    let tried = tried_clustering.iter();
                    let tried = tried.filter(|filter| is_range_of_addresses(table, filter));
                    filters.extend(tried.cloned());
                    attached(table, is_range, &filters)
                }
                Some(choice) => Judge::Classic(choice.column),
                None => Judge::Any,
            };
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
            filters,
            restricts_rows,
            index,
            asks_index,
            tried_clustering,
            judge,
            clustering,
            restricts_partition,
            lists_keys,
            token,
            needs_filtering,
        })
    }

    /// Who changes or shows only static columns has no business with the clustering.
    fn check_static(
        &self,
        table: &TableSchema,
        purpose: Purpose,
        statics_only: bool,
    ) -> CqlResult<()> {
        let restricted = self.said.iter().any(|said| {
            let first = said.columns.first();
            first.is_some_and(|index| table.columns[*index].kind == ColumnKind::Clustering)
        });
        if !statics_only || !restricted {
            return Ok(());
        }
        match purpose {
            Purpose::Insert => Ok(()),
            Purpose::Select { .. } | Purpose::SelectNearest => Err(CqlError::invalid(
                "Cannot restrict clustering columns when selecting only static columns",
            )),
            Purpose::Update | Purpose::Delete => Err(CqlError::invalid(format!(
                "Invalid restrictions on clustering columns since the {} statement modifies only static columns",
                purpose.name()
            ))),
        }
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
        token: &mut Option<(Option<End>, Option<End>)>,
    ) -> CqlResult<Partition> {
        let said = self.take(table, ColumnKind::PartitionKey);
        let selecting = purpose.is_select();
        if let Some((lower, upper)) = self.token.take() {
            if !selecting {
                return Err(CqlError::invalid(format!(
                    "The token function cannot be used in WHERE clauses for {} statements",
                    purpose.name()
                )));
            }
            if let Some(keys) = named_keys(table, &said) {
                *token = Some((lower, upper));
                return Ok(Partition::Keys(keys));
            }
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
        filtering: bool,
        filters: &mut Vec<Filter>,
    ) -> CqlResult<Vec<ClusteringPart>> {
        let mut said = self.take(table, ColumnKind::Clustering);
        said.sort_by_key(|said| said.columns.first().copied());
        let base = table.partition_key.len();
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
        let inserting = matches!(purpose, Purpose::Insert | Purpose::Update);
        if !inserting && !filtering && said.iter().any(|said| !said.others.is_empty()) {
            return Err(CqlError::invalid(
                "Clustering columns can only be restricted with CONTAINS with a secondary index or filtering",
            ));
        }
        let restricted = said.iter().flat_map(|said| &said.columns);
        let gap = restricted
            .enumerate()
            .find(|(place, index)| base + place != **index);
        if let Some((place, index)) = gap.filter(|_| !inserting && !filtering) {
            return Err(CqlError::invalid(format!(
                "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                table.columns[*index].name,
                table.columns[base + place].name
            )));
        }
        let mut parts: Vec<ClusteringPart> = Vec::new();
        let mut next = 0;
        let mut ended = false;
        for said in said {
            let first = said.columns[0] - base;
            if first != next || ended || said.constraint.is_none() {
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
                ended = true;
            }
            next += columns.len();
            filters.extend(others.into_iter().map(|test| Filter {
                columns: columns.clone(),
                tuple,
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

/// What each column of the partition key may be, if that is said of all of them by values alone.
fn named_keys(table: &TableSchema, said: &[Said]) -> Option<Vec<Alternatives>> {
    let of = |place: usize| {
        let said = said.iter().find(|said| said.columns == [place])?;
        match &said.constraint {
            Some(Constraint::Among(alternatives)) if said.others.is_empty() => {
                Some(alternatives.clone())
            }
            _ => None,
        }
    };
    (0..table.partition_key.len()).map(of).collect()
}

/// Who tries rows that storage-attached indexes bring. Of a range Cassandra's coordinator has them tried again as long as they are told by more than keys, and
/// no index makes texts alike.
fn attached(table: &TableSchema, is_range: bool, filters: &[Filter]) -> Judge {
    let is_told_by_keys = filters
        .iter()
        .flat_map(|filter| &filter.columns)
        .all(|index| table.columns[*index].kind.is_primary_key());
    let is_folded = filters.iter().any(|filter| fold(table, filter).is_some());
    match is_range && !is_told_by_keys && !is_folded {
        true => Judge::AttachedAndAny,
        false => Judge::Attached,
    }
}

/// The parts of the clustering from this column on, as filters.
fn tried(
    table: &TableSchema,
    clustering: &[ClusteringPart],
    from: usize,
) -> CqlResult<Vec<Filter>> {
    let first = table.partition_key.len();
    let parts = clustering.iter();
    let parts = parts.filter(|part| first + part.first >= from);
    let said = parts.map(|part| Said {
        columns: (first + part.first..first + part.first + part.count).collect(),
        tuple: part.tuple,
        constraint: Some(part.constraint.clone()),
        others: Vec::new(),
    });
    let filters: CqlResult<Vec<Vec<Filter>>> = said.map(filters_of).collect();
    Ok(filters?.into_iter().flatten().collect())
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
            tuple: said.tuple,
            test,
        })
        .collect())
}
