//! Flip any bit, swap two blocks, cut the tail, put a block where it does not belong: always an error, and no plaintext.

use palladium_crypto::{
    ClusterId, CmkRef, Error, KeyRing, Secret, SeededEntropy, StructureId, StructureKind, TableId,
    TableKey, WrappedDataKey, WrappedTableKey,
};

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
const TABLE: TableId = TableId([0x7a; 16]);
const STRUCTURE: StructureId = StructureId([0x57; 16]);
const KIND: StructureKind = StructureKind::SstableData;
const CONTEXT: &[u8] = b"epoch 9";

fn table_key(table: TableId, version: u32) -> TableKey {
    let cmk = CmkRef::parse("local:orders").unwrap();
    TableKey::derive(&Secret::from_bytes([3; 32]), CLUSTER, table, version, &cmk)
}

fn ring() -> KeyRing {
    KeyRing::new(table_key(TABLE, 2), vec![table_key(TABLE, 1)])
}

/// Three blocks of one structure, the last with the end flag, and the wrap that opens them.
fn sealed_structure(
    ring: &KeyRing,
    structure: StructureId,
    kind: StructureKind,
) -> (Vec<Vec<u8>>, WrappedDataKey) {
    let (mut sealer, wrapped) = ring.seal_new(&SeededEntropy::new(11), structure, kind);
    let blocks = [b"block zero", b"block one ", b"block two "]
        .iter()
        .enumerate();
    let sealed = blocks
        .map(|(index, plain)| {
            let mut block = plain.to_vec();
            sealer.seal(CONTEXT, index == 2, &mut block).unwrap();
            block
        })
        .collect();
    (sealed, wrapped)
}

fn is_tampered<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Tampered { .. }))
}

fn with_each_bit_flipped(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        check(bit, &changed);
    }
}

