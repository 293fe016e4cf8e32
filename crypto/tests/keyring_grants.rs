//! Grants of the keyring, enforced: for one table and no other, until they are revoked; made by the owner's hand or by a server's own credential.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, Grant, GrantId, GrantOperation, GrantRequest,
    KeyPolicy, Keyring, Kms, SeededEntropy, UnavailableReason, sha256,
};

const ALL: [GrantOperation; 5] = [
    GrantOperation::Describe,
    GrantOperation::Generate,
    GrantOperation::Decrypt,
    GrantOperation::Encrypt,
    GrantOperation::Retire,
];

/// An owner and a server, who share the file alone. The server holds no credential until it is given one.
struct Scene {
    folder: tempfile::TempDir,
    owner: Keyring,
    server: Keyring,
    key: CmkRef,
}

impl Scene {
    fn new(policy: KeyPolicy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let owner = Keyring::create_new(&path, Arc::new(SeededEntropy::new(1))).unwrap();
        Scene {
            key: owner.key_create_with_policy("orders", policy).unwrap(),
            server: Keyring::open(path).unwrap(),
            owner,
            folder,
        }
    }

    fn with_credential(policy: KeyPolicy) -> Self {
        let mut scene = Scene::new(policy);
        scene.owner.grantor_create(&scene.credential()).unwrap();
        scene.server = Keyring::open(scene.owner.path())
            .unwrap()
            .with_grant_credential(scene.credential());
        scene
    }

    fn credential(&self) -> PathBuf {
        self.folder.path().join("credential")
    }

    fn grant(&self, operations: &[GrantOperation], context: EncryptionContext) -> GrantId {
        self.owner
            .grant_create("orders", &request("", operations, context))
            .unwrap()
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<Vec<u8>, Error> {
        let generated = self.server.generate_data_key(&self.key, context).await;
        generated.outcome.map(|key| key.ciphertext)
    }

    async fn decrypt(&self, blob: &[u8], context: &EncryptionContext) -> Result<(), Error> {
        let decrypted = self.server.decrypt(&self.key, blob, context).await;
        decrypted.outcome.map(drop)
    }

    async fn create(&self, name: &str, table: &str) -> Result<GrantId, Error> {
        let grants = self.server.grants().expect("a credential was given");
        let wanted = request(name, &ALL, whole(table));
        grants.create_grant(&self.key, &wanted).await.outcome
    }

    async fn retire(&self, grant: &GrantId) -> Result<(), Error> {
        let grants = self.server.grants().expect("a credential was given");
        grants.retire_grant(&self.key, grant).await.outcome
    }

    async fn list(&self) -> Result<Vec<Grant>, Error> {
        let grants = self.server.grants().expect("a credential was given");
        grants.list_grants(&self.key).await.outcome
    }
}

fn request(name: &str, operations: &[GrantOperation], context: EncryptionContext) -> GrantRequest {
    GrantRequest {
        name: name.into(),
        operations: operations.to_vec(),
        context,
    }
}

fn whole(table: &str) -> EncryptionContext {
    EncryptionContext::for_table("shop", table, "subscriber")
}

/// As an owner says it, who knows no subscriber.
fn part(entries: &[(&str, &str)]) -> EncryptionContext {
    let entries = entries
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    EncryptionContext(entries.collect())
}

fn denial<T>(outcome: Result<T, Error>) -> DenialReason {
    match outcome {
        Err(Error::Denied { reason, .. }) => reason,
        Err(other) => panic!("no denial: {other}"),
        Ok(_) => panic!("no denial"),
    }
}

fn is_unreachable<T>(outcome: Result<T, Error>, words: &str) {
    match outcome {
        Err(Error::Unavailable {
            reason: UnavailableReason::Unreachable,
            message,
        }) => assert!(message.contains(words), "{message}"),
        Err(other) => panic!("not unreachable: {other}"),
        Ok(_) => panic!("reached"),
    }
}

#[tokio::test]
async fn an_open_key_asks_for_no_grant() {
    let scene = Scene::new(KeyPolicy::Open);
    let blob = scene.generate(&whole("orders")).await.unwrap();
    scene.decrypt(&blob, &whole("orders")).await.unwrap();
    assert!(scene.server.grants().is_none());
}

#[tokio::test]
async fn a_grant_lets_one_table_in_and_no_other() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    let denied = DenialReason::AccessDenied;
    assert_eq!(denial(scene.generate(&whole("orders")).await), denied);
    assert_eq!(
        denial(scene.server.describe(&scene.key).await.outcome),
        denied
    );

