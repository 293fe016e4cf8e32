//! The life of keys: what a table key depends on, what a key switch changes and what it leaves alone.

use std::collections::HashSet;

use palladium_crypto::{
    ClusterId, CmkRef, Error, KeyRing, OsEntropy, Sealed, SealedBuf, Secret, SeededEntropy,
    StructureId, StructureKind, TableId, TableKey,
};

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
const TABLE: TableId = TableId([0x7a; 16]);
const STRUCTURE: StructureId = StructureId([0x57; 16]);
const KIND: StructureKind = StructureKind::LogShare;

fn cmk(name: &str) -> CmkRef {
    CmkRef::parse(name).unwrap()
}

fn table_key(version: u32) -> TableKey {
    let plaintext = Secret::from_bytes([version as u8; 32]);
    TableKey::derive(&plaintext, CLUSTER, TABLE, version, &cmk("local:orders"))
}

#[test]
fn a_table_key_depends_on_everything_it_is_derived_from() {
    let plaintext = Secret::from_bytes([1; 32]);
    let other_plaintext = Secret::from_bytes([2; 32]);
    let name = cmk("local:orders");
    let keys = [
        TableKey::derive(&plaintext, CLUSTER, TABLE, 1, &name),
        TableKey::derive(&other_plaintext, CLUSTER, TABLE, 1, &name),
        TableKey::derive(&plaintext, ClusterId([0xc2; 16]), TABLE, 1, &name),
        TableKey::derive(&plaintext, CLUSTER, TableId([0x7b; 16]), 1, &name),
        TableKey::derive(&plaintext, CLUSTER, TABLE, 2, &name),
        TableKey::derive(&plaintext, CLUSTER, TABLE, 1, &cmk("local:order")),
    ];
    let secrets: HashSet<[u8; 32]> = keys
        .iter()
        .map(|key| *key.derive_secret("test").expose())
        .collect();
    let prints: HashSet<_> = keys.iter().map(TableKey::fingerprint).collect();
    assert_eq!((secrets.len(), prints.len()), (keys.len(), keys.len()));
}

#[test]
fn secrets_of_different_purposes_are_different() {
    let key = table_key(1);
    assert!(key.derive_secret("anchor") == key.derive_secret("anchor"));
    assert!(key.derive_secret("anchor") != key.derive_secret("page state"));
    let system = TableKey::for_system_table(&key, TableId([1; 16]));
    assert_eq!((system.table(), system.version()), (TableId([1; 16]), 1));
    let other_system = TableKey::for_system_table(&key, TableId([2; 16]));
    assert!(system.derive_secret("anchor") != other_system.derive_secret("anchor"));
}

#[test]
fn a_key_switch_moves_no_data() {
    let entropy = SeededEntropy::new(1);
    let before = KeyRing::new(table_key(1), vec![]);
    let (mut sealer, old_wrap) = before.seal_new(&entropy, STRUCTURE, KIND);
    let mut block = b"a row".to_vec();
    sealer.seal(b"", true, &mut block).unwrap();

    let after = before.switched_to(table_key(2));
    assert_eq!(
        (after.active_version(), after.versions().collect::<Vec<_>>()),
        (2, vec![2, 1])
    );
    let new_wrap = after.rewrap(&old_wrap, STRUCTURE, KIND, &entropy).unwrap();
    assert_eq!((old_wrap.version, new_wrap.version), (1, 2));

    let alone = after.retain(|_| false);
    assert!(matches!(
        alone.open(&old_wrap, STRUCTURE, KIND),
        Err(Error::UnknownVersion { version: 1 })
    ));
    let mut plain = Vec::new();
    let opener = alone.open(&new_wrap, STRUCTURE, KIND).unwrap();
    opener.open(0, true, b"", &block, &mut plain).unwrap();
    assert_eq!(plain, b"a row");
}

#[test]
fn a_restore_under_another_table_keeps_the_files_and_wraps_anew() {
    let entropy = SeededEntropy::new(2);
    let source = KeyRing::new(table_key(1), vec![]);
    let (mut sealer, wrap) = source.seal_new(&entropy, STRUCTURE, KIND);
    let mut block = b"a row".to_vec();
    sealer.seal(b"", true, &mut block).unwrap();

    let copy = TableId([0xbb; 16]);
    let plaintext = Secret::from_bytes([9; 32]);
    let target_key = TableKey::derive(&plaintext, CLUSTER, copy, 1, &cmk("local:copies"));
    let target = KeyRing::new(target_key, vec![]);
    let moved = source
        .rewrap_for(&target, &wrap, STRUCTURE, KIND, &entropy)
        .unwrap();
    assert!(target.open(&wrap, STRUCTURE, KIND).is_err());
    let opener = target.open(&moved, STRUCTURE, KIND).unwrap();
    opener.open_in_place(0, true, b"", &mut block).unwrap();
    assert_eq!(block, b"a row");
}

#[test]
fn every_structure_has_a_key_of_its_own() {
    let ring = KeyRing::new(table_key(1), vec![]);
    let sealed: HashSet<Vec<u8>> = (0..50)
        .map(|_| {
            // One structure id on purpose: even then no two sealers share a key.
            let (mut sealer, _) = ring.seal_new(&OsEntropy, STRUCTURE, KIND);
            let mut block = vec![0; 32];
            sealer.seal(b"", true, &mut block).unwrap();
            block
        })
        .collect();
    assert_eq!(sealed.len(), 50);
}

#[test]
fn blocks_sealed_apart_are_joined_into_one_append() {
    let ring = KeyRing::new(table_key(1), vec![]);
    let (mut sealer, wrap) = ring.seal_new(&SeededEntropy::new(3), STRUCTURE, KIND);
    let mut first = Vec::new();
    let first: SealedBuf = sealer
        .seal_into(b"", false, b"one", &mut first)
        .unwrap()
        .to_owned();
    let mut out = b"header".to_vec();
    let second: Sealed<'_> = sealer.seal_into(b"", true, b"two", &mut out).unwrap();
    assert_eq!(
        (first.ordinal(), second.ordinal(), second.bytes().len()),
        (0, 1, 3 + 16)
    );

    let joined = SealedBuf::concat([first.as_sealed(), second]);
    assert_eq!(joined.bytes(), [first.bytes(), second.bytes()].concat());
    let opener = ring.open(&wrap, STRUCTURE, KIND).unwrap();
    let mut plain = Vec::new();
    opener
        .open(0, false, b"", &joined.bytes()[..19], &mut plain)
        .unwrap();
    opener
        .open(1, true, b"", &joined.bytes()[19..], &mut plain)
        .unwrap();
    assert_eq!(plain, b"onetwo");
}

#[test]
#[should_panic(expected = "a ring holds the keys of one table")]
fn a_ring_of_two_tables_cannot_be_made() {
    let stranger = TableKey::for_system_table(&table_key(1), TableId([1; 16]));
    KeyRing::new(table_key(1), vec![stranger]);
}

#[test]
fn what_is_printed_of_keys_and_blocks_holds_no_bytes_of_them() {
    let key = table_key(1);
    assert_eq!(format!("{key:?}"), format!("TableKey({TABLE} version 1)"));
    let ring = KeyRing::new(key, vec![]);
    let (mut sealer, wrap) = ring.seal_new(&SeededEntropy::new(3), STRUCTURE, KIND);
    let mut block = b"plaintext".to_vec();
    let sealed = sealer.seal(b"", true, &mut block).unwrap();
    assert_eq!(format!("{sealed:?}"), "Sealed(25 bytes at 0)");
    assert_eq!(format!("{wrap:?}"), "WrappedDataKey { version: 1, .. }");
}
