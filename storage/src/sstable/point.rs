//! One row of one SSTable, found without walking: index, block, section, run, row.
//!
//! What must hold: it says what a cursor that seeks to the partition and opens the row's slice would say, and misses the same blocks.

use super::block::DataBlock;
use super::index::{Node, Target};
use super::reader::Sstable;
use crate::Error;
use crate::cache::BlockLookup;
use crate::model::{Clustering, PartitionKey};
use crate::read::{Fault, PointPart, ReadRow};

impl Sstable {
    /// What the SSTable says of a row; None if it does not have the partition.
    pub fn point(
        &self,
        blocks: &dyn BlockLookup,
        key: &PartitionKey,
        position: &Clustering,
    ) -> Result<Option<PointPart>, Fault> {
        let (_, part) = self.point_in(blocks, key, position)?;
        Ok(part)
    }

    /// What is wrong with the row that it has, if that is none: whoever reads it later does not know the block. Asked after an error; a block that is not at hand any
    /// more is not blamed.
    pub fn blame(
        &self,
        blocks: &dyn BlockLookup,
        key: &PartitionKey,
        position: &Clustering,
    ) -> Option<Error> {
        let (block, part) = self.point_in(blocks, key, position).ok()?;
        match part?.row?.into_row() {
            Err(Error::Corrupt { what }) => Some(self.malformed(block, &what)),
            _ => None,
        }
    }

    /// The same with the block that it stands in, or would.
    fn point_in(
        &self,
        blocks: &dyn BlockLookup,
        key: &PartitionKey,
        position: &Clustering,
    ) -> Result<(u32, Option<PointPart>), Fault> {
        // The last block that begins at or before the row has it, or what covers it: each section restates its partition.
        let target = Target::Inside {
            token: key.token().0,
            key: key.bytes(),
            clustering: &position.0,
        };
        let block = self.find(&target, |address| {
            let plain = blocks.block(address).ok_or(Fault::Miss(address))?;
            Ok(Node::parse(plain.into_bytes())?)
        })?;
        if block >= self.data_blocks() {
            return Err(self
                .malformed(block, "the index names it, but it does not exist")
                .into());
        }
        let address = self.data_address(block);
        let plain = blocks.block(address).ok_or(Fault::Miss(address))?;
        let in_block = |error| match error {
            Error::Corrupt { what } => self.malformed(block, &what),
            other => other,
        };
        let found = DataBlock::parse(plain.into_bytes())
            .and_then(|data| data.find(key.token(), key.bytes()))
            .and_then(|section| match section {
                None => Ok(None),
                Some(section) => {
                    let (range, encoded) = section.find(&position.0)?;
                    let row = encoded.map(|bytes| ReadRow::Encoded {
                        clustering: position.clone(),
                        bytes,
                    });
                    Ok(Some(PointPart {
                        cover: section.deletion.max(range),
                        row,
                    }))
                }
            });
        Ok((block, found.map_err(in_block)?))
    }
}
