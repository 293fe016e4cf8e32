//! For all inputs: what is sealed opens where it stands and nowhere else; what is wrapped unwraps; no bytes make a reader panic.

use palladium_crypto::{
    ClusterId, CmkRef, EncryptionContext, Entropy, KeyRing, Keyring, Kms, ScriptedKms, Secret,
    SeededEntropy, StructureId, StructureKind, TableId, TableKey, WrappedDataKey, WrappedTableKey,
};
use proptest::prelude::*;

fn ring(seed: u64) -> KeyRing {
    let entropy = SeededEntropy::new(seed);
    let (plaintext, cluster, table) = (
        Secret::random(&entropy),
        ClusterId::random(&entropy),
        TableId::random(&entropy),
    );
    let cmk = CmkRef::parse("local:orders").unwrap();
    KeyRing::new(
        TableKey::derive(&plaintext, cluster, table, 1, &cmk),
        vec![],
    )
}

fn kind() -> impl Strategy<Value = StructureKind> {
    proptest::sample::select(StructureKind::ALL.to_vec())
}

fn block() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..3000)
}

fn blocks() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let context = proptest::collection::vec(any::<u8>(), 0..200);
    proptest::collection::vec((block(), context), 1..8)
}

proptest! {
    #[test]
    fn what_is_sealed_opens_where_it_stands(seed: u64, kind in kind(), blocks in blocks()) {
        let (entropy, ring) = (SeededEntropy::new(seed), ring(seed));
        let structure = StructureId::random(&entropy);
        let (mut sealer, wrapped) = ring.seal_new(&entropy, structure, kind);
        let opener = ring.open(&wrapped, structure, kind).unwrap();
        for (index, (plain, context)) in blocks.iter().enumerate() {
            let (ordinal, end) = (index as u64, index + 1 == blocks.len());
            let mut sealed = if index % 2 == 0 {
                let mut block = plain.clone();
                sealer.seal(context, end, &mut block).unwrap();
                block
            } else {
                let mut out = vec![];
                sealer.seal_into(context, end, plain, &mut out).unwrap();
                out
            };
            prop_assert_eq!(sealed.len(), plain.len() + 16);
            for elsewhere in [ordinal ^ 1, ordinal + (1 << 32), ordinal | (1 << 63)] {
                prop_assert!(opener.open(elsewhere, end, context, &sealed, &mut vec![]).is_err());
            }
            let mut opened = b"before".to_vec();
            opener.open(ordinal, end, context, &sealed, &mut opened).unwrap();
            prop_assert_eq!(&opened[6..], &plain[..]);
            opener.open_in_place(ordinal, end, context, &mut sealed).unwrap();
            prop_assert_eq!(&sealed, plain);
        }
        prop_assert!(sealer.seal(b"", false, &mut vec![]).is_err());
    }

    #[test]
    fn a_changed_block_never_opens(seed: u64, plain in block(), position: usize, change in 1u8..) {
        let (entropy, ring) = (SeededEntropy::new(seed), ring(seed));
        let structure = StructureId::random(&entropy);
        let (mut sealer, wrapped) = ring.seal_new(&entropy, structure, StructureKind::Spill);
        let mut sealed = plain;
        sealer.seal(b"", false, &mut sealed).unwrap();
        let position = position % sealed.len();
        sealed[position] ^= change;
        let opener = ring.open(&wrapped, structure, StructureKind::Spill).unwrap();
        prop_assert!(opener.open(0, false, b"", &sealed, &mut vec![]).is_err());
    }

    #[test]
    fn wraps_survive_their_bytes_and_any_number_of_switches(seed: u64, kind in kind(), switches in 1u32..5) {
        let entropy = SeededEntropy::new(seed);
        let mut ring = ring(seed);
        let (table, structure) = (ring.table(), StructureId::random(&entropy));
        let (mut sealer, mut wrapped) = ring.seal_new(&entropy, structure, kind);
        let mut block = b"a row".to_vec();
        sealer.seal(b"", true, &mut block).unwrap();
        let cmk = CmkRef::parse("vault:orders").unwrap();
        for version in 2..2 + switches {
            let next = TableKey::derive(&Secret::random(&entropy), ClusterId([1; 16]), table, version, &cmk);
            let carried = next.wrap_older(ring.active(), &entropy).to_bytes();
            let older = next.unwrap_older(&WrappedTableKey::from_bytes(&carried).unwrap()).unwrap();
            prop_assert_eq!(older.fingerprint(), ring.active().fingerprint());
            ring = KeyRing::new(next, vec![older]);
            wrapped = ring.rewrap(&wrapped, structure, kind, &entropy).unwrap();
            wrapped = WrappedDataKey::from_bytes(&wrapped.to_bytes()).unwrap();
            prop_assert_eq!(wrapped.version, version);
        }
        let opener = ring.retain(|_| false).open(&wrapped, structure, kind).unwrap();
        opener.open_in_place(0, true, b"", &mut block).unwrap();
        prop_assert_eq!(&block, b"a row");
    }

    #[test]
    fn contexts_are_equal_when_their_bytes_are(
        left in proptest::collection::btree_map(".{0,6}", ".{0,6}", 0..4),
        right in proptest::collection::btree_map(".{0,6}", ".{0,6}", 0..4),
    ) {
        let (left, right) = (EncryptionContext(left), EncryptionContext(right));
        prop_assert_eq!(left == right, left.to_bytes() == right.to_bytes());
    }

    #[test]
    fn a_key_name_reads_back_as_it_was_printed(text in "(default|local:|vault:|pkcs11:|arn:aws:kms:)?[ -~]{0,40}") {
        if let Ok(cmk) = CmkRef::parse(&text) {
            prop_assert_eq!(cmk.to_string(), text);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), exact: bool) {
        let mut bytes = bytes;
        if exact {
            bytes.resize(116, 7);
        }
        let ring = ring(1);
        if let Ok(wrapped) = WrappedDataKey::from_bytes(&bytes) {
            prop_assert!(ring.open(&wrapped, StructureId([0; 16]), StructureKind::Root).is_err());
        }
        if let Ok(wrapped) = WrappedTableKey::from_bytes(&bytes) {
            prop_assert!(ring.active().unwrap_older(&wrapped).is_err());
        }
        let kms = ScriptedKms::new(1);
        let (key, context) = (CmkRef::parse("local:a").unwrap(), EncryptionContext::for_table("k", "t", "s"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert!(runtime.block_on(kms.decrypt(&key, &bytes, &context)).outcome.is_err());
    }
}

#[test]
fn changed_text_makes_no_keyring_panic_and_changes_no_key() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let entropy = std::sync::Arc::new(SeededEntropy::new(1));
    let keyring = Keyring::create_new(folder.path().join("keyring"), entropy).unwrap();
    keyring.key_create("orders").unwrap();
    let whole = std::fs::read(keyring.path()).unwrap();
    let (keys, edits) = (keyring.key_list().unwrap(), keyring.edit_counter().unwrap());
    let seed = 42;
    println!("seed {seed}");
    let chance = SeededEntropy::new(seed);
    for _ in 0..2000 {
        let mut draw = [0; 8];
        chance.fill(&mut draw);
        let mut text = whole.clone();
        let (start, length) = (
            usize::from(u16::from_le_bytes([draw[0], draw[1]])) % text.len(),
            usize::from(draw[2] % 9),
        );
        let end = (start + length).min(text.len());
        text.splice(
            start..end,
            draw[3..3 + usize::from(draw[2] % 5)].iter().copied(),
        );
        std::fs::write(keyring.path(), &text).unwrap();
        std::fs::set_permissions(keyring.path(), PermissionsExt::from_mode(0o600)).unwrap();
        // White space between the fields is nobody's; all else makes it an error.
        if Keyring::open(keyring.path()).is_ok() {
            assert_eq!(keyring.key_list().unwrap(), keys);
            assert_eq!(keyring.edit_counter().unwrap(), edits);
        }
    }
}
