//! Decoders and whole segments against bytes that nobody wrote.

use proptest::prelude::*;

use super::*;
use crate::commitlog::layout::*;
use crate::env::Env;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn recovery_never_panics_on_a_mutated_log(
        edits in proptest::collection::vec((0usize..3, any::<prop::sample::Index>(), any::<u8>(), 0usize..600), 1..8)
    ) {
        let mut world = World::written(23, 20, 10);
        for (number, at, byte, length) in edits {
            let path = if number == 0 { "log/watermark".to_owned() } else { segment(number as u64) };
            let mut bytes = world.disk.contents(&path).unwrap();
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(byte);
            if length > 590 {
                bytes.truncate(at);
            }
            world.disk.replace(&path, Some(bytes));
        }
        // Without a watermark it is refused as a whole.
        let Ok((log, recovered)) = world.try_open() else {
            return Ok(());
        };
        drop(log);
        // Whatever is still offered is what was written.
        world.check_shares(&recovered).unwrap();
    }

    #[test]
    fn decoders_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = SegmentHeader::decode(&bytes);
        let _ = SegmentRecord::decode(&bytes);
        let _ = GroupHeader::decode(&bytes);
        let _ = SealRecord::decode(&bytes);
        let _ = Trailer::decode(&bytes);
        let _ = WatermarkHeader::decode(&bytes);
        let _ = WatermarkRecord::decode(&bytes);
    }

    #[test]
    fn a_group_header_is_what_it_was_and_no_flipped_bit_passes(
        sequence in any::<u64>(),
        shares in proptest::collection::vec((any::<[u8; 16]>(), 16u32..5000, any::<bool>(), any::<bool>()), 0..5),
        flip in any::<prop::sample::Index>(),
    ) {
        let env = SimulatedEnv::new(sequence);
        let writer = crate::sealed::SealedWriter::new(&ring_of(A, 1), env.as_ref().entropy(), palladium_crypto::StructureKind::LogShare);
        let shares = shares.into_iter().map(|(id, length, has_wrap, has_origin)| ShareEntry {
            table: TableId(id),
            structure: StructureId(id),
            ordinal: sequence,
            length,
            crc: length,
            tag: id,
            wrapped: has_wrap.then(|| writer.wrapped().clone()),
            origin: has_origin.then_some(Origin { incarnation: 1, sequence: 2 }),
        });
        let mut header = GroupHeader {
            kind: GroupKind::Group,
            pages: 0,
            sequence,
            incarnation: 3,
            segment: 4,
            unit: sequence,
            shares: shares.collect(),
        };
        header.pages = header.pages_needed() as u32;
        let mut bytes = header.encode();
        prop_assert_eq!(bytes.len(), header.encoded_bytes());
        prop_assert_eq!(GroupHeader::decode(&bytes), Some(header.clone()));
        let bit = flip.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(GroupHeader::decode(&bytes), Some(header));
    }
}
