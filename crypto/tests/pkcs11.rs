//! Keys on a SoftHSM token: used, taken away and given back, and everything that must not be mistaken for a denial.
//!
//! SoftHSM reads its configuration from the environment, once for each process. So each story is told in a process of its own: the test starts
//! this same program again, with a folder of its own and `SOFTHSM2_CONF`.
#![cfg(feature = "kms-pkcs11")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, GeneratedKey, Kms, Secret, UnavailableReason,
    key_service_kinds,
};
use tokio::runtime::Runtime;

const PIN: &str = "5678";
const SO_PIN: &str = "1234";
const STORY: &str = "PKCS11_STORY";

/// Where Debian, Fedora, and an own build put it.
fn softhsm() -> PathBuf {
    [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("SoftHSM is missing: install the package softhsm2")
}

/// Tells the story in a process that has a token called `pal`.
fn on_a_token(name: &str, story: fn(&Token)) {
    if std::env::var_os(STORY).is_some_and(|told| told == name) {
        let folder = std::env::var_os("SOFTHSM2_CONF").expect("the story was started with a token");
        let folder = Path::new(&folder)
            .parent()
            .expect("the file stands in a folder");
        return story(&Token::new(folder));
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::create_dir(folder.path().join("tokens")).expect("a folder can be made");
    let tokens = folder.path().join("tokens");
    let config = folder.path().join("softhsm2.conf");
    fs::write(
        &config,
        format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        ),
    )
    .expect("a file can be written");
    let output = Command::new(std::env::current_exe().expect("a program knows itself"))
        .args([name, "--exact", "--nocapture"])
        .env(STORY, name)
        .env("SOFTHSM2_CONF", config)
        .output()
        .expect("a program can start itself");
    let told = String::from_utf8_lossy(&output.stdout);
    // Not its exit code: SoftHSM's own clean-up at the end of a process races with threads that are still in it, and now and then ends in a signal.
    assert!(
        told.contains("test result: ok. 1 passed"),
        "{}\n{told}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The token's owner, with a session of his own in the same process.
struct Token {
    folder: PathBuf,
    library: Pkcs11,
    runtime: Runtime,
}

impl Token {
    fn new(folder: &Path) -> Token {
        let token = Token {
            folder: folder.to_owned(),
            library: Pkcs11::new(softhsm()).expect("SoftHSM can be loaded"),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built"),
        };
        token.begin();
        token.make("pal", PIN);
        token.write_pin(PIN);
        token
    }

    fn begin(&self) {
        self.library
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .expect("SoftHSM can be initialized");
    }

    /// Makes a token.
    fn make(&self, label: &str, pin: &str) {
        let slots = self.library.get_slots_with_token().expect("slots");
        let slot = *slots.last().expect("SoftHSM always has an empty slot");
        let so_pin = AuthPin::from(SO_PIN);
        self.library
            .init_token(slot, &so_pin, label)
            .expect("a token");
        let session = self.library.open_rw_session(slot).expect("a session");
        session.login(UserType::So, Some(&so_pin)).expect("login");
        session.init_pin(&AuthPin::from(pin)).expect("a PIN");
    }

    fn write_pin(&self, pin: &str) {
        let file = self.folder.join("pin");
        // A file that changes within one tick of its clock has changed all the same.
        let before = fs::metadata(&file).and_then(|file| file.modified()).ok();
        loop {
            fs::write(&file, format!("{pin}\n")).expect("a file can be written");
            let owner_only = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&file, owner_only).expect("a file's mode can be set");
            let after = fs::metadata(&file).and_then(|file| file.modified()).ok();
            if before != after {
                return;
            }
        }
    }

    /// A session that may write.
    fn session(&self) -> Session {
        let slots = self.library.get_slots_with_token().expect("slots");
        let slot = slots
            .into_iter()
            .find(|slot| {
                let info = self.library.get_token_info(*slot);
                info.is_ok_and(|info| info.label() == "pal")
            })
            .expect("the token is there");
        let session = self.library.open_rw_session(slot).expect("a session");
        // Another session of the process may be logged in already.
        let _ = session.login(UserType::User, Some(&AuthPin::from(PIN)));
        session
    }

    fn create(&self, name: &str, more: &[Attribute]) -> CmkRef {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(name.into()),
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ];
        template.extend_from_slice(more);
        if !more
            .iter()
            .any(|attribute| matches!(attribute, Attribute::Sensitive(_)))
        {
            template.push(Attribute::Sensitive(true));
        }
        if !more
            .iter()
            .any(|attribute| matches!(attribute, Attribute::Extractable(_)))
        {
            template.push(Attribute::Extractable(false));
        }
        self.session()
            .generate_key(&Mechanism::AesKeyGen, &template)
            .expect("a key can be made");
        named(name)
    }

    fn handle(session: &Session, name: &str) -> ObjectHandle {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Label(name.into()),
        ];
        session.find_objects(&template).expect("a search")[0]
    }

    fn set(&self, name: &str, attribute: Attribute) {
        let session = self.session();
        session
            .update_attributes(Self::handle(&session, name), &[attribute])
            .expect("an attribute can be changed");
    }

    fn destroy(&self, name: &str) {
        let session = self.session();
        session
            .destroy_object(Self::handle(&session, name))
            .expect("a key can be destroyed");
    }

    fn service(&self) -> Arc<dyn Kms> {
        self.service_with(serde_json::json!({
            "module": softhsm(),
            "pin_file": self.folder.join("pin"),
        }))
    }

    fn service_with(&self, settings: serde_json::Value) -> Arc<dyn Kms> {
        let kind = key_service_kinds()
            .iter()
            .find(|kind| kind.provider == "pkcs11")
            .expect("this build knows PKCS#11");
        self.runtime
            .block_on((kind.open)(settings))
            .expect("the settings are right")
    }

    fn generate(&self, kms: &dyn Kms, key: &CmkRef) -> Result<GeneratedKey, Error> {
        self.runtime
            .block_on(kms.generate_data_key(key, &context("orders")))
            .outcome
    }

    fn decrypt(&self, kms: &dyn Kms, key: &CmkRef, blob: &[u8]) -> Result<Secret<32>, Error> {
        self.runtime
            .block_on(kms.decrypt(key, blob, &context("orders")))
            .outcome
    }
}

