//! A page of a virtual table that is made piece by piece: rows of one partition at a time, until the page is full.
//!
//! What is in memory is one piece and the page, whatever the table holds.

use palladium_storage::{
    KeyRange, Limits, PartitionKey, PartitionRows, ReadCommand, ReadPage, ReadPosition,
};

use super::super::rows::Rows;
use crate::error::CqlResult;

/// The page in the making.
pub struct Paged<'a> {
    command: &'a ReadCommand,
    page: ReadPage,
    rows: u32,
    bytes: usize,
}

/// A partition of it in the making.
pub struct Partition {
    at: ReadPosition,
    shown: PartitionRows,
    is_full: bool,
}

impl<'a> Paged<'a> {
    /// Nothing yet.
    pub fn new(command: &'a ReadCommand) -> Self {
        Paged {
            command,
            page: ReadPage::default(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Of partitions in the order in which they are shown: those that are asked for and not behind us.
    pub fn wanted<T>(&self, partitions: Vec<(PartitionKey, T)>) -> Vec<(PartitionKey, T)> {
        let mut wanted: Vec<(PartitionKey, T)> = partitions
            .into_iter()
            .filter(|(key, _)| is_wanted(&self.command.range, key))
            .collect();
        if let Some(position) = &self.command.resume {
            let at = wanted.iter().position(|(key, _)| *key == position.key);
            let is_finished = position.clustering.is_none();
            wanted.drain(..at.map_or(wanted.len(), |at| at + usize::from(is_finished)));
        }
        wanted
    }

    /// Begins a partition.
    pub fn begin(&self, key: PartitionKey) -> Partition {
        let resumed = self.command.resume.as_ref();
        let resumed = resumed.filter(|position| position.key == key);
        Partition {
            at: ReadPosition {
                key: key.clone(),
                clustering: resumed.and_then(|position| position.clustering.clone()),
                returned_in_partition: resumed.map_or(0, |position| position.returned_in_partition),
            },
            shown: PartitionRows {
                key,
                static_row: None,
                rows: Vec::new(),
            },
            is_full: false,
        }
    }

    /// Whether more rows of the partition would be shown.
    pub fn takes_more(&self, partition: &Partition) -> bool {
        !partition.is_full && partition.at.returned_in_partition < self.command.limits.per_partition
    }

    /// Adds rows of the partition that follow those before them.
    pub fn add(&mut self, partition: &mut Partition, piece: &Rows<'_>) -> CqlResult<()> {
        let limits = self.command.limits;
        let command = ReadCommand {
            range: KeyRange::One(partition.at.key.clone()),
            limits: Limits {
                rows: limits.rows.saturating_sub(self.rows),
                bytes: limits.bytes.saturating_sub(self.bytes),
                ..limits
            },
            resume: partition
                .at
                .clustering
                .is_some()
                .then(|| partition.at.clone()),
            ..self.command.clone()
        };
        for found in piece.read(&command)?.partitions {
            self.rows += found.rows.len() as u32;
            partition.at.returned_in_partition += found.rows.len() as u32;
            for row in found.rows {
                self.bytes = self.bytes.saturating_add(row.weight());
                partition.at.clustering = Some(row.clustering.clone());
                partition.shown.rows.push(row);
            }
        }
        partition.is_full = self.rows >= limits.rows || self.bytes >= limits.bytes;
        Ok(())
    }

    /// Ends the partition. Says whether the page ends with it.
    pub fn end(&mut self, partition: Partition) -> bool {
        let Partition {
            mut at,
            shown,
            is_full,
        } = partition;
        if !shown.rows.is_empty() {
            self.page.partitions.push(shown);
        }
        if !is_full {
            return false;
        }
        if at.returned_in_partition >= self.command.limits.per_partition {
            at.clustering = None;
            at.returned_in_partition = 0;
        }
        self.page.next = Some(at);
        true
    }

    /// The page.
    pub fn finish(self) -> ReadPage {
        self.page
    }
}

fn is_wanted(range: &KeyRange, key: &PartitionKey) -> bool {
    match range {
        KeyRange::One(own) => own == key,
        KeyRange::Range { start, end } => !start.is_after_key(key) && end.is_after_key(key),
    }
}
