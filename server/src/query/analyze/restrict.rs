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

use palladium_protocol::cql::ast::Relation;
use palladium_protocol::types::CqlType;

use super::gather::Gathered;
use super::indexes;
use super::restrictions::{
    Alternatives, ClusteringPart, Constraint, Filter, Judge, Partition, Restrictions, Test,
};
use super::said::{Said, filters_of};
use super::term::Terms;
use crate::error::{CqlError, CqlResult};
use crate::query::check::{fold, is_range_of_addresses};
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

    pub(super) fn is_select(self) -> bool {
        matches!(self, Purpose::Select { .. } | Purpose::SelectNearest)
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
    let columns: Vec<usize> = filters
        .into_iter()
        .flat_map(|filter| filter.columns)
        .collect();
    let is_outside = |index: &usize| !base.columns[*index].kind.is_primary_key();
    let outside: Vec<usize> = columns.iter().copied().filter(is_outside).collect();
    match has_indexed_vector(base, &outside) {
        true => Err(CqlError::invalid(VECTORS_ARE_NOT_COMPARED)),
        false => Ok(columns),
    }
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
        // An index over vectors counts until it is found that it compares none.
        let asks_vectors = self.said.iter().any(|said| {
            let is_one = matches!(
                said.constraint,
                Some(Constraint::Among(Alternatives::One(_)))
            );
            is_one && has_indexed_vector(table, &said.columns)
        });
        let is_lenient = filtering || asks_vectors || indexes::is_any_answered(table, &asked);
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
        filters.sort_by_key(met);
        let is_range = !matches!(partition, Partition::Keys(_));
        self.check_static(table, purpose, statics_only)?;
        let before = filters.len();
        let clustering = self.clustering(table, purpose, statics_only, is_lenient, &mut filters)?;
        let is_filtered = filters.len() > before;
        // What is left is about columns outside the key.
        let mut outside: Vec<usize> = Vec::new();
        let mut filters_outside = Vec::new();
        for said in self.said {
            outside.extend(&said.columns);
            filters_outside.extend(filters_of(said)?);
        }
        filters_outside.sort_by_key(met);
        filters.append(&mut filters_outside);
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
                Some(choice) if !choice.index.is_sai() => Judge::Classic {
                    column: choice.column,
                    question: choice.question,
                },
                _ => Judge::Any,
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
}

/// When a filter's value is found wanting, among those of its kind of columns, in Cassandra's order.
fn met(filter: &Filter) -> (Option<usize>, usize) {
    (filter.columns.first().copied(), place(&filter.test))
}

/// Where a test stands among those of its column: what is said of values comes before keys, and these before entries.
fn place(test: &Test) -> usize {
    match test {
        Test::Compare(..) | Test::In(_) | Test::Contains(_) => 0,
        Test::ContainsKey(_) => 1,
        Test::Element { .. } => 2,
    }
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
