//! Bytes of every released format still open, and the same seed still makes the same bytes.
//!
//! `golden/v1.txt` holds a sample of each format, `golden/keyring.*` and `golden/anchor.*` those of which there is more than one version. A change that alters one of them is a new
//! format: it gets a new version, a new sample beside the old one, and the old one keeps opening.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use palladium_crypto::{
    Anchor, ClusterId, CmkRef, EncryptionContext, Entropy, GrantOperation, GrantRequest, KeyPolicy,
    KeyRing, KeyState, Keyring, KeyringMoment, Kms, Lineage, Passphrase, PassphraseCost, Secret,
    SeededEntropy, StructureId, StructureKind, Succession, TableId, TableKey, UnixSeconds,
    WrappedDataKey, WrappedTableKey,
};

const CLUSTER: ClusterId = ClusterId(*b"golden cluster 1");
const TABLE: TableId = TableId(*b"golden table 001");
const STRUCTURE: StructureId = StructureId(*b"golden structure");
const KIND: StructureKind = StructureKind::SstableData;
const ANCHOR: Anchor = Anchor {
    cluster: CLUSTER,
    incarnation: 3,
    epoch: 0x0102_0304_0506_0708,
    log_sequence: 0x1112_1314_1516_1718,
    lineage: Lineage(*b"golden lineage 1"),
};
const FIRST_ANCHOR: &str = include_str!("golden/anchor.v1.hex");
const SECOND_ANCHOR: &str = include_str!("golden/anchor.v2.hex");
const THIRD_ANCHOR: &str = include_str!("golden/anchor.v3.hex");
const KEYRING: &str = include_str!("golden/keyring.v1.json");
const SECOND_KEYRING: &str = include_str!("golden/keyring.v2.jsonl");
const SECOND_PROTECTED_KEYRING: &str = include_str!("golden/keyring.v2.protected.jsonl");
const THIRD_KEYRING: &str = include_str!("golden/keyring.v3.jsonl");
const THIRD_PROTECTED_KEYRING: &str = include_str!("golden/keyring.v3.protected.jsonl");
const CHEAP: PassphraseCost = PassphraseCost {
    memory_kib: PassphraseCost::MEMORY_KIB_MIN,
    passes: 1,
    lanes: 2,
};

fn passphrase() -> Passphrase {
    Passphrase::new(b"golden passphrase".to_vec().into()).unwrap()
}

fn table_key(version: u32) -> TableKey {
    let plaintext = Secret::from_bytes([version as u8; 32]);
    TableKey::derive(
        &plaintext,
        CLUSTER,
        TABLE,
        version,
        &CmkRef::parse("local:golden").unwrap(),
    )
}

fn ring() -> KeyRing {
    KeyRing::new(table_key(2), vec![table_key(1)])
}

