//! What is left of a damaged SSTable: every partition all of whose blocks open.
//!
//! ```text
//! block 7    .. │ k1 │ k2 ──┐          k1 is whole
//! block 8    damaged        │          k2 goes on into it: lost
//! block 9    ── k3 │ k4 │ ..           k3 began in it: lost; k4 is whole
//! ```
//!
//! A partition is kept whole or not at all: half of one would look like all of it. Where an index block is damaged, its data blocks cannot be found, and are lost.
//!
//! What must hold: what is kept is what was written, block by block authenticated where it stands; the damaged SSTable is not touched.

use std::sync::Arc;

use palladium_crypto::KeyRing;

use super::block::DataBlock;
use super::{Sstable, SstableWriter, WriterOptions};
use crate::backend::Backend;
use crate::cache::{BlockCache, FetchedBlocks};
use crate::env::{Env, yield_now};
use crate::manifest::SstableEntry;
use crate::model::Slices;
use crate::read::{Fault, Source};
use crate::{Error, Result};

/// Reasons that are told; more say nothing new.
const REASONS_MAX: usize = 16;

/// What one data block is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Lost,
    Whole {
        sections: usize,
        /// Its first section belongs to a partition of the block before.
        continued: bool,
        /// Its last section goes on in the next block.
        goes_on: bool,
    },
}

/// How an SSTable fares, block by block.
#[derive(Debug)]
pub struct Survey {
    blocks: Vec<Block>,
    /// What is wrong, the first reasons of many.
    pub reasons: Vec<String>,
}

/// What was written anew.
#[derive(Debug)]
pub struct Rescued {
    /// The new SSTable, durable; None if nothing was left.
    pub entry: Option<SstableEntry>,
    /// Partitions in it.
    pub partitions: u64,
}

impl Survey {
    /// Data blocks that cannot be read.
    pub fn lost_blocks(&self) -> usize {
        self.blocks
            .iter()
            .filter(|block| **block == Block::Lost)
            .count()
    }

    /// Data blocks in all.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Whether every block opens.
    pub fn is_whole(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Partitions that are whole: the block and the section in which each begins.
    fn partitions(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        (0u32..).zip(&self.blocks).flat_map(|(at, block)| {
            self.beginning_in(at, *block)
                .map(move |section| (at, section))
        })
    }

    /// The sections of a block in which partitions begin that are whole.
    fn beginning_in(&self, at: u32, block: Block) -> std::ops::Range<usize> {
        let Block::Whole {
            sections,
            continued,
            goes_on,
        } = block
        else {
            return 0..0;
        };
        let is_lost = goes_on && !self.ends_well(at as usize + 1);
        usize::from(continued)..sections - usize::from(is_lost)
    }

    /// Whether a partition that goes on into this block can be followed to its end.
    fn ends_well(&self, from: usize) -> bool {
        for block in &self.blocks[from.min(self.blocks.len())..] {
            match *block {
                Block::Whole {
                    sections: 1,
                    continued: true,
                    goes_on: true,
                } => {}
                Block::Whole { continued, .. } => return continued,
                Block::Lost => return false,
            }
        }
        false
    }

    fn note(&mut self, reason: String) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        }
    }
}

impl Sstable {
    /// Opens every block once. An error: the disk refused, which is no damage.
    pub async fn survey<B: Backend>(&self, backend: &B) -> Result<Survey> {
        let mut survey = Survey {
            blocks: Vec::new(),
            reasons: Vec::new(),
        };
        for (child, blocks) in (0u32..).zip(self.index_blocks()?) {
            let node = match self.index_block(backend, child).await {
                Ok(node) => node,
                Err(error) => {
                    survey.note(damage(error)?);
                    survey.blocks.resize(blocks.end as usize, Block::Lost);
                    continue;
                }
            };
            for block in blocks {
                let opened = self.data_block_of(backend, &node, block).await;
                let read = opened.and_then(|plain| read(DataBlock::parse(plain.into_bytes())?));
                match read {
                    Ok(read) => survey.blocks.push(read),
                    Err(error) => {
                        survey.note(damage(error)?);
                        survey.blocks.push(Block::Lost);
                    }
                }
            }
        }
        Ok(survey)
    }