    scene.grant(&ALL, whole("orders"));
    let blob = scene.generate(&whole("orders")).await.unwrap();
    scene.decrypt(&blob, &whole("orders")).await.unwrap();
    assert!(scene.server.describe(&scene.key).await.outcome.is_ok());
    assert_eq!(denial(scene.generate(&whole("clients")).await), denied);
    assert_eq!(
        denial(scene.decrypt(&blob, &whole("clients")).await),
        denied
    );
}

#[tokio::test]
async fn a_grant_for_a_keyspace_lets_its_tables_in() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    scene.grant(&ALL, part(&[(EncryptionContext::KEYSPACE_NAME, "shop")]));
    assert!(scene.generate(&whole("orders")).await.is_ok());
    assert!(scene.generate(&whole("clients")).await.is_ok());
    let elsewhere = EncryptionContext::for_table("bank", "orders", "subscriber");
    assert_eq!(
        denial(scene.generate(&elsewhere).await),
        DenialReason::AccessDenied
    );
}

#[tokio::test]
async fn a_grant_for_everything_lets_everything_in_and_a_wider_context_too() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    scene.grant(&[GrantOperation::Generate], part(&[]));
    assert!(scene.generate(&whole("orders")).await.is_ok());
    let many: Vec<(String, String)> = (0..20)
        .map(|number| (format!("entry {number}"), "value".to_owned()))
        .collect();
    let wide = EncryptionContext(many.into_iter().collect());
    assert!(scene.generate(&wide).await.is_ok());
    assert_eq!(
        denial(scene.decrypt(&[], &wide).await),
        DenialReason::AccessDenied
    );
}

#[tokio::test]
async fn a_grant_allows_the_operations_that_it_names() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    scene.grant(&[GrantOperation::Generate], whole("orders"));
    let blob = scene.generate(&whole("orders")).await.unwrap();
    let denied = DenialReason::AccessDenied;
    assert_eq!(denial(scene.decrypt(&blob, &whole("orders")).await), denied);
    assert_eq!(
        denial(scene.server.describe(&scene.key).await.outcome),
        denied
    );
    scene.grant(&[GrantOperation::Decrypt], whole("orders"));
    scene.decrypt(&blob, &whole("orders")).await.unwrap();
}

#[tokio::test]
async fn a_revoked_grant_is_called_that_and_only_for_what_it_had_allowed() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    let grant = scene.grant(&ALL, whole("orders"));
    scene.grant(&ALL, whole("clients"));
    let blob = scene.generate(&whole("orders")).await.unwrap();

    scene.owner.grant_revoke("orders", &grant).unwrap();
    assert_eq!(
        denial(scene.decrypt(&blob, &whole("orders")).await),
        DenialReason::GrantRevoked
    );
    assert_eq!(
        denial(scene.generate(&whole("others")).await),
        DenialReason::AccessDenied
    );
    assert!(scene.generate(&whole("clients")).await.is_ok());
    let (live, revoked) = scene.owner.grant_list("orders").unwrap();
    assert_eq!((live.len(), revoked.len()), (1, 1));
    assert_eq!(revoked[0].id, grant);
    let again = scene.owner.grant_revoke("orders", &grant);
    assert!(matches!(again, Err(Error::Invalid(_))));

    // Given back by a new grant.
    let other = scene.grant(&ALL, whole("orders"));
    assert_ne!(other, grant);
    scene.decrypt(&blob, &whole("orders")).await.unwrap();
}