fn named(name: &str) -> CmkRef {
    CmkRef::parse(&format!("pkcs11:token=pal;object={name}")).expect("a name")
}

fn context(table: &str) -> EncryptionContext {
    EncryptionContext::for_table("ks", table, "subscriber")
}

fn is_denied<T>(outcome: Result<T, Error>, wanted: DenialReason) {
    match outcome {
        Err(Error::Denied { reason, .. }) => assert_eq!(reason, wanted),
        Err(other) => panic!("not denied, but: {other}"),
        Ok(_) => panic!("it worked"),
    }
}

fn is_unavailable<T>(outcome: Result<T, Error>, words: &str) {
    match outcome {
        Err(Error::Unavailable { reason, message }) => {
            assert_eq!(reason, UnavailableReason::Unreachable);
            assert!(message.contains(words), "'{words}' is not in: {message}");
        }
        Err(other) => panic!("not unavailable, but: {other}"),
        Ok(_) => panic!("it worked"),
    }
}

#[test]
fn a_data_key_comes_back_and_only_under_its_context() {
    on_a_token(
        "a_data_key_comes_back_and_only_under_its_context",
        |token| {
            let key = token.create("k", &[Attribute::Id(vec![0, 255])]);
            let kms = token.service();
            let described = token.runtime.block_on(kms.describe(&key)).outcome.unwrap();
            assert_eq!(
                (described.enabled, described.denial, &described.key),
                (true, None, &key)
            );

            let generated = token.generate(&*kms, &key).unwrap();
            assert_eq!(generated.ciphertext.len(), 61);
            let again = token.decrypt(&*kms, &key, &generated.ciphertext).unwrap();
            assert!(again == generated.plaintext);
            let by_id = CmkRef::parse("pkcs11:token=pal;id=%00%ff").unwrap();
            let again = token.decrypt(&*kms, &by_id, &generated.ciphertext).unwrap();
            assert!(again == generated.plaintext);

            let orders = context("orders");
            let encrypting = kms.encrypt(&key, &again, &orders);
            let encrypted = token.runtime.block_on(encrypting).outcome.unwrap();
            assert!(encrypted != generated.ciphertext);
            assert!(token.decrypt(&*kms, &key, &encrypted).unwrap() == again);

            for other in [context("customers"), EncryptionContext(Default::default())] {
                let decrypting = kms.decrypt(&key, &generated.ciphertext, &other);
                let refusal = token
                    .runtime
                    .block_on(decrypting)
                    .outcome
                    .map(|_| ())
                    .unwrap_err();
                assert!(matches!(refusal, Error::Tampered { .. }), "{refusal}");
            }
        },
    );
}

