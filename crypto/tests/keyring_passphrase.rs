//! A keyring whose material is sealed under a passphrase.

use std::path::Path;
use std::sync::Arc;

use palladium_crypto::{
    CmkRef, EncryptionContext, Error, KeyPolicy, KeyState, Keyring, Kms, OsEntropy, Passphrase,
    PassphraseCost, Secret, SeededEntropy, UnavailableReason, sha256,
};

const CHEAP: PassphraseCost = PassphraseCost {
    memory_kib: PassphraseCost::MEMORY_KIB_MIN,
    passes: 1,
    lanes: 1,
};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec().into()).unwrap()
}

fn context() -> EncryptionContext {
    EncryptionContext::for_table("shop", "orders", "subscriber")
}

fn new_keyring(folder: &Path) -> (Keyring, CmkRef) {
    let keyring =
        Keyring::create_new(folder.join("keyring"), Arc::new(SeededEntropy::new(1))).unwrap();
    let key = keyring.key_create("orders").unwrap();
    (keyring, key)
}

async fn sealed(keyring: &Keyring, key: &CmkRef) -> Result<Vec<u8>, Error> {
    let generated = keyring.generate_data_key(key, &context()).await;
    generated.outcome.map(|generated| generated.ciphertext)
}

async fn opens(keyring: &Keyring, key: &CmkRef, blob: &[u8]) -> bool {
    match keyring.decrypt(key, blob, &context()).await.outcome {
        Ok(_) => true,
        Err(Error::Unavailable {
            reason: UnavailableReason::Unreachable,
            message,
        }) => {
            assert!(message.contains("passphrase"), "{message}");
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// The digits of every material in the clear.
fn secrets(keyring: &Keyring) -> Vec<String> {
    let text = std::fs::read_to_string(keyring.path()).unwrap();
    text.split("\"secret\":\"")
        .skip(1)
        .map(|rest| rest[..64].to_owned())
        .collect()
}

#[tokio::test]
async fn a_protected_keyring_shows_no_material_and_opens_with_its_passphrase_only() {
    let folder = tempfile::tempdir().unwrap();
    let (keyring, key) = new_keyring(folder.path());
    keyring.key_rotate("orders").unwrap();
    let blob = sealed(&keyring, &key).await.unwrap();
    let clear = secrets(&keyring);
    assert_eq!(clear.len(), 2);
    keyring.protect(&passphrase("open sesame"), CHEAP).unwrap();
    let text = std::fs::read_to_string(keyring.path()).unwrap();
    assert!(clear.iter().all(|digits| !text.contains(digits)));
    assert!(opens(&keyring, &key, &blob).await);

    let other = Keyring::open(keyring.path()).unwrap();
    assert!(other.is_protected().unwrap());
    assert!(!opens(&other, &key, &blob).await);
    let refused = other.unlock(&passphrase("open barley"));
    assert!(
        matches!(&refused, Err(Error::Invalid(message)) if message.contains("not the keyring's passphrase")),
        "{refused:?}"
    );
    assert!(!opens(&other, &key, &blob).await);
    other.unlock(&passphrase("open sesame")).unwrap();
    assert!(opens(&other, &key, &blob).await);
}

#[tokio::test]
async fn a_key_is_taken_away_and_given_back_without_the_passphrase_and_made_only_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (server, key) = new_keyring(folder.path());
    server.protect(&passphrase("open sesame"), CHEAP).unwrap();
    let blob = sealed(&server, &key).await.unwrap();

    let owner = Keyring::open(server.path()).unwrap();
    owner.key_disable("orders").unwrap();
    let refused = server.decrypt(&key, &blob, &context()).await.outcome;
    assert!(matches!(refused, Err(Error::Denied { .. })));
    owner.key_enable("orders").unwrap();
    owner.alias_set("current", "orders").unwrap();
    assert!(opens(&server, &key, &blob).await);

    for locked in [
        owner.key_create("second").map(drop),
        owner.key_rotate("orders").map(drop),
        owner
            .key_import("second", Secret::from_bytes([1; 32]), KeyPolicy::Open)
            .map(drop),
        owner.unprotect(),
        owner.protect(&passphrase("another"), CHEAP),
    ] {
        assert!(
            matches!(locked, Err(Error::Unavailable { .. })),
            "{locked:?}"
        );
    }
    owner.unlock(&passphrase("open sesame")).unwrap();
    let second = owner.key_create("second").unwrap();
    owner.key_rotate("orders").unwrap();
    assert!(secrets(&owner).is_empty());
    assert!(sealed(&server, &second).await.is_ok());
    assert!(opens(&server, &key, &blob).await);
    assert_eq!(owner.key_list().unwrap()[0].state, KeyState::Enabled);
}

#[tokio::test]
async fn another_passphrase_takes_the_place_of_the_first_and_unprotect_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (owner, key) = new_keyring(folder.path());
    let clear = secrets(&owner);
    let blob = sealed(&owner, &key).await.unwrap();
    owner.protect(&passphrase("first"), CHEAP).unwrap();
    let server = Keyring::open(owner.path()).unwrap();
    server.unlock(&passphrase("first")).unwrap();

    owner.protect(&passphrase("second"), CHEAP).unwrap();
    assert!(opens(&owner, &key, &blob).await);
    assert!(!opens(&server, &key, &blob).await, "it must be told anew");
    assert!(server.unlock(&passphrase("first")).is_err());
    server.unlock(&passphrase("second")).unwrap();
    assert!(opens(&server, &key, &blob).await);

    owner.unprotect().unwrap();
    assert!(opens(&server, &key, &blob).await);
    assert_eq!(secrets(&owner), clear, "the material is what it was");
    assert!(matches!(owner.unprotect(), Err(Error::Invalid(_))));
}

#[test]
fn the_file_in_the_clear_is_overwritten_when_it_is_protected() {
    let folder = tempfile::tempdir().unwrap();
    let (keyring, _) = new_keyring(folder.path());
    let kept = std::fs::File::open(keyring.path()).unwrap();
    keyring.protect(&passphrase("open sesame"), CHEAP).unwrap();
    let mut old = Vec::new();
    std::io::Read::read_to_end(&mut &kept, &mut old).unwrap();
    assert!(!old.is_empty() && old.iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn sealed_material_put_in_another_keys_place_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (keyring, key) = new_keyring(folder.path());
    keyring.key_create("other").unwrap();
    keyring.protect(&passphrase("open sesame"), CHEAP).unwrap();
    let blob = sealed(&keyring, &key).await.unwrap();
    let text = std::fs::read_to_string(keyring.path()).unwrap();
    let names = [
        ("\"orders\"", "\"swap\""),
        ("\"other\"", "\"orders\""),
        ("\"swap\"", "\"other\""),
    ];
    let swapped = names
        .into_iter()
        .fold(text, |text, (from, to)| text.replace(from, to));
    rewrite(&keyring, &swapped);
    for name in ["orders", "other"] {
        let key = CmkRef::local(name).unwrap();
        let opened = keyring.decrypt(&key, &blob, &context()).await.outcome;
        assert!(opened.is_err());
        assert!(sealed(&keyring, &key).await.is_err());
    }
}

/// Gives the text a checksum of its own.
fn rewrite(keyring: &Keyring, text: &str) {
    let (lines, _) = text.split_once("{\"checksum\"").unwrap();
    let digest: String = sha256(&[lines.as_bytes()])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    std::fs::write(
        keyring.path(),
        format!("{lines}{{\"checksum\":\"{digest}\"}}\n"),
    )
    .unwrap();
}

#[test]
fn a_file_that_asks_for_a_machines_memory_or_for_hours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (keyring, _) = new_keyring(folder.path());
    keyring.protect(&passphrase("open sesame"), CHEAP).unwrap();
    let text = std::fs::read_to_string(keyring.path()).unwrap();
    for (from, to) in [
        ("\"memory_kib\":8192", "\"memory_kib\":4294967295"),
        ("\"memory_kib\":8192", "\"memory_kib\":1048576"),
        ("\"memory_kib\":8192", "\"memory_kib\":1024"),
        ("\"passes\":1", "\"passes\":4294967295"),
        ("\"passes\":1", "\"passes\":0"),
        ("\"lanes\":1", "\"lanes\":1000"),
        ("argon2id", "argon2i"),
    ] {
        rewrite(&keyring, &text.replace(from, to));
        let opened = Keyring::open(keyring.path());
        assert!(matches!(opened, Err(Error::Tampered { .. })), "{to}");
    }
}

#[test]
fn a_passphrase_is_neither_empty_nor_a_file() {
    for bytes in [vec![], vec![b'x'; 1025]] {
        assert!(matches!(
            Passphrase::new(bytes.into()),
            Err(Error::Invalid(_))
        ));
    }
    assert_eq!(format!("{:?}", passphrase("open sesame")), "Passphrase(..)");
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::create_new(folder.path().join("keyring"), Arc::new(OsEntropy)).unwrap();
    let dear = PassphraseCost {
        memory_kib: u32::MAX,
        ..CHEAP
    };
    assert!(matches!(
        keyring.protect(&passphrase("x"), dear),
        Err(Error::Invalid(_))
    ));
    // Nothing to unlock: no harm.
    keyring.unlock(&passphrase("x")).unwrap();
}

#[tokio::test]
async fn a_keyring_that_is_made_under_a_passphrase_never_stood_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring");
    let entropy = Arc::new(SeededEntropy::new(2));
    let made =
        Keyring::create_new_protected(&path, &passphrase("Troy"), CHEAP, entropy.clone()).unwrap();
    // What a crash right after its making leaves.
    let left = Keyring::open(&path).unwrap();
    assert!(left.is_protected().unwrap());
    assert_eq!(left.edit_counter().unwrap(), 0, "it is the first file");
    assert!(
        left.key_create("orders").is_err(),
        "nobody gave the passphrase"
    );
    let key = made.key_create("orders").unwrap();
    assert!(secrets(&made).is_empty());
    let blob = sealed(&made, &key).await.unwrap();
    left.unlock(&passphrase("Troy")).unwrap();
    assert!(opens(&left, &key, &blob).await);
    let again = Keyring::create_new_protected(&path, &passphrase("Troy"), CHEAP, entropy);
    assert!(again.is_err(), "it is there already");
}