fn context() -> EncryptionContext {
    EncryptionContext::for_table("shop", "orders", "golden")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn golden(name: &str) -> Vec<u8> {
    let lines = include_str!("golden/v1.txt").lines();
    let digits = lines
        .filter_map(|line| line.split_once(' '))
        .find_map(|(found, digits)| (found == name).then_some(digits))
        .unwrap_or_else(|| panic!("no sample of {name}"));
    bytes(digits)
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn keyring_file(folder: &Path, text: &str) -> Keyring {
    let path = folder.join("keyring");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    Keyring::open_with_entropy(path, Arc::new(SeededEntropy::new(4))).unwrap()
}

/// Every format made anew from fixed seeds, as the lines of `golden/v1.txt`.
async fn samples() -> String {
    let folder = tempfile::tempdir().unwrap();
    let (mut sealer, data_key) = ring().seal_new(&SeededEntropy::new(1), STRUCTURE, KIND);
    let (mut first, mut last) = (b"first block".to_vec(), b"last block".to_vec());
    sealer.seal(b"context", false, &mut first).unwrap();
    sealer.seal(b"", true, &mut last).unwrap();
    let table_key_wrap = table_key(2).wrap_older(&table_key(1), &SeededEntropy::new(2));
    let system = TableKey::for_system_table(&table_key(1), TableId([9; 16]));
    let keyring = keyring_file(folder.path(), KEYRING);
    let local = CmkRef::parse("local:golden").unwrap();
    let plaintext = Secret::from_bytes([0x5e; 32]);
    let blob = keyring
        .encrypt(&local, &plaintext, &context())
        .await
        .outcome
        .unwrap();
    let mut seeded = [0; 19];
    SeededEntropy::new(3).fill(&mut seeded);

    [
        ("wrapped_data_key", hex(&data_key.to_bytes())),
        ("first_block", hex(&first)),
        ("last_block", hex(&last)),
        ("wrapped_table_key", hex(&table_key_wrap.to_bytes())),
        ("fingerprint", table_key(1).fingerprint().to_string()),
        ("system_fingerprint", system.fingerprint().to_string()),
        ("root_tag", hex(&table_key(1).root_tag(b"a root"))),
        (
            "derived_secret",
            hex(table_key(1).derive_secret("golden").expose()),
        ),
        ("keyring_blob", hex(&blob)),
        ("seeded_entropy", hex(&seeded)),
    ]
    .map(|(name, digits)| format!("{name} {digits}\n"))
    .concat()
}

#[tokio::test]
async fn the_same_seeds_make_the_same_bytes() {
    let made = samples().await;
    assert_eq!(made, include_str!("golden/v1.txt"), "made now:\n{made}");
}

#[test]
fn blocks_of_the_first_format_open() {
    let wrapped = WrappedDataKey::from_bytes(&golden("wrapped_data_key")).unwrap();
    let opener = ring().open(&wrapped, STRUCTURE, KIND).unwrap();
    let mut plain = Vec::new();
    opener
        .open(0, false, b"context", &golden("first_block"), &mut plain)
        .unwrap();
    opener
        .open(1, true, b"", &golden("last_block"), &mut plain)
        .unwrap();
    assert_eq!(plain, b"first blocklast block");
}

#[test]
fn wrapped_table_keys_of_the_first_format_open() {
    let wrapped = WrappedTableKey::from_bytes(&golden("wrapped_table_key")).unwrap();
    let older = table_key(2).unwrap_older(&wrapped).unwrap();
    assert_eq!(older.version(), 1);
    assert_eq!(older.fingerprint().0.to_vec(), golden("fingerprint"));
}

#[test]
fn root_tags_of_the_first_format_match() {
    let tag = golden("root_tag").try_into().unwrap();
    assert!(table_key(1).root_tag_matches(b"a root", &tag));
}

#[tokio::test]
async fn keyrings_and_their_blobs_of_the_first_format_open() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = keyring_file(folder.path(), KEYRING);
    assert_eq!(keyring.edit_counter().unwrap(), 3);
    let key = CmkRef::parse("local:golden").unwrap();
    let plaintext = keyring
        .decrypt(&key, &golden("keyring_blob"), &context())
        .await
        .outcome
        .unwrap();
    assert_eq!(plaintext.expose(), &[0x5e; 32]);
}

/// Every kind of line that a keyring's file can have.
fn third_keyring(folder: &Path) -> Keyring {
    let now = UnixSeconds(1_795_633_630);
    let keyring = Keyring::create_new(folder.join("keyring"), Arc::new(SeededEntropy::new(6)))
        .unwrap()
        .with_clock(move || now);
    keyring.key_create("golden").unwrap();
    keyring.key_create("resting").unwrap();
    keyring.key_disable("resting").unwrap();
    keyring.key_rotate("golden").unwrap();
    let material = Secret::from_bytes([0x17; 32]);
    keyring
        .key_import("brought", material, KeyPolicy::GrantsOnly)
        .unwrap();
    let request = GrantRequest {
        name: "a \"grant\"".into(),
        operations: vec![GrantOperation::Describe, GrantOperation::Decrypt],
        context: context(),
    };
    keyring.grant_create("brought", &request).unwrap();
    let revoked = GrantRequest {
        name: String::new(),
        ..request
    };
    let revoked = keyring.grant_create("brought", &revoked).unwrap();
    keyring.grant_revoke("brought", &revoked).unwrap();
    keyring.alias_set("current", "golden").unwrap();
    keyring.grantor_create(&folder.join("credential")).unwrap();
    keyring.key_create("leaving").unwrap();
    keyring.key_schedule_deletion("leaving", 7).unwrap();
    let keyring = keyring.with_clock(move || now.plus_days(7));
    keyring.key_schedule_deletion("resting", 30).unwrap();
    keyring
}

#[test]
fn a_keyring_made_from_the_same_seed_has_the_same_text() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = third_keyring(folder.path());
    let made = std::fs::read_to_string(keyring.path()).unwrap();
    assert_eq!(made, THIRD_KEYRING, "made now:\n{made}");
}

