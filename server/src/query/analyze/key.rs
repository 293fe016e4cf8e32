//! What a WHERE says of the key: which partitions, and which positions in them. What is said of it in another way has to be tried row by row.

use super::gather::Gathered;
use super::restrict::Purpose;
use super::restrictions::{Alternatives, ClusteringPart, Constraint, End, Filter, Partition};
use super::said::{Said, filters_of};
use crate::error::{CqlError, CqlResult};
use crate::schema::{ColumnKind, TableSchema};

impl Gathered {
    /// The partitions, and the ends of a stretch of tokens that named ones have to lie in.
    pub(super) fn partition(
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

    /// The positions, from the first clustering column on as far as nothing is left out.
    pub(super) fn clustering(
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