#[test]
fn a_blob_that_was_changed_or_cut_is_tampered_with_and_the_token_goes_on() {
    on_a_token(
        "a_blob_that_was_changed_or_cut_is_tampered_with_and_the_token_goes_on",
        |token| {
            let key = token.create("k", &[]);
            let other = token.create("other", &[]);
            let kms = token.service();
            let blob = token.generate(&*kms, &key).unwrap().ciphertext;
            for at in 1..blob.len() {
                let mut changed = blob.clone();
                changed[at] ^= 1;
                let refusal = token
                    .decrypt(&*kms, &key, &changed)
                    .map(|_| ())
                    .unwrap_err();
                assert!(
                    matches!(refusal, Error::Tampered { .. }),
                    "byte {at}: {refusal}"
                );
            }
            for cut in [0, 1, 13, 45, 60] {
                let refusal = token
                    .decrypt(&*kms, &key, &blob[..cut])
                    .map(|_| ())
                    .unwrap_err();
                assert!(
                    matches!(refusal, Error::Tampered { .. }),
                    "{cut} bytes: {refusal}"
                );
            }
            let refusal = token.decrypt(&*kms, &other, &blob).map(|_| ()).unwrap_err();
            assert!(matches!(refusal, Error::Tampered { .. }), "{refusal}");
            let mut newer = blob.clone();
            newer[0] = 2;
            let refusal = token.decrypt(&*kms, &key, &newer).map(|_| ()).unwrap_err();
            assert!(matches!(refusal, Error::Unsupported(_)), "{refusal}");
            token.decrypt(&*kms, &key, &blob).unwrap();
        },
    );
}

#[test]
fn a_key_whose_use_is_forbidden_is_disabled_until_it_is_allowed() {
    on_a_token(
        "a_key_whose_use_is_forbidden_is_disabled_until_it_is_allowed",
        |token| {
            let key = token.create("k", &[]);
            let kms = token.service();
            let blob = token.generate(&*kms, &key).unwrap().ciphertext;

            token.set("k", Attribute::Decrypt(false));
            is_denied(token.decrypt(&*kms, &key, &blob), DenialReason::Disabled);
            let described = token.runtime.block_on(kms.describe(&key)).outcome.unwrap();
            assert_eq!(
                (described.enabled, described.denial),
                (false, Some(DenialReason::Disabled))
            );
            token.set("k", Attribute::Decrypt(true));
            token.decrypt(&*kms, &key, &blob).unwrap();

            token.set("k", Attribute::Encrypt(false));
            is_denied(token.generate(&*kms, &key), DenialReason::AccessDenied);
            let described = token.runtime.block_on(kms.describe(&key)).outcome.unwrap();
            assert_eq!(described.denial, Some(DenialReason::AccessDenied));
            token.decrypt(&*kms, &key, &blob).unwrap();
            token.set("k", Attribute::Encrypt(true));
            token.generate(&*kms, &key).unwrap();
        },
    );
}

#[test]
fn a_key_that_was_destroyed_or_never_made_is_not_found() {
    on_a_token(
        "a_key_that_was_destroyed_or_never_made_is_not_found",
        |token| {
            let key = token.create("k", &[]);
            let kms = token.service();
            let blob = token.generate(&*kms, &key).unwrap().ciphertext;
            token.destroy("k");
            is_denied(token.decrypt(&*kms, &key, &blob), DenialReason::NotFound);
            is_denied(
                token.generate(&*kms, &named("nobody")),
                DenialReason::NotFound,
            );
            is_denied(
                token.runtime.block_on(kms.describe(&key)).outcome,
                DenialReason::NotFound,
            );
        },
    );
}