#[test]
fn a_keyring_protected_from_the_same_seed_has_the_same_text() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = third_keyring(folder.path());
    keyring.protect(&passphrase(), CHEAP).unwrap();
    let made = std::fs::read_to_string(keyring.path()).unwrap();
    assert_eq!(made, THIRD_PROTECTED_KEYRING, "made now:\n{made}");
}

#[tokio::test]
async fn keyrings_of_the_second_and_third_format_open() {
    for (text, is_protected) in [
        (SECOND_KEYRING, false),
        (SECOND_PROTECTED_KEYRING, true),
        (THIRD_KEYRING, false),
        (THIRD_PROTECTED_KEYRING, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let keyring = keyring_file(folder.path(), text);
        assert_eq!(keyring.is_protected().unwrap(), is_protected);
        keyring.unlock(&passphrase()).unwrap();
        // Made under the older material of this key, which is the first format's.
        let key = CmkRef::parse("local:current").unwrap();
        let decrypted = keyring
            .decrypt(&key, &golden("keyring_blob"), &context())
            .await;
        assert_eq!(decrypted.outcome.unwrap().expose(), &[0x5e; 32]);
    }
}

#[test]
fn a_keyring_of_an_older_format_becomes_one_of_the_third_with_its_next_edit() {
    for (older, edits) in [(KEYRING, 3), (SECOND_KEYRING, 13)] {
        let folder = tempfile::tempdir().unwrap();
        let keyring = keyring_file(folder.path(), older);
        let (before, _) = keyring.since(&KeyringMoment::default()).unwrap();
        assert_eq!(before.edits, edits);
        keyring.key_disable("golden").unwrap();
        let text = std::fs::read_to_string(keyring.path()).unwrap();
        let digest = &hex(&palladium_crypto::sha256(&[older.as_bytes()]))[..32];
        let head = format!(
            "{{\"format\":\"palladium keyring\",\"version\":3,\"edits\":{}}}\n{{\"history\":{{\"digests\":\"{digest}\"}}}}\n",
            edits + 1
        );
        assert!(text.starts_with(&head), "{text}");
        assert_eq!(keyring.since(&before).unwrap().1, Succession::Continues);
    }
    let folder = tempfile::tempdir().unwrap();
    let keyring = keyring_file(folder.path(), KEYRING);
    keyring.key_disable("golden").unwrap();
    let states: Vec<_> = keyring
        .key_list()
        .unwrap()
        .into_iter()
        .map(|key| key.state)
        .collect();
    assert_eq!(states, [KeyState::Disabled, KeyState::Disabled]);
}

#[test]
fn anchors_of_all_formats_are_read_and_of_the_third_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("anchor");
    let read = |digits: &str| {
        std::fs::write(&path, bytes(digits.trim_end())).unwrap();
        Anchor::read(&path, CLUSTER, &table_key(1)).unwrap()
    };
    let second = Anchor {
        lineage: Lineage::FIRST,
        ..ANCHOR
    };
    let first = Anchor {
        log_sequence: 0,
        ..second
    };
    ANCHOR.write(&path, &table_key(1)).unwrap();
    let made = hex(&std::fs::read(&path).unwrap());
    assert_eq!(made, THIRD_ANCHOR.trim_end(), "made now:\n{made}");
    assert_eq!(read(THIRD_ANCHOR), ANCHOR);
    assert_eq!(read(SECOND_ANCHOR), second);
    assert_eq!(read(FIRST_ANCHOR), first);
}
