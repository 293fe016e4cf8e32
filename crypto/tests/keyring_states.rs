//! A key's life in the keyring: rotated, imported, renamed, disabled, scheduled for deletion, destroyed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, KeyPolicy, KeyState, Keyring, Kms, Secret,
    SeededEntropy, UnixSeconds,
};

const START: u64 = 1_795_633_630;
const DAY: u64 = 86_400;

/// A keyring, and the hand on its clock.
struct Scene {
    folder: tempfile::TempDir,
    clock: Arc<AtomicU64>,
    keyring: Keyring,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let entropy = Arc::new(SeededEntropy::new(1));
        let keyring = Keyring::create_new(folder.path().join("keyring"), entropy).unwrap();
        let clock = Arc::new(AtomicU64::new(START));
        Scene {
            keyring: on_clock(keyring, &clock),
            folder,
            clock,
        }
    }

    /// The keyring as a server has it, which shares nothing with the owner's but the file and the clock.
    fn server(&self) -> Keyring {
        on_clock(Keyring::open(self.keyring.path()).unwrap(), &self.clock)
    }

    fn wait(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("keyring")).unwrap()
    }
}

fn on_clock(keyring: Keyring, clock: &Arc<AtomicU64>) -> Keyring {
    let clock = clock.clone();
    keyring.with_clock(move || UnixSeconds(clock.load(Ordering::Relaxed)))
}

fn context() -> EncryptionContext {
    EncryptionContext::for_table("shop", "orders", "subscriber")
}

fn key(name: &str) -> CmkRef {
    CmkRef::local(name).unwrap()
}

async fn sealed(keyring: &Keyring, name: &str) -> (Vec<u8>, Secret<32>) {
    let generated = keyring.generate_data_key(&key(name), &context()).await;
    let generated = generated.outcome.unwrap();
    (generated.ciphertext, generated.plaintext)
}

async fn opened(keyring: &Keyring, name: &str, blob: &[u8]) -> Result<Secret<32>, Error> {
    keyring.decrypt(&key(name), blob, &context()).await.outcome
}

fn denial<T>(outcome: Result<T, Error>) -> DenialReason {
    match outcome {
        Err(Error::Denied { reason, .. }) => reason,
        Err(other) => panic!("no denial: {other}"),
        Ok(_) => panic!("no denial"),
    }
}

fn is_invalid<T>(outcome: Result<T, Error>, words: &str) {
    match outcome {
        Err(Error::Invalid(message)) => assert!(message.contains(words), "{message}"),
        Err(other) => panic!("not called invalid: {other}"),
        Ok(_) => panic!("taken"),
    }
}

#[tokio::test]
async fn what_was_sealed_before_a_rotation_opens_after_it() {
    let scene = Scene::new();
    let (keyring, server) = (&scene.keyring, scene.server());
    keyring.key_create("orders").unwrap();
    let (first, first_key) = sealed(&server, "orders").await;
    let before = keyring.key_list().unwrap()[0].clone();
    assert_eq!(keyring.key_rotate("orders").unwrap(), 1);

    let (second, second_key) = sealed(&server, "orders").await;
    assert_ne!(first[1..17], second[1..17], "the new material encrypts");
    assert!(opened(&server, "orders", &first).await.unwrap() == first_key);
    assert!(opened(&server, "orders", &second).await.unwrap() == second_key);
    let after = keyring.key_list().unwrap()[0].clone();
    assert_eq!((before.rotations, after.rotations), (0, 1));
    assert_ne!(before.material_id, after.material_id);
}

#[test]
fn a_key_keeps_a_hundred_materials_and_no_more() {
    let scene = Scene::new();
    scene.keyring.key_create("orders").unwrap();
    for rotation in 1..100 {
        assert_eq!(scene.keyring.key_rotate("orders").unwrap(), rotation);
    }
    is_invalid(scene.keyring.key_rotate("orders"), "100 materials");
    assert_eq!(scene.keyring.key_list().unwrap()[0].rotations, 99);
}

#[test]
fn a_key_that_is_disabled_or_leaving_is_not_rotated() {
    let scene = Scene::new();
    scene.keyring.key_create("orders").unwrap();
    scene.keyring.key_disable("orders").unwrap();
    assert_eq!(
        denial(scene.keyring.key_rotate("orders")),
        DenialReason::Disabled
    );
    scene.keyring.key_schedule_deletion("orders", 7).unwrap();
    assert_eq!(
        denial(scene.keyring.key_rotate("orders")),
        DenialReason::PendingDeletion
    );
}

