//! What the server makes and keeps beside rows: grants, and data keys that were to be new.

use std::collections::BTreeSet;

use palladium::keys::GrantRecord;
use palladium_crypto::{GrantId, GrantOperation, GrantRequest, StructureId, TableId};
use palladium_storage::Place;

use crate::world::{Aim, KEYS, Kept, World, key};

impl World {
    /// The structures of a table's SSTables.
    pub fn sstables_of(&self, id: TableId) -> BTreeSet<StructureId> {
        let structures = self.env.run(self.life.engine.structures(id));
        let of_sstables = structures
            .into_iter()
            .filter(|structure| matches!(structure.place, Place::Sstable(_)));
        of_sstables.map(|structure| structure.structure).collect()
    }

    /// Where new data keys were asked for, nothing of what was there before is left, once the table was open for a while.
    pub fn check_rewritten(&mut self) {
        let open: Vec<_> = self
            .tables
            .iter()
            .filter(|(_, kept)| !kept.rewritten.is_empty() && self.life.engine.lease_alive(kept.id))
            .map(|(table, kept)| (*table, kept.id))
            .collect();
        for (table, id) in open {
            let present = self.sstables_of(id);
            let kept = self.tables.get_mut(&table).expect("it was listed above");
            let before = std::mem::take(&mut kept.rewritten);
            if let Some(left) = before.intersection(&present).next() {
                self.fail(format!("{left} of {table} has its old data key"));
            }
        }
    }

    // Grants.

    /// A table that was made, or put under a key, may use it: by a grant of its own, if none was revoked meanwhile.
    pub fn check_granted(&self, number: u64, kept: &Kept, revocations: u64) {
        if !self.has_grants || self.revocations != revocations {
            return;
        }
        let grants = self.service.script.grants_of(&kept.cmks[0]);
        let is_own = |(_, request): &(GrantId, GrantRequest)| {
            names(request, kept.id)
                && request.name.ends_with(":use")
                && request.operations.contains(&GrantOperation::Decrypt)
        };
        if !grants.iter().any(is_own) {
            self.fail(format!("#{number}: {} has no grant of its own", kept.name));
        }
    }

    /// Every grant that is alive is one that a table needs, or one that the server knows, and retires when it is time.
    pub fn check_grants(&self) {
        let is_changing =
            |aim: &Aim| matches!(aim, Aim::Create(_) | Aim::Switch { .. } | Aim::Drop(_));
        if self
            .requests
            .values()
            .any(|request| is_changing(&request.aim))
        {
            return;
        }
        let records = self.life.keeper.grants();
        let now = self.now().wall_micros;
        for cmk in (0..=KEYS).map(key) {
            for (grant, request) in self.service.script.grants_of(&cmk) {
                let is_needed = self
                    .tables
                    .values()
                    .any(|kept| kept.cmks.contains(&cmk) && names(&request, kept.id));
                let is_its = |record: &&GrantRecord| {
                    record.key == cmk.to_string()
                        && names(&request, TableId(record.id))
                        && is_for(&request, &record.purpose)
                };
                let has_its_id =
                    |record: &&GrantRecord| record.grant.as_ref().is_some_and(|id| *id == grant.0);
                let has_no_id = |record: &&GrantRecord| record.grant.is_none();
                // One that is not known by its id may be one whose making was not answered.
                let of_it: Vec<&GrantRecord> = records.iter().filter(is_its).collect();
                let by_id = of_it.iter().find(|record| has_its_id(record));
                let record = by_id.or_else(|| of_it.iter().find(|record| has_no_id(record)));
                // For use, none stays; for snapshots, for a while by the wall clock.
                let is_over = |record: &GrantRecord| {
                    let is_due = |at: i64| at <= now || record.purpose == "use";
                    record.retire_after_micros.is_some_and(is_due)
                };
                match record {
                    None => {
                        let of_table = |record: &&GrantRecord| names(&request, TableId(record.id));
                        let known: Vec<_> = records.iter().filter(of_table).collect();
                        self.fail(format!(
                            "{} ({grant:?}) of {cmk} is forgotten: {known:?}",
                            request.name
                        ));
                    }
                    Some(record) if is_over(record) => {
                        self.fail(format!(
                            "{} of {cmk} is not retired: {record:?}",
                            request.name
                        ));
                    }
                    Some(record) if !is_needed && record.retire_after_micros.is_none() => {
                        self.fail(format!("nobody needs {} of {cmk}", request.name));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// Whether a grant was made for this purpose.
fn is_for(request: &GrantRequest, purpose: &str) -> bool {
    let (_, last) = request.name.rsplit_once(':').unwrap_or_default();
    last.trim_end_matches("-kept") == purpose
}

/// Whether a grant was made for this table.
fn names(request: &GrantRequest, id: TableId) -> bool {
    request.name.contains(&format!(":{id}:"))
}
