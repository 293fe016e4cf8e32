//! The keyring's file: torn, edited while it is in use, edited by two processes, given to the wrong table.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, KeyState, Keyring, Kms, OsEntropy, Secret,
    SeededEntropy, UnavailableReason,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn new_keyring(folder: &tempfile::TempDir) -> Keyring {
    Keyring::create_new(
        folder.path().join("keyring"),
        Arc::new(SeededEntropy::new(1)),
    )
    .unwrap()
}

fn context() -> EncryptionContext {
    EncryptionContext::for_table("shop", "orders", "subscriber")
}

fn write_private(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn what_the_keyring_generates_or_encrypts_it_decrypts() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    let key = keyring.key_create("orders").unwrap();
    assert_eq!(key, CmkRef::parse("local:orders").unwrap());

    let generated = keyring
        .generate_data_key(&key, &context())
        .await
        .outcome
        .unwrap();
    let reopened = Keyring::open(folder.path().join("keyring")).unwrap();
    let decrypted = reopened
        .decrypt(&key, &generated.ciphertext, &context())
        .await
        .outcome
        .unwrap();
    assert!(decrypted == generated.plaintext);

    let plaintext = Secret::from_bytes([5; 32]);
    let ciphertext = reopened
        .encrypt(&key, &plaintext, &context())
        .await
        .outcome
        .unwrap();
    assert!(
        keyring
            .decrypt(&key, &ciphertext, &context())
            .await
            .outcome
            .unwrap()
            == plaintext
    );
}

#[tokio::test]
async fn a_wrong_context_a_wrong_key_or_a_changed_bit_does_not_decrypt() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    let key = keyring.key_create("orders").unwrap();
    let other = keyring.key_create("other").unwrap();
    let ciphertext = keyring
        .generate_data_key(&key, &context())
        .await
        .outcome
        .unwrap()
        .ciphertext;

    for wrong in [
        EncryptionContext::for_table("shop", "order", "subscriber"),
        EncryptionContext::for_table("shopo", "rders", "subscriber"),
        EncryptionContext::for_table("shop", "orders", ""),
    ] {
        let decrypted = keyring.decrypt(&key, &ciphertext, &wrong).await.outcome;
        assert!(matches!(decrypted, Err(Error::Tampered { .. })));
    }
    let decrypted = keyring
        .decrypt(&other, &ciphertext, &context())
        .await
        .outcome;
    assert!(matches!(decrypted, Err(Error::Tampered { .. })));
    for bit in 0..ciphertext.len() * 8 {
        let mut changed = ciphertext.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let decrypted = keyring.decrypt(&key, &changed, &context()).await.outcome;
        let seen = matches!(
            decrypted,
            Err(Error::Tampered { .. } | Error::Unsupported(_))
        );
        assert!(seen, "bit {bit}");
    }
    for length in 0..ciphertext.len() {
        assert!(
            keyring
                .decrypt(&key, &ciphertext[..length], &context())
                .await
                .outcome
                .is_err()
        );
    }
}

#[tokio::test]
async fn a_key_disabled_by_another_keyring_is_refused_at_the_next_decrypt_and_comes_back() {
    let folder = folder();
    let server = new_keyring(&folder);
    let key = server.key_create("orders").unwrap();
    let ciphertext = server
        .generate_data_key(&key, &context())
        .await
        .outcome
        .unwrap()
        .ciphertext;

    let operator = Keyring::open(folder.path().join("keyring")).unwrap();
    operator.key_disable("orders").unwrap();
    let refused = server.decrypt(&key, &ciphertext, &context()).await.outcome;
    assert!(matches!(
        refused,
        Err(Error::Denied {
            reason: DenialReason::Disabled,
            ..
        })
    ));
    let description = server.describe(&key).await.outcome.unwrap();
    assert_eq!(
        (description.enabled, description.denial),
        (false, Some(DenialReason::Disabled))
    );

    operator.key_enable("orders").unwrap();
    assert!(
        server
            .decrypt(&key, &ciphertext, &context())
            .await
            .outcome
            .is_ok()
    );
    assert!(server.describe(&key).await.outcome.unwrap().enabled);
}

#[tokio::test]
async fn a_key_that_was_never_made_is_not_found() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    let key = CmkRef::parse("local:nobody").unwrap();
    let not_found = |error: Error| match error {
        Error::Denied { reason, .. } => reason == DenialReason::NotFound && reason.is_key_wide(),
        _ => false,
    };
    assert!(not_found(keyring.describe(&key).await.outcome.unwrap_err()));
    assert!(not_found(
        keyring
            .generate_data_key(&key, &context())
            .await
            .outcome
            .err()
            .unwrap()
    ));
    assert!(not_found(
        keyring
            .decrypt(&key, &[], &context())
            .await
            .outcome
            .err()
            .unwrap()
    ));
    assert!(not_found(keyring.key_disable("nobody").unwrap_err()));
}

#[tokio::test]
async fn a_name_of_another_provider_never_resolves_locally() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    keyring.key_create("orders").unwrap();
    for name in [
        "arn:aws:kms:eu-west-1:1:key/orders",
        "vault:orders",
        "default",
    ] {
        let key = CmkRef::parse(name).unwrap();
        let refused = keyring.decrypt(&key, &[], &context()).await.outcome;
        assert!(matches!(refused, Err(Error::Unsupported(_))));
    }
}