#[tokio::test]
async fn a_key_waits_for_its_deletion_and_is_destroyed_on_the_day() {
    let scene = Scene::new();
    let (keyring, server) = (&scene.keyring, scene.server());
    keyring.key_create("orders").unwrap();
    keyring.alias_set("current", "orders").unwrap();
    let (blob, _) = sealed(&server, "orders").await;
    let material = scene.text();
    let material = material.split("\"secret\":\"").nth(1).unwrap()[..64].to_owned();

    let date = keyring.key_schedule_deletion("orders", 7).unwrap();
    assert_eq!(date, UnixSeconds(START + 7 * DAY));
    assert_eq!(
        denial(opened(&server, "orders", &blob).await),
        DenialReason::PendingDeletion
    );
    let described = server.describe(&key("orders")).await.outcome.unwrap();
    assert_eq!(described.denial, Some(DenialReason::PendingDeletion));
    scene.wait(7 * DAY - 1);
    assert_eq!(
        denial(opened(&server, "orders", &blob).await),
        DenialReason::PendingDeletion
    );
    assert!(scene.text().contains(&material));
    let edits = keyring.edit_counter().unwrap();

    scene.wait(1);
    assert_eq!(
        denial(opened(&server, "orders", &blob).await),
        DenialReason::NotFound
    );
    for name in ["orders", "current"] {
        let described = server.describe(&key(name)).await.outcome;
        assert_eq!(denial(described), DenialReason::NotFound);
    }
    assert_eq!(
        denial(keyring.key_resolve("current")),
        DenialReason::NotFound
    );
    // A look writes nothing: not a server's, and not its owner's.
    assert_eq!(keyring.key_list().unwrap()[0].deletion, Some(date));
    assert!(keyring.key_list_destroyed().unwrap().is_empty());
    assert!(scene.text().contains(&material));
    assert_eq!(keyring.edit_counter().unwrap(), edits);

    keyring.key_create("another").unwrap();
    assert!(!scene.text().contains(&material), "an edit destroys it");
    assert_eq!(keyring.key_list().unwrap().len(), 1);
    let destroyed = keyring.key_list_destroyed().unwrap();
    assert_eq!(
        (destroyed[0].name.as_str(), destroyed[0].at),
        ("orders", date)
    );
    assert_eq!(keyring.edit_counter().unwrap(), edits + 1);
    is_invalid(keyring.key_create("orders"), "was destroyed on 2026-12-0");
}

#[tokio::test]
async fn the_old_file_of_a_destroyed_key_is_overwritten() {
    let scene = Scene::new();
    scene.keyring.key_create("orders").unwrap();
    scene.keyring.key_schedule_deletion("orders", 7).unwrap();
    // Whoever has it open sees what the disk still holds.
    let kept = std::fs::File::open(scene.keyring.path()).unwrap();
    scene.wait(30 * DAY);
    scene.keyring.key_create("other").unwrap();
    let mut old = Vec::new();
    std::io::Read::read_to_end(&mut &kept, &mut old).unwrap();
    assert!(!old.is_empty() && old.iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_cancelled_deletion_leaves_the_key_disabled_with_all_that_it_had() {
    let scene = Scene::new();
    let (keyring, server) = (&scene.keyring, scene.server());
    keyring.key_create("orders").unwrap();
    let (blob, _) = sealed(&server, "orders").await;
    is_invalid(keyring.key_cancel_deletion("orders"), "no deletion");
    keyring.key_schedule_deletion("orders", 30).unwrap();
    is_invalid(keyring.key_enable("orders"), "cancel that first");
    is_invalid(keyring.key_disable("orders"), "cancel that first");
    is_invalid(
        keyring.key_schedule_deletion("orders", 30),
        "cancel that first",
    );
    scene.wait(29 * DAY);
    keyring.key_cancel_deletion("orders").unwrap();
    scene.wait(29 * DAY);
    assert_eq!(
        denial(opened(&server, "orders", &blob).await),
        DenialReason::Disabled
    );
    keyring.key_enable("orders").unwrap();
    assert!(opened(&server, "orders", &blob).await.is_ok());
}

#[test]
fn a_window_before_deletion_is_7_to_30_days() {
    let scene = Scene::new();
    scene.keyring.key_create("orders").unwrap();
    for days in [0, 6, 31, u32::MAX] {
        is_invalid(
            scene.keyring.key_schedule_deletion("orders", days),
            "7 to 30",
        );
    }
    assert_eq!(
        scene.keyring.key_list().unwrap()[0].state,
        KeyState::Enabled
    );
}

#[tokio::test]
async fn an_overdue_key_is_not_found_even_where_the_file_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.keyring.key_create("orders").unwrap();
    let server = scene.server();
    let (blob, _) = sealed(&server, "orders").await;
    scene.keyring.key_schedule_deletion("orders", 7).unwrap();
    scene.wait(8 * DAY);
    // A folder in the place of the lock: root, too, cannot write there.
    let lock = scene.folder.path().join("keyring.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    std::fs::set_permissions(&lock, PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(
        denial(opened(&server, "orders", &blob).await),
        DenialReason::NotFound
    );
    let described = server.describe(&key("orders")).await.outcome;
    assert_eq!(denial(described), DenialReason::NotFound);
}

#[tokio::test]
async fn imported_material_opens_again_what_it_had_sealed_when_all_else_is_lost() {
    let owners = || Secret::from_bytes([7; 32]);
    let lost = Scene::new();
    lost.keyring
        .key_import("orders", owners(), KeyPolicy::Open)
        .unwrap();
    let (blob, plaintext) = sealed(&lost.server(), "orders").await;
    lost.keyring.key_schedule_deletion("orders", 7).unwrap();
    lost.wait(7 * DAY);
    assert_eq!(
        denial(lost.keyring.key_resolve("orders")),
        DenialReason::NotFound
    );

    let other = Scene::new();
    for scene in [&lost, &other] {
        scene
            .keyring
            .key_import("orders", owners(), KeyPolicy::Open)
            .unwrap();
        assert!(opened(&scene.server(), "orders", &blob).await.unwrap() == plaintext);
        is_invalid(
            scene
                .keyring
                .key_import("orders", owners(), KeyPolicy::Open),
            "exists already",
        );
    }
    assert!(lost.keyring.key_list_destroyed().unwrap().is_empty());
    let wrong = Scene::new();
    wrong
        .keyring
        .key_import("orders", Secret::from_bytes([8; 32]), KeyPolicy::Open)
        .unwrap();
    let refused = opened(&wrong.server(), "orders", &blob).await;
    assert!(matches!(refused, Err(Error::Tampered { .. })));
}

#[test]
fn material_is_brought_as_bytes_or_as_digits() {
    let bytes: Vec<u8> = (0..32).map(|byte| byte * 7).collect();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        bytes.clone(),
        digits.clone().into_bytes(),
        digits.to_uppercase().into_bytes(),
        format!("{digits}\n").into_bytes(),
    ] {
        assert_eq!(
            Keyring::read_material(&text).unwrap().expose()[..],
            bytes[..]
        );
    }
    for text in [
        &b""[..],
        &bytes[..31],
        &digits.as_bytes()[..62],
        &[b'x'; 64],
    ] {
        is_invalid(Keyring::read_material(text), "32 bytes, or 64");
    }
}