#[test]
fn a_key_that_can_be_read_or_taken_out_is_refused() {
    on_a_token("a_key_that_can_be_read_or_taken_out_is_refused", |token| {
        let readable = token.create("readable", &[Attribute::Sensitive(false)]);
        let extractable = token.create("extractable", &[Attribute::Extractable(true)]);
        let short = token.create("short", &[Attribute::ValueLen(16.into())]);
        token
            .session()
            .generate_key(
                &Mechanism::GenericSecretKeyGen,
                &[
                    Attribute::Token(true),
                    Attribute::Label("generic".into()),
                    Attribute::KeyType(KeyType::GENERIC_SECRET),
                    Attribute::ValueLen(32.into()),
                    Attribute::Sensitive(true),
                    Attribute::Extractable(false),
                ],
            )
            .expect("a key can be made");
        let kms = token.service();
        for (key, word) in [
            (readable, "CKA_SENSITIVE"),
            (extractable, "CKA_EXTRACTABLE"),
            (short, "256 bits"),
            (named("generic"), "256 bits"),
        ] {
            for refusal in [
                token
                    .runtime
                    .block_on(kms.describe(&key))
                    .outcome
                    .map(|_| ()),
                token.generate(&*kms, &key).map(|_| ()),
            ] {
                match refusal {
                    Err(Error::Invalid(message)) => assert!(message.contains(word), "{message}"),
                    other => panic!("{key}: {other:?}"),
                }
            }
        }
    });
}

#[test]
fn a_login_that_was_lost_is_made_again_and_denies_nothing() {
    on_a_token(
        "a_login_that_was_lost_is_made_again_and_denies_nothing",
        |token| {
            let key = token.create("k", &[]);
            let kms = token.service();
            let blob = token.generate(&*kms, &key).unwrap().ciphertext;
            // Another part of the process logs out; a session that is not logged in sees no private key.
            token.session().logout().expect("logout");
            token.decrypt(&*kms, &key, &blob).unwrap();
            // The module itself starts anew.
            token.library.clone().finalize().expect("finalized");
            is_unavailable(token.decrypt(&*kms, &key, &blob), "NotInitialized");
            token.decrypt(&*kms, &key, &blob).unwrap();
        },
    );
}

#[test]
fn a_pin_that_was_refused_is_not_tried_again_until_its_file_changes() {
    on_a_token(
        "a_pin_that_was_refused_is_not_tried_again_until_its_file_changes",
        |token| {
            let key = token.create("k", &[]);
            let kms = token.service();
            let blob = token.generate(&*kms, &key).unwrap().ciphertext;
            token.session().logout().expect("logout");
            token.write_pin("wrong");
            let kms = {
                drop(kms);
                token.service()
            };
            is_unavailable(token.decrypt(&*kms, &key, &blob), "PinIncorrect");
            is_unavailable(token.decrypt(&*kms, &key, &blob), "not tried again");
            token.write_pin(PIN);
            token.decrypt(&*kms, &key, &blob).unwrap();
            fs::remove_file(token.folder.join("pin")).unwrap();
            token.session().logout().expect("logout");
            is_unavailable(token.decrypt(&*kms, &key, &blob), "cannot read");
        },
    );
}

#[test]
fn a_token_with_another_pin_keeps_nobody_out_of_the_first() {
    on_a_token(
        "a_token_with_another_pin_keeps_nobody_out_of_the_first",
        |token| {
            let key = token.create("k", &[]);
            token.make("other", "another PIN");
            let kms = token.service();
            let blob = token.generate(&*kms, &key).unwrap().ciphertext;
            let elsewhere = CmkRef::parse("pkcs11:token=other;object=k").unwrap();
            is_unavailable(token.generate(&*kms, &elsewhere), "PinIncorrect");
            is_unavailable(token.generate(&*kms, &elsewhere), "not tried again");
            token.session().logout().expect("logout");
            token.decrypt(&*kms, &key, &blob).unwrap();
        },
    );
}