#[tokio::test]
async fn a_thousand_revoked_grants_are_remembered_and_the_oldest_is_then_a_stranger() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    let table = |number: usize| whole(&format!("table_{number}"));
    for number in 0..=1000 {
        let grant = scene.grant(&[GrantOperation::Generate], table(number));
        scene.owner.grant_revoke("orders", &grant).unwrap();
    }
    assert_eq!(
        denial(scene.generate(&table(0)).await),
        DenialReason::AccessDenied
    );
    assert_eq!(
        denial(scene.generate(&table(1)).await),
        DenialReason::GrantRevoked
    );
}

#[tokio::test]
async fn a_policy_that_changes_counts_for_the_next_call() {
    let scene = Scene::new(KeyPolicy::Open);
    let blob = scene.generate(&whole("orders")).await.unwrap();
    scene
        .owner
        .key_set_policy("orders", KeyPolicy::GrantsOnly)
        .unwrap();
    assert_eq!(
        denial(scene.decrypt(&blob, &whole("orders")).await),
        DenialReason::AccessDenied
    );
    scene
        .owner
        .key_set_policy("orders", KeyPolicy::Open)
        .unwrap();
    scene.decrypt(&blob, &whole("orders")).await.unwrap();
}

#[tokio::test]
async fn what_is_said_of_the_key_itself_goes_before_its_grants() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    scene.owner.key_disable("orders").unwrap();
    assert_eq!(
        denial(scene.generate(&whole("orders")).await),
        DenialReason::Disabled
    );
}