    /// Writes what is whole into a new SSTable.
    pub async fn rescue<B: Backend>(
        self: &Arc<Self>,
        survey: &Survey,
        backend: &Arc<B>,
        env: &Arc<dyn Env>,
        ring: &KeyRing,
        options: WriterOptions,
    ) -> Result<Rescued> {
        let mut writer = SstableWriter::new(backend.clone(), env.clone(), ring, options);
        match self.copy_whole(survey, &**backend, &mut writer).await {
            Ok(0) => {
                writer.abandon().await;
                Ok(Rescued {
                    entry: None,
                    partitions: 0,
                })
            }
            Ok(partitions) => Ok(Rescued {
                entry: writer.finish().await?,
                partitions,
            }),
            Err(error) => {
                writer.abandon().await;
                Err(error)
            }
        }
    }

    async fn copy_whole<B: Backend>(
        self: &Arc<Self>,
        survey: &Survey,
        backend: &B,
        writer: &mut SstableWriter<B>,
    ) -> Result<u64> {
        let blocks = Arc::new(FetchedBlocks::passing(Arc::new(BlockCache::new(0))));
        let mut walk = Walk {
            cursor: self.cursor(blocks.clone()),
            blocks,
            backend,
        };
        let (everything, mut partitions) = (Slices::all(), 0);
        for (block, section) in survey.partitions() {
            walk.cursor.place_at(block, section);
            let Some(head) = walk.ask(|cursor| Ok(cursor.partition()?.cloned())).await? else {
                continue;
            };
            writer.begin_partition(&head)?;
            walk.ask(|cursor| cursor.open(&everything, false)).await?;
            while walk
                .ask(|cursor| cursor.peek().map(|item| item.is_some()))
                .await?
            {
                writer.push(&walk.cursor.pop()).await?;
            }
            writer.end_partition().await?;
            partitions += 1;
        }
        Ok(partitions)
    }
}

/// A cursor, and where the blocks that it misses come from.
struct Walk<'a, B> {
    cursor: super::SstableCursor,
    blocks: Arc<FetchedBlocks>,
    backend: &'a B,
}

impl<B: Backend> Walk<'_, B> {
    async fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut super::SstableCursor) -> Result<T, Fault>,
    ) -> Result<T> {
        loop {
            match question(&mut self.cursor) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Turn) => yield_now().await,
                Err(Fault::Miss(address)) => {
                    let sstable = self.cursor.sstable().clone();
                    let block = sstable
                        .fetch(self.backend, &*self.blocks, address, None)
                        .await?;
                    self.blocks.add(address, block);
                }
            }
        }
    }
}

fn read(data: DataBlock) -> Result<Block> {
    let sections = data.sections();
    let (first, last) = (data.section(0)?, data.section(sections - 1)?);
    Ok(Block::Whole {
        sections,
        continued: first.continued,
        goes_on: last.continues,
    })
}

/// What is damaged; anything else is passed up.
fn damage(error: Error) -> Result<String> {
    match error {
        Error::Corrupt { what } => Ok(what),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Block = Block::Lost;

    fn whole(sections: usize, continued: bool, goes_on: bool) -> Block {
        Block::Whole {
            sections,
            continued,
            goes_on,
        }
    }

    fn kept(blocks: &[Block]) -> Vec<(u32, usize)> {
        let survey = Survey {
            blocks: blocks.to_vec(),
            reasons: Vec::new(),
        };
        survey.partitions().collect()
    }

    #[test]
    fn a_partition_that_touches_a_lost_block_is_lost_and_no_other() {
        let blocks = [whole(2, false, true), LOST, whole(3, true, false)];
        assert_eq!(kept(&blocks), [(0, 0), (2, 1), (2, 2)]);
    }

    #[test]
    fn a_partition_over_many_blocks_is_kept_if_all_of_them_are_whole() {
        let through = whole(1, true, true);
        let blocks = [
            whole(1, false, true),
            through,
            through,
            whole(2, true, false),
        ];
        assert_eq!(kept(&blocks), [(0, 0), (3, 1)]);
        let broken = [whole(1, false, true), through, LOST, whole(2, true, false)];
        assert_eq!(kept(&broken), [(3, 1)]);
    }

    #[test]
    fn of_a_partition_that_does_not_end_nothing_is_kept() {
        assert_eq!(kept(&[whole(2, false, true)]), [(0, 0)]);
        assert_eq!(kept(&[LOST]), []);
    }
}