#[test]
fn a_token_or_module_that_is_away_is_unreachable_and_comes_back() {
    on_a_token(
        "a_token_or_module_that_is_away_is_unreachable_and_comes_back",
        |token| {
            let key = token.create("k", &[]);
            let kms = token.service();
            let blob = token.generate(&*kms, &key).unwrap().ciphertext;
            let (here, away) = (token.folder.join("tokens"), token.folder.join("away"));
            fs::rename(&here, &away).unwrap();
            for _ in 0..3 {
                is_unavailable(token.decrypt(&*kms, &key, &blob), "");
            }
            // Not even an empty place where the token was says that there is no key.
            fs::create_dir(&here).unwrap();
            for _ in 0..3 {
                is_unavailable(token.decrypt(&*kms, &key, &blob), "");
            }
            fs::remove_dir(&here).unwrap();
            fs::rename(&away, &here).unwrap();
            // The first call may still meet the module as it was left.
            let again = (0..3).find_map(|_| token.decrypt(&*kms, &key, &blob).ok());
            assert!(
                again.is_some(),
                "the token is back and its key does not open"
            );

            let elsewhere = CmkRef::parse("pkcs11:token=nowhere;object=k").unwrap();
            is_unavailable(token.generate(&*kms, &elsewhere), "token=nowhere");
            let missing = token.service_with(serde_json::json!({
                "module": token.folder.join("no-such-module.so"),
                "pin_file": token.folder.join("pin"),
            }));
            is_unavailable(token.generate(&*missing, &key), "no-such-module.so");
            let wrong_slot = token.service_with(serde_json::json!({
                "module": softhsm(), "pin_file": token.folder.join("pin"), "slot": 424_242,
            }));
            is_unavailable(token.generate(&*wrong_slot, &key), "");
        },
    );
}

#[test]
fn two_keys_of_one_name_are_never_guessed_between() {
    on_a_token("two_keys_of_one_name_are_never_guessed_between", |token| {
        let key = token.create("k", &[Attribute::Id(vec![1])]);
        let kms = token.service();
        let blob = token.generate(&*kms, &key).unwrap().ciphertext;
        token.create("k", &[Attribute::Id(vec![2])]);
        is_unavailable(token.decrypt(&*kms, &key, &blob), "more than one key");
        let first = CmkRef::parse("pkcs11:token=pal;object=k;id=%01").unwrap();
        token.decrypt(&*kms, &first, &blob).unwrap();
    });
}

#[test]
fn many_calls_at_once_share_a_few_sessions() {
    on_a_token("many_calls_at_once_share_a_few_sessions", |token| {
        let key = token.create("k", &[]);
        let kms = token.service();
        let blob = token.generate(&*kms, &key).unwrap().ciphertext;
        token.runtime.block_on(async {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..500 {
                let (kms, key, blob) = (Arc::clone(&kms), key.clone(), blob.clone());
                calls.spawn(
                    async move { kms.decrypt(&key, &blob, &context("orders")).await.outcome },
                );
            }
            // Whoever gives up costs nobody else anything.
            let orders = context("orders");
            let given_up = kms.decrypt(&key, &blob, &orders);
            drop(tokio::time::timeout(Duration::ZERO, given_up).await);
            while let Some(outcome) = calls.join_next().await {
                outcome.expect("no call panics").expect("the key opens");
            }
        });
        let slot = token
            .session()
            .get_session_info()
            .expect("a session")
            .slot_id();
        let info = token.library.get_token_info(slot).expect("a token");
        // SoftHSM may not tell.
        assert!(
            info.session_count().is_none_or(|count| count <= 5),
            "{:?} sessions",
            info.session_count()
        );
    });
}

#[test]
fn settings_that_say_something_else_are_refused() {
    let kind = key_service_kinds()
        .iter()
        .find(|kind| kind.provider == "pkcs11")
        .expect("this build knows PKCS#11");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for settings in [
        serde_json::json!({}),
        serde_json::json!({"module": "/m.so"}),
        serde_json::json!({"module": "/m.so", "pin_file": "/p", "pin": "1234"}),
        serde_json::json!({"module": "/m.so", "pin_file": "/p", "slot": "one"}),
    ] {
        let refusal = runtime
            .block_on((kind.open)(settings))
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(refusal, Error::Invalid(_)), "{refusal}");
    }
}
