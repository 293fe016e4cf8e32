//! What statements ask for that look before they write: of which partitions they are, and what they have to see of each.

use palladium_storage::{Clustering, KeyRange, Limits, PartitionKey, ReadCommand, Slices, Store};
use smallvec::SmallVec;

use super::conditional::looks_first;
use super::existing::{PartitionId, place_of};
use super::write::{Place, keys_of, places_of};
use crate::encode::key;
use crate::error::CqlResult;
use crate::query::analyze::ModifyPlan;
use crate::query::expression::Scope;
use crate::query::functions::Moment;
use crate::query::plan::NamedKeys;
use crate::query::values::Given;

/// What statements ask for.
pub struct Demand<'a> {
    pub plans: Vec<(&'a ModifyPlan, &'a Given)>,
    /// The partitions that each of them names. A key may be made anew each time it is asked for: that happens once.
    pub keys: Vec<NamedKeys>,
    /// Whether any of them has an IF.
    pub is_conditional: bool,
}

/// Statements that look at a partition, by their places: mostly one.
type Looking = SmallVec<[usize; 1]>;

impl<'a> Demand<'a> {
    pub fn new(
        plans: Vec<(&'a ModifyPlan, &'a Given)>,
        moment: &Moment<'_>,
    ) -> CqlResult<Demand<'a>> {
        let keys = plans
            .iter()
            .map(|(plan, bound)| keys_of(plan, &Scope::of_values(bound, moment)));
        Ok(Demand {
            keys: keys.collect::<CqlResult<_>>()?,
            is_conditional: plans.iter().any(|(plan, _)| plan.condition.is_some()),
            plans,
        })
    }

    /// Each statement with its values and its partitions.
    pub fn each(&self) -> impl Iterator<Item = (&'a ModifyPlan, &'a Given, &NamedKeys)> {
        let all = self.plans.iter().zip(&self.keys);
        all.map(|((plan, bound), keys)| (*plan, *bound, keys))
    }

    /// All partitions, in order and each once.
    pub fn partitions(&self) -> Vec<PartitionId> {
        let mut partitions = Vec::with_capacity(self.plans.len());
        for (plan, _, keys) in self.each() {
            partitions.extend(keys.iter().map(|key| (plan.table.id, key.clone())));
        }
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    /// The partition that conditional statements are about: all of a request are about one.
    pub fn conditional_key(&self) -> Option<&PartitionKey> {
        let mut all = self.each();
        let conditional = all.find(|(plan, ..)| plan.condition.is_some());
        conditional.and_then(|(.., keys)| keys.first())
    }

    /// Of each of some partitions, the statements that look at it.
    pub fn looking(&self, partitions: &[PartitionId]) -> SmallVec<[Looking; 1]> {
        let each = partitions.iter().map(|_| Looking::new());
        let mut looking: SmallVec<[Looking; 1]> = each.collect();
        for (place, (plan, _, keys)) in self.each().enumerate() {
            if !looks_first(plan) {
                continue;
            }
            for key in keys {
                if let Some(at) = place_of(partitions, plan.table.id, key) {
                    looking[at].push(place);
                }
            }
        }
        looking
    }

    /// Reads the rows that statements are about in a partition, as they are now, once for all of them. What is wrong with the rows of one is said in its turn.
    /// None: there is nothing to read.
    pub fn command(
        &self,
        looking: &[usize],
        key: &PartitionKey,
        now: &Moment<'_>,
    ) -> Option<ReadCommand> {
        let table = &self.plans[*looking.first()?].0.table;
        let slices = match table.clustering.is_empty() {
            true => Slices::all(),
            false => {
                let rows = looking.iter().filter_map(|place| {
                    let (plan, bound) = self.plans[*place];
                    rows_of(plan, &Scope::of_values(bound, now)).ok()
                });
                let mut rows = rows.peekable();
                rows.peek()?;
                Slices::new(rows.flatten().map(|row| key::around(&row)).collect())
            }
        };
        Some(ReadCommand {
            table: table.id,
            store: Store::BASE,
            range: KeyRange::One(key.clone()),
            slices,
            reversed: false,
            columns: table.storage_columns.clone(),
            limits: Limits::NONE,
            resume: None,
            now: now.seconds,
        })
    }
}

/// The rows a statement is about; a table without clustering columns has one.
pub fn rows_of(plan: &ModifyPlan, scope: &Scope<'_>) -> CqlResult<Vec<Clustering>> {
    if plan.table.clustering.is_empty() {
        return Ok(vec![Clustering::SINGLE]);
    }
    let places = places_of(plan, scope)?.unwrap_or_default();
    Ok(places
        .into_iter()
        .filter_map(|place| match place {
            Place::Row(position, _) => Some(position),
            Place::Static => None,
        })
        .collect())
}