#[tokio::test]
async fn an_alias_stands_for_its_key_until_it_is_led_elsewhere() {
    let scene = Scene::new();
    let (keyring, server) = (&scene.keyring, scene.server());
    keyring.key_create("blue").unwrap();
    keyring.key_create("green").unwrap();
    keyring.alias_set("current", "blue").unwrap();

    let described = server.describe(&key("current")).await.outcome.unwrap();
    assert_eq!(described.key, key("blue"), "an alias is resolved");
    let (by_alias, plaintext) = sealed(&server, "current").await;
    assert!(opened(&server, "blue", &by_alias).await.unwrap() == plaintext);
    let (by_name, plaintext) = sealed(&server, "blue").await;
    assert!(opened(&server, "current", &by_name).await.unwrap() == plaintext);
    let encrypted = server
        .encrypt(&key("current"), &plaintext, &context())
        .await;
    assert!(
        opened(&server, "blue", &encrypted.outcome.unwrap())
            .await
            .is_ok()
    );

    keyring.alias_set("current", "green").unwrap();
    let described = server.describe(&key("current")).await.outcome.unwrap();
    assert_eq!(described.key, key("green"));
    let refused = opened(&server, "current", &by_alias).await;
    assert!(matches!(refused, Err(Error::Tampered { .. })));
    assert_eq!(keyring.key_list().unwrap()[1].aliases, ["current"]);

    keyring.alias_remove("current").unwrap();
    assert_eq!(
        denial(server.describe(&key("current")).await.outcome),
        DenialReason::NotFound
    );
    assert!(opened(&server, "blue", &by_alias).await.is_ok());
}

#[test]
fn keys_and_aliases_share_their_names() {
    let scene = Scene::new();
    let keyring = &scene.keyring;
    keyring.key_create("orders").unwrap();
    keyring.alias_set("current", "orders").unwrap();
    is_invalid(keyring.key_create("current"), "exists already");
    is_invalid(keyring.alias_set("orders", "orders"), "own name");
    is_invalid(keyring.alias_set("a/b", "orders"), "1 to 128");
    is_invalid(keyring.alias_remove("orders"), "no alias");
    assert_eq!(
        denial(keyring.alias_set("other", "nobody")),
        DenialReason::NotFound
    );
    // An alias of an alias leads to the key itself.
    keyring.alias_set("second", "current").unwrap();
    assert_eq!(keyring.key_resolve("second").unwrap(), key("orders"));
    // What is done to an alias is done to its key.
    keyring.key_disable("second").unwrap();
    assert_eq!(keyring.key_list().unwrap()[0].state, KeyState::Disabled);
}