#[tokio::test]
async fn a_server_with_the_credential_makes_grants_and_retires_them() {
    let scene = Scene::with_credential(KeyPolicy::GrantsOnly);
    let grant = scene.create("use", "orders").await.unwrap();
    let blob = scene.generate(&whole("orders")).await.unwrap();
    let listed = scene.list().await.unwrap();
    assert_eq!(
        (listed.len(), &listed[0].id, listed[0].name.as_str()),
        (1, &grant, "use")
    );
    scene.retire(&grant).await.unwrap();
    assert_eq!(
        denial(scene.decrypt(&blob, &whole("orders")).await),
        DenialReason::AccessDenied,
        "retired, not revoked"
    );
    scene.retire(&grant).await.unwrap();
    assert!(scene.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_request_again_gives_the_same_grant_and_changes_nothing() {
    let scene = Scene::with_credential(KeyPolicy::GrantsOnly);
    let first = scene.create("use", "orders").await.unwrap();
    let edits = scene.owner.edit_counter().unwrap();
    assert_eq!(scene.create("use", "orders").await.unwrap(), first);
    assert_eq!(scene.owner.edit_counter().unwrap(), edits);
    assert_ne!(scene.create("use", "clients").await.unwrap(), first);
    assert_ne!(scene.create("snapshot", "orders").await.unwrap(), first);

    // One that its owner revoked is not the same any more.
    scene.owner.grant_revoke("orders", &first).unwrap();
    assert_ne!(scene.create("use", "orders").await.unwrap(), first);
}

#[tokio::test]
async fn a_server_retires_what_it_has_made_and_not_what_its_owner_made() {
    let scene = Scene::with_credential(KeyPolicy::GrantsOnly);
    let owners = scene.grant(&ALL[..4], whole("orders"));
    assert_eq!(
        denial(scene.retire(&owners).await),
        DenialReason::AccessDenied
    );
    let lent = scene.grant(&ALL, whole("clients"));
    scene.retire(&lent).await.unwrap();
    assert_eq!(scene.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_withdrawn_or_missing_credential_makes_no_grant_and_is_no_word_about_the_key() {
    let scene = Scene::with_credential(KeyPolicy::GrantsOnly);
    let grant = scene.create("use", "orders").await.unwrap();
    let kept = std::fs::read(scene.credential()).unwrap();

    std::fs::set_permissions(scene.credential(), PermissionsExt::from_mode(0o644)).unwrap();
    is_unreachable(scene.create("use", "clients").await, "chmod 600");
    std::fs::write(scene.credential(), "not a credential").unwrap();
    std::fs::set_permissions(scene.credential(), PermissionsExt::from_mode(0o600)).unwrap();
    is_unreachable(scene.create("use", "clients").await, "no credential of 64");
    std::fs::remove_file(scene.credential()).unwrap();
    is_unreachable(scene.retire(&grant).await, "cannot read");

    std::fs::write(scene.credential(), &kept).unwrap();
    std::fs::set_permissions(scene.credential(), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(scene.list().await.is_ok());
    scene.owner.grantor_withdraw(&scene.credential()).unwrap();
    is_unreachable(scene.create("use", "clients").await, "does not know");
    is_unreachable(scene.list().await, "does not know");
    // What was granted stays.
    assert!(scene.generate(&whole("orders")).await.is_ok());
}

#[test]
fn a_credential_is_drawn_into_a_new_private_file_and_its_digest_alone_into_the_keyring() {
    let scene = Scene::with_credential(KeyPolicy::Open);
    let metadata = std::fs::metadata(scene.credential()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let credential = std::fs::read_to_string(scene.credential()).unwrap();
    let keyring = std::fs::read_to_string(scene.owner.path()).unwrap();
    assert!(!keyring.contains(credential.trim()));
    assert!(keyring.contains("{\"grantor\":{\"sha256\":\""));
    let again = scene.owner.grantor_create(&scene.credential());
    assert!(matches!(again, Err(Error::Invalid(_))));
    scene.owner.grantor_withdraw_all().unwrap();
    let again = scene.owner.grantor_withdraw(&scene.credential());
    assert!(matches!(again, Err(Error::Invalid(_))));
    assert_eq!(
        std::fs::read_to_string(scene.credential()).unwrap(),
        credential
    );
}

#[test]
fn a_grant_that_makes_no_sense_is_refused() {
    let scene = Scene::new(KeyPolicy::GrantsOnly);
    let long = "x".repeat(257);
    let twice = [GrantOperation::Decrypt, GrantOperation::Decrypt];
    let many = (0..17).map(|number| (number.to_string(), String::new()));
    for wrong in [
        request(&long, &ALL, part(&[])),
        request("a\nb", &ALL, part(&[])),
        request("", &[], part(&[])),
        request("", &twice, part(&[])),
        request("", &ALL, EncryptionContext(many.collect())),
        request("", &ALL, part(&[("name", "a\u{7}b")])),
    ] {
        let made = scene.owner.grant_create("orders", &wrong);
        assert!(matches!(made, Err(Error::Invalid(_))), "{wrong:?}");
    }
    assert_eq!(scene.owner.edit_counter().unwrap(), 1);
}

/// Written by hand, as the file's layout says: making fifty thousand one by one would write the file as often.
#[tokio::test]
async fn a_key_has_at_most_fifty_thousand_grants_and_finds_one_of_them_at_once() {
    let scene = Scene::with_credential(KeyPolicy::GrantsOnly);
    let text = std::fs::read_to_string(scene.owner.path()).unwrap();
    let (lines, _) = text.split_once("{\"checksum\"").unwrap();
    let mut lines = lines.to_owned();
    for number in 0..50_000 {
        lines += &format!(
            "{{\"grant\":{{\"id\":\"{number:032x}\",\"name\":\"use\",\"maker\":\"Server\",\"created\":0,\"operations\":[\"Generate\",\"Decrypt\"],\"context\":{{\"aws:cassandra:keyspaceName\":\"shop\",\"aws:cassandra:subscriberId\":\"subscriber\",\"aws:cassandra:tableName\":\"table_{number}\"}}}}}}\n"
        );
    }
    let digest: String = sha256(&[lines.as_bytes()])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    lines += &format!("{{\"checksum\":\"{digest}\"}}\n");
    std::fs::write(scene.owner.path(), &lines).unwrap();

    let blob = scene.generate(&whole("table_49999")).await.unwrap();
    for _ in 0..1000 {
        scene.decrypt(&blob, &whole("table_49999")).await.unwrap();
    }
    match scene.create("use", "orders").await {
        Err(Error::Invalid(message)) => assert!(message.contains("50000 grants"), "{message}"),
        other => panic!("{other:?}"),
    }
    let first = GrantId(format!("{:032x}", 0));
    scene.retire(&first).await.unwrap();
    scene.create("use", "orders").await.unwrap();
    assert_eq!(scene.list().await.unwrap().len(), 50_000);
}