#[test]
fn every_flipped_bit_of_a_block_is_seen_and_nothing_comes_out() {
    let ring = ring();
    let (blocks, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    let opener = ring.open(&wrapped, STRUCTURE, KIND).unwrap();
    with_each_bit_flipped(&blocks[1], |bit, changed| {
        let mut out = b"before".to_vec();
        assert!(
            is_tampered(opener.open(1, false, CONTEXT, changed, &mut out)),
            "bit {bit}"
        );
        assert_eq!(out, b"before");
        let mut in_place = changed.to_vec();
        assert!(
            is_tampered(opener.open_in_place(1, false, CONTEXT, &mut in_place)),
            "bit {bit}"
        );
        let (bytes, tag) = in_place.split_at(in_place.len() - 16);
        assert!(bytes.iter().all(|byte| *byte == 0), "bit {bit}");
        assert_eq!(tag, &changed[bytes.len()..]);
    });
}

#[test]
fn a_block_cut_or_grown_anywhere_is_seen() {
    let ring = ring();
    let (blocks, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    let opener = ring.open(&wrapped, STRUCTURE, KIND).unwrap();
    for length in 0..blocks[0].len() {
        assert!(is_tampered(opener.open(
            0,
            false,
            CONTEXT,
            &blocks[0][..length],
            &mut vec![]
        )));
        assert!(is_tampered(opener.open_in_place(
            0,
            false,
            CONTEXT,
            &mut blocks[0][..length].to_vec()
        )));
    }
    let grown = [&blocks[0][..], b"\0"].concat();
    assert!(is_tampered(opener.open(
        0,
        false,
        CONTEXT,
        &grown,
        &mut vec![]
    )));
}

#[test]
fn swapped_blocks_do_not_open() {
    let ring = ring();
    let (blocks, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    let opener = ring.open(&wrapped, STRUCTURE, KIND).unwrap();
    for (place, block) in [
        (0, &blocks[1]),
        (1, &blocks[0]),
        (1 << 32, &blocks[0]),
        (u64::MAX, &blocks[0]),
    ] {
        assert!(is_tampered(opener.open(
            place,
            false,
            CONTEXT,
            block,
            &mut vec![]
        )));
    }
}

#[test]
fn a_last_block_is_not_an_inner_one_and_an_inner_one_is_not_the_last() {
    let ring = ring();
    let (blocks, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    let opener = ring.open(&wrapped, STRUCTURE, KIND).unwrap();
    assert!(
        opener
            .open(2, true, CONTEXT, &blocks[2], &mut vec![])
            .is_ok()
    );
    assert!(is_tampered(opener.open(
        2,
        false,
        CONTEXT,
        &blocks[2],
        &mut vec![]
    )));
    assert!(is_tampered(opener.open(
        1,
        true,
        CONTEXT,
        &blocks[1],
        &mut vec![]
    )));
}

#[test]
fn another_context_does_not_open() {
    let ring = ring();
    let (blocks, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    let opener = ring.open(&wrapped, STRUCTURE, KIND).unwrap();
    for context in [&b""[..], b"epoch 8", b"epoch 9\0", &[b'e'; 5000]] {
        assert!(is_tampered(opener.open(
            0,
            false,
            context,
            &blocks[0],
            &mut vec![]
        )));
    }
}

#[test]
fn every_flipped_bit_of_a_wrapped_data_key_is_seen() {
    let ring = ring();
    let (_, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    with_each_bit_flipped(&wrapped.to_bytes(), |bit, changed| {
        let changed = WrappedDataKey::from_bytes(changed).unwrap();
        let opened = ring.open(&changed, STRUCTURE, KIND);
        let in_version = bit < 32;
        match opened {
            Err(Error::Tampered { .. }) => {}
            Err(Error::UnknownVersion { version }) => {
                assert!(in_version && version == changed.version)
            }
            other => panic!("bit {bit}: {other:?}"),
        }
    });
}

#[test]
fn every_flipped_bit_of_a_wrapped_table_key_is_seen() {
    let (newer, older) = (table_key(TABLE, 2), table_key(TABLE, 1));
    let wrapped = newer.wrap_older(&older, &SeededEntropy::new(5));
    with_each_bit_flipped(&wrapped.to_bytes(), |bit, changed| {
        let changed = WrappedTableKey::from_bytes(changed).unwrap();
        assert!(is_tampered(newer.unwrap_older(&changed)), "bit {bit}");
    });
}

#[test]
fn a_wrap_of_another_length_is_no_wrap() {
    for length in [0, 3, 4, 115, 117, 1000] {
        assert!(is_tampered(WrappedDataKey::from_bytes(&vec![1; length])));
        assert!(is_tampered(WrappedTableKey::from_bytes(&vec![1; length])));
    }
}

#[test]
fn a_wrap_moved_to_another_structure_kind_or_table_does_not_open() {
    let ring = ring();
    let (_, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    assert!(is_tampered(ring.open(
        &wrapped,
        StructureId([0x58; 16]),
        KIND
    )));
    for kind in StructureKind::ALL {
        assert_eq!(ring.open(&wrapped, STRUCTURE, kind).is_ok(), kind == KIND);
    }
    // The same KMS plaintext, but a ring for another table.
    let other = KeyRing::new(table_key(TableId([0x7b; 16]), 2), vec![]);
    assert!(is_tampered(other.open(&wrapped, STRUCTURE, KIND)));
}

#[test]
fn a_wrap_that_claims_another_version_does_not_open() {
    let ring = ring();
    let (_, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    let mut bytes = wrapped.to_bytes();
    bytes[..4].copy_from_slice(&1u32.to_be_bytes());
    let claimed = WrappedDataKey::from_bytes(&bytes).unwrap();
    assert!(is_tampered(ring.open(&claimed, STRUCTURE, KIND)));
}

#[test]
fn a_block_of_another_structure_under_the_same_table_key_does_not_open() {
    let ring = ring();
    let (_, wrapped) = sealed_structure(&ring, STRUCTURE, KIND);
    let (strangers, _) = sealed_structure(&ring, StructureId([0x99; 16]), KIND);
    let opener = ring.open(&wrapped, STRUCTURE, KIND).unwrap();
    assert!(is_tampered(opener.open(
        0,
        false,
        CONTEXT,
        &strangers[0],
        &mut vec![]
    )));
}

#[test]
fn an_older_key_under_a_newer_one_opens_only_with_that_newer_one() {
    let (third, second, first) = (
        table_key(TABLE, 3),
        table_key(TABLE, 2),
        table_key(TABLE, 1),
    );
    let wrapped = third.wrap_older(&first, &SeededEntropy::new(5));
    assert_eq!(
        third.unwrap_older(&wrapped).unwrap().fingerprint(),
        first.fingerprint()
    );
    assert!(is_tampered(second.unwrap_older(&wrapped)));
}

#[test]
fn a_root_tag_covers_every_bit_of_the_root_and_of_itself() {
    let key = table_key(TABLE, 2);
    let root = b"table, key name, wraps, epoch";
    let tag = key.root_tag(root);
    assert!(key.root_tag_matches(root, &tag));
    assert!(!table_key(TABLE, 1).root_tag_matches(root, &tag));
    with_each_bit_flipped(root, |bit, changed| {
        assert!(!key.root_tag_matches(changed, &tag), "bit {bit}")
    });
    with_each_bit_flipped(&tag, |bit, changed| {
        assert!(
            !key.root_tag_matches(root, changed.try_into().unwrap()),
            "bit {bit}"
        );
    });
}