#[tokio::test]
async fn a_copy_put_in_the_files_place_is_seen_at_the_next_call() {
    let scene = Scene::new();
    let (keyring, server) = (&scene.keyring, scene.server());
    keyring.key_create("orders").unwrap();
    let (blob, _) = sealed(&server, "orders").await;
    let (path, copy) = (keyring.path(), scene.folder.path().join("copy"));
    copy_private(path, &copy);
    keyring.key_disable("orders").unwrap();
    assert!(opened(&server, "orders", &blob).await.is_err());
    let disabled = scene.folder.path().join("disabled");
    copy_private(path, &disabled);
    for _ in 0..50 {
        copy_private(&copy, path);
        assert!(opened(&server, "orders", &blob).await.is_ok());
        copy_private(&disabled, path);
        assert!(opened(&server, "orders", &blob).await.is_err());
    }
}

/// Writes into the file that is there, and keeps its inode: the hardest change to see.
fn copy_private(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn readers_find_their_key_while_others_are_destroyed_and_the_old_files_overwritten() {
    let scene = Scene::new();
    scene.keyring.key_create("orders").unwrap();
    let server = scene.server();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let (blob, _) = runtime().block_on(sealed(&server, "orders"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let decrypted = std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut decrypted = 0;
            while !is_over.load(Ordering::Acquire) {
                runtime()
                    .block_on(opened(&server, "orders", &blob))
                    .expect("its key is there all the time");
                decrypted += 1;
            }
            decrypted
        });
        for number in 0..40 {
            let name = format!("leaving-{number}");
            scene.keyring.key_create(&name).unwrap();
            scene.keyring.key_schedule_deletion(&name, 7).unwrap();
            scene.wait(7 * DAY);
            scene.keyring.key_rotate("orders").unwrap();
        }
        is_over.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert_eq!(scene.keyring.key_list_destroyed().unwrap().len(), 40);
    println!("{decrypted} decrypted meanwhile");
}

#[test]
fn the_services_own_key_is_taken_away_by_nobody_and_by_no_name() {
    let scene = Scene::new();
    let keyring = &scene.keyring;
    keyring.key_create("default").unwrap();
    keyring.key_create("orders").unwrap();
    keyring.alias_set("own", "default").unwrap();
    keyring.alias_set("other", "default").unwrap();
    keyring.key_mark_service("own").unwrap();
    let edits = keyring.edit_counter().unwrap();
    keyring.key_mark_service("own").unwrap();
    assert_eq!(keyring.edit_counter().unwrap(), edits, "it is marked once");
    // As whoever has nothing but the file would ask.
    let keyring = &scene.server();
    for name in ["default", "own", "other"] {
        let refusals = [
            keyring.key_disable(name),
            keyring.key_schedule_deletion(name, 7).map(drop),
            keyring.key_set_policy(name, KeyPolicy::GrantsOnly),
        ];
        for refused in refusals {
            let error = refused.expect_err(name).to_string();
            assert!(error.contains("is the service's own key"), "{error}");
        }
    }
    for refused in [
        keyring.alias_set("own", "orders"),
        keyring.alias_remove("own"),
    ] {
        let error = refused.expect_err("it is in use").to_string();
        assert!(error.contains("it must stay what it is"), "{error}");
    }
    keyring.alias_remove("other").unwrap();
    keyring.key_rotate("default").unwrap();
    keyring.key_disable("orders").unwrap();
    assert_eq!(keyring.edit_counter().unwrap(), edits + 3);
}

#[test]
fn a_key_that_was_marked_by_mistake_can_be_taken_away_once_it_is_unmarked() {
    let scene = Scene::new();
    let keyring = &scene.keyring;
    keyring.key_create("orders").unwrap();
    keyring.alias_set("current", "orders").unwrap();
    keyring.key_mark_service("orders").unwrap();
    keyring.key_mark_service("current").unwrap();
    keyring.key_disable("orders").expect_err("it is marked");
    let edits = keyring.edit_counter().unwrap();
    let unmarked = keyring.key_unmark_service("current").unwrap();
    assert_eq!(unmarked, ["orders", "current"]);
    assert!(keyring.key_unmark_service("orders").unwrap().is_empty());
    assert_eq!(keyring.edit_counter().unwrap(), edits + 1, "once");
    let keyring = &scene.server();
    keyring.alias_remove("current").unwrap();
    keyring
        .key_set_policy("orders", KeyPolicy::GrantsOnly)
        .unwrap();
    keyring.key_disable("orders").unwrap();
    keyring
        .key_unmark_service("nobody")
        .expect_err("no such key");
}