#[test]
fn edits_are_counted_and_listed_and_survive() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    assert_eq!(keyring.edit_counter().unwrap(), 0);
    keyring.key_create("a").unwrap();
    keyring.key_create("b").unwrap();
    keyring.key_disable("a").unwrap();
    let reopened = Keyring::open(keyring.path()).unwrap();
    assert_eq!(reopened.edit_counter().unwrap(), 3);
    let listed: Vec<_> = reopened
        .key_list()
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name, entry.state))
        .collect();
    assert_eq!(
        listed,
        [
            ("a".to_owned(), KeyState::Disabled),
            ("b".to_owned(), KeyState::Enabled)
        ]
    );
}

#[test]
fn what_is_there_is_not_made_again() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    keyring.key_create("a").unwrap();
    assert!(matches!(keyring.key_create("a"), Err(Error::Invalid(_))));
    assert!(matches!(keyring.key_create("a/b"), Err(Error::Invalid(_))));
    let again = Keyring::create_new(keyring.path(), Arc::new(OsEntropy));
    assert!(matches!(again, Err(Error::Invalid(_))));
    assert_eq!(keyring.edit_counter().unwrap(), 1);
}

#[test]
fn the_file_is_for_its_owner_only_and_is_refused_when_others_may_read_it() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    keyring.key_create("a").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(keyring.path()), 0o600);
    std::fs::set_permissions(keyring.path(), PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(
        Keyring::open(keyring.path()),
        Err(Error::Invalid(_))
    ));
}

#[test]
fn a_torn_file_is_an_error_and_never_a_lost_key() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    keyring.key_create("orders").unwrap();
    let whole = std::fs::read(keyring.path()).unwrap();
    // The last byte is the newline after the closing brace.
    for length in 0..whole.len() - 1 {
        write_private(keyring.path(), &whole[..length]);
        let opened = Keyring::open(keyring.path());
        assert!(
            matches!(opened, Err(Error::Tampered { .. })),
            "cut at {length}"
        );
    }
    write_private(keyring.path(), &whole);
    assert!(Keyring::open(keyring.path()).is_ok());
}

#[test]
fn every_flipped_bit_of_the_file_is_an_error() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    keyring.key_create("orders").unwrap();
    let whole = std::fs::read(keyring.path()).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        write_private(keyring.path(), &changed);
        let opened = Keyring::open(keyring.path());
        let seen = matches!(opened, Err(Error::Tampered { .. } | Error::Unsupported(_)));
        assert!(seen, "bit {bit}: {:?}", opened.err());
    }
}

#[tokio::test]
async fn a_damaged_or_missing_file_under_a_running_server_is_unreachable_and_not_a_denial() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    let key = keyring.key_create("orders").unwrap();
    let ciphertext = keyring
        .generate_data_key(&key, &context())
        .await
        .outcome
        .unwrap()
        .ciphertext;
    let whole = std::fs::read(keyring.path()).unwrap();

    write_private(keyring.path(), &whole[..whole.len() / 2]);
    let damaged = keyring
        .decrypt(&key, &ciphertext, &context())
        .await
        .outcome
        .err();
    std::fs::remove_file(keyring.path()).unwrap();
    let missing = keyring
        .decrypt(&key, &ciphertext, &context())
        .await
        .outcome
        .err();
    for error in [damaged, missing] {
        assert!(matches!(
            error,
            Some(Error::Unavailable {
                reason: UnavailableReason::Unreachable,
                ..
            })
        ));
    }
    write_private(keyring.path(), &whole);
    assert!(
        keyring
            .decrypt(&key, &ciphertext, &context())
            .await
            .outcome
            .is_ok()
    );
}

#[test]
fn an_edit_cut_off_by_a_crash_leaves_the_old_keyring_and_the_next_edit_works() {
    let folder = folder();
    let keyring = new_keyring(&folder);
    keyring.key_create("a").unwrap();
    std::fs::write(folder.path().join("keyring.new"), b"half of a new fi").unwrap();
    assert_eq!(
        Keyring::open(keyring.path())
            .unwrap()
            .key_list()
            .unwrap()
            .len(),
        1
    );
    keyring.key_create("b").unwrap();
    assert_eq!(keyring.key_list().unwrap().len(), 2);
}

const CHILD_KEYRING: &str = "PALLADIUM_TEST_CHILD_KEYRING";
const CHILD_NAME: &str = "PALLADIUM_TEST_CHILD_NAME";
const CHILD_KEYS: usize = 20;

/// The test runs itself as a child process: with the variables set it is the child and edits the parent's keyring.
#[test]
fn two_processes_that_edit_at_once_lose_no_key() {
    if let (Ok(path), Ok(name)) = (std::env::var(CHILD_KEYRING), std::env::var(CHILD_NAME)) {
        return make_keys(&PathBuf::from(path), &name);
    }
    let folder = folder();
    let keyring = new_keyring(&folder);
    let children: Vec<_> = ["left", "right"]
        .map(|name| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "two_processes_that_edit_at_once_lose_no_key"])
                .env(CHILD_KEYRING, keyring.path())
                .env(CHILD_NAME, name)
                .spawn()
                .unwrap()
        })
        .into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(keyring.key_list().unwrap().len(), 2 * CHILD_KEYS);
    assert_eq!(keyring.edit_counter().unwrap(), 2 * CHILD_KEYS as u64);
}

fn make_keys(path: &Path, name: &str) {
    let keyring = Keyring::open(path).unwrap();
    for index in 0..CHILD_KEYS {
        keyring.key_create(&format!("{name}-{index}")).unwrap();
    }
}
