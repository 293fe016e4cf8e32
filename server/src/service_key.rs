//! The service's own key: what guards schema, log seals and records, and what everything else starts from.
//!
//! Its root stands in the data folder under the all-zero table id, wrapped by the configured key (`local:default` in the keyring). At first start it is
//! drawn, and its fate decides what kind of start this is:
//!
//! | root | manifest | keyring | start |
//! |---|---|---|---|
//! | absent | absent | absent or there | first: keyring and key are made as needed, then the root |
//! | there | any | there | ordinary |
//! | there | any | absent | refused: data without its keyring |
//! | absent | there | any | refused: the root of the service's key is missing |
//!
//! The cluster id is derived from this key, so that it is as random, and can be had only with it.
//!
//! An alias is followed once, when the key is drawn: the root has the key's own name. Roots of earlier releases may name an alias, which goes into the key's
//! derivation and stays; where it has been led elsewhere, the configured key is asked to open the root.
//!
//! A start whose configuration names a key that is neither the root's nor an alias is refused: what is the server's own would stay under the key that its operator takes for given up.
//!
//! A key service that gives another key may give the right one later, as one that gives none; the keyring is a file here, and what it gives now it gives again.

use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{
    Answering, ClusterId, CmkRef, EncryptionContext, Error as CryptoError, KeyRing, Keyring, Kms,
    Passphrase, Secret, TableKey,
};
use palladium_storage::root::LoadedRoot;
use palladium_storage::{Backend, LocalBackend, Root, RootState, SERVICE, root};

use crate::audit::{Asker, Audit};
use crate::config::Config;
use crate::keys::{
    Asked, Caller, KeyServices, Urgency, another_key, judged, lasting_name, not_what_was_generated,
};
use crate::passphrase;

/// The only version: the service's key has no switch yet.
const VERSION: u32 = 1;
/// What key services are told in place of a table.
const CONTEXT_KEYSPACE: &str = "system";
const CONTEXT_TABLE: &str = "service";
/// Between two tries while the key service does not give the key.
const RETRY: Duration = Duration::from_secs(5);

/// The service's key, held for the process's life.
#[derive(Clone)]
pub struct ServiceKey {
    /// Opens and seals what is the server's own.
    pub ring: Arc<KeyRing>,
    /// This server's identity in every key derivation.
    pub cluster: ClusterId,
}

impl ServiceKey {
    fn new(key: TableKey) -> Self {
        let identity = key.derive_secret("cluster id");
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&identity.expose()[..16]);
        ServiceKey {
            cluster: ClusterId(cluster),
            ring: Arc::new(KeyRing::new(key, Vec::new())),
        }
    }

    /// A secret for one use, known to nobody else.
    pub fn derive_secret(&self, label: &'static str) -> Secret<32> {
        self.ring.active().derive_secret(label)
    }
}

/// What stands in the data folder.
pub async fn is_first_start(backend: &LocalBackend) -> Result<bool, String> {
    let loaded = root::load(backend, SERVICE)
        .await
        .map_err(|error| error.to_string())?;
    let generations = backend
        .manifest_list()
        .await
        .map_err(|error| error.to_string())?;
    match (&loaded.state, generations.is_empty()) {
        (RootState::Live(_), _) => Ok(false),
        (RootState::Missing, true) => Ok(true),
        _ => Err(
            "the root of the service's own key is missing or damaged in this data folder".into(),
        ),
    }
}

/// Opens the keyring, with its passphrase if it has one; makes it, with the key of the service, when the data folder is empty.
pub fn open_keyring(
    config: &Config,
    is_first_start: bool,
    passphrase: Option<&Passphrase>,
) -> Result<Keyring, String> {
    let path = &config.keyring;
    let describe = |error: CryptoError| format!("keyring: {error}");
    let cmk = config.service_cmk()?;
    config.check_keyring_place()?;
    if !is_first_start && !path.exists() {
        return Err(format!(
            "the data folder {} has data, and its keyring {} is missing: without it nothing can be read",
            config.data.display(),
            path.display()
        ));
    }
    let keyring = match path.exists() {
        true => Keyring::open(path).map_err(describe)?,
        false => passphrase::make(path, passphrase)?,
    };
    passphrase::unlock(&keyring, passphrase)?;
    let keyring = match config.local_keys()?.grant_credential_file {
        Some(file) => keyring.with_grant_credential(file),
        None => keyring,
    };
    if is_first_start && cmk.provider() == "local" {
        // By its own name or an alias.
        let exists = keyring.key_resolve(cmk.name()).is_ok();
        if !exists {
            keyring.key_create(cmk.name()).map_err(describe)?;
        }
    }
    Ok(keyring)
}

/// Draws the service's key at first start, and fetches it at every other; waits for a key service that does not answer.
pub(crate) async fn fetch(
    backend: &LocalBackend,
    services: &KeyServices,
    cmk: &CmkRef,
    is_first_start: bool,
    caller: &Caller,
) -> Result<ServiceKey, String> {
    loop {
        // The trail is written once the engine is open: until then it keeps what it has room for, and nobody waits for it.
        let (audit, mut waiting) = Audit::new();
        let quiet = Caller {
            audit,
            ..caller.clone()
        };
        let attempt = match is_first_start {
            true => draw(backend, services, cmk, &quiet).await,
            false => fetch_for_start(backend, services, cmk, &quiet).await,
        };
        drop(quiet);
        while let Some(event) = waiting.next().await {
            caller.audit.record_early(event);
        }
        match attempt {
            Ok(key) => return Ok(key),
            Err(Attempt::Hopeless(what)) => return Err(what),
            Err(Attempt::Later(error)) => {
                tracing::error!(%error, "the service's own key cannot be had; the port stays shut");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Why the key was not had this time.
pub enum Attempt {
    /// The key service may give it later.
    Later(CryptoError),
    /// What stands here cannot be opened.
    Hopeless(String),
}

impl Attempt {
    /// What a call about this key came to.
    fn failed(error: CryptoError, cmk: &CmkRef) -> Self {
        match error {
            CryptoError::Denied { .. } | CryptoError::Unavailable { .. } => Attempt::Later(error),
            CryptoError::Tampered { .. } if cmk.provider() != "local" => Attempt::Later(error),
            error => Attempt::Hopeless(format!("the service's own key: {error}")),
        }
    }
}

/// Draws the key under the one that is named, or that an alias leads to now.
async fn draw(
    backend: &LocalBackend,
    services: &KeyServices,
    cmk: &CmkRef,
    caller: &Caller,
) -> Result<ServiceKey, Attempt> {
    let failed = |error| Attempt::failed(error, cmk);
    let described = call(services, "DescribeKey", cmk, None, caller, |kms| {
        kms.describe(cmk)
    });
    let lasting = described
        .await
        .and_then(|description| lasting_name(cmk, description))
        .map_err(failed)?;
    draw_under(backend, services, &lasting, caller).await
}

async fn draw_under(
    backend: &LocalBackend,
    services: &KeyServices,
    cmk: &CmkRef,
    caller: &Caller,
) -> Result<ServiceKey, Attempt> {
    let failed = |error| Attempt::failed(error, cmk);
    let context = &context();
    let told = Some(context);
    let generated = call(services, "GenerateDataKey", cmk, told, caller, |kms| {
        kms.generate_data_key(cmk, context)
    });
    let generated = generated.await.map_err(failed)?;
    // What cannot be decrypted again must not become the key of everything.
    let again = call(services, "Decrypt", cmk, told, caller, |kms| {
        let again = kms.decrypt(cmk, &generated.ciphertext, context);
        judged(again, |again| match again == generated.plaintext {
            true => Ok(()),
            false => Err(not_what_was_generated()),
        })
    });
    again.await.map_err(failed)?;
    let key = derive(&generated.plaintext, cmk);
    let mut root = Root {
        table: SERVICE,
        cmk: cmk.clone(),
        wrapped: generated.ciphertext,
        alternatives: Vec::new(),
        version: VERSION,
        older: Vec::new(),
        fingerprints: vec![(VERSION, key.fingerprint())],
        epoch: 1,
        tag: [0; 32],
    };
    root.sign(&key);
    root::commit(backend, &root, None)
        .await
        .map_err(|error| Attempt::Hopeless(error.to_string()))?;
    Ok(ServiceKey::new(key))
}

/// What the key service is told of the service's own key.
fn context() -> EncryptionContext {
    EncryptionContext::for_table(CONTEXT_KEYSPACE, CONTEXT_TABLE, "palladium")
}

/// One call about the service's own key, which is asked for as any other is.
async fn call<'a, T>(
    services: &'a KeyServices,
    operation: &'static str,
    cmk: &'a CmkRef,
    context: Option<&'a EncryptionContext>,
    caller: &'a Caller,
    send: impl FnOnce(&'a dyn Kms) -> Answering<'a, T>,
) -> Result<T, CryptoError> {
    let asker = Asker::server();
    let asked = Asked {
        operation,
        table: Some((CONTEXT_KEYSPACE, CONTEXT_TABLE)),
        key: cmk,
        context,
        asker: &asker,
        urgency: Urgency::Request,
    };
    services.of(cmk)?.call(caller, asked, send).await.outcome
}

/// One try at the key of a folder that has one, for a tool that leaves no trace in it.
pub async fn fetch_once(
    backend: &LocalBackend,
    services: &KeyServices,
    cmk: &CmkRef,
) -> Result<ServiceKey, Attempt> {
    fetch_with(backend, services, cmk, &Caller::unrecorded()).await
}

async fn fetch_with(
    backend: &LocalBackend,
    services: &KeyServices,
    configured: &CmkRef,
    caller: &Caller,
) -> Result<ServiceKey, Attempt> {
    let loaded = root::load(backend, SERVICE)
        .await
        .map_err(|error| Attempt::Hopeless(error.to_string()))?;
    let RootState::Live(root) = loaded.state else {
        return Err(Attempt::Hopeless(
            "the root of the service's own key cannot be read".into(),
        ));
    };
    if let Some(note) = loaded.note {
        tracing::warn!(note, "a spare copy is damaged");
    }
    let error = match open(services, &root, &root.cmk, caller).await {
        Ok(key) => return Ok(ServiceKey::new(key)),
        Err(error) => error,
    };
    let is_another = matches!(
        error,
        CryptoError::Denied { .. } | CryptoError::Tampered { .. }
    );
    let failed = Attempt::failed(error, &root.cmk);
    if !is_another || *configured == root.cmk {
        return Err(failed);
    }
    match open(services, &root, configured, caller).await {
        Ok(key) => {
            tracing::warn!(
                root = %root.cmk,
                configured = %configured,
                "the service's own key is opened by the configured key: the name in its root leads elsewhere by now"
            );
            Ok(ServiceKey::new(key))
        }
        Err(error @ CryptoError::Unavailable { .. }) => Err(Attempt::Later(error)),
        // It is not the key either: what is wrong with the one that the root names is what there is to know.
        Err(_) => Err(failed),
    }
}

/// For a server: the key must be the one that is configured, and a root of which one copy is damaged gets it back. With the other one all would be lost.
async fn fetch_for_start(
    backend: &LocalBackend,
    services: &KeyServices,
    cmk: &CmkRef,
    caller: &Caller,
) -> Result<ServiceKey, Attempt> {
    let key = fetch_with(backend, services, cmk, caller).await?;
    check_configured(backend, services, cmk, caller).await?;
    if let Ok(LoadedRoot {
        state: RootState::Live(root),
        note: Some(_),
        ..
    }) = root::load(backend, SERVICE).await
        && root.verify(key.ring.active()).is_ok()
        && let Err(error) = root::heal(backend, &root).await
    {
        tracing::warn!(%error, "the damaged copy of the root of the service's own key stays");
    }
    Ok(key)
}

/// The configured key, where it has another name than the root's: it must be the same key, or an alias, which may have been led elsewhere since.
async fn check_configured(
    backend: &LocalBackend,
    services: &KeyServices,
    configured: &CmkRef,
    caller: &Caller,
) -> Result<(), Attempt> {
    let loaded = root::load(backend, SERVICE).await;
    let Ok(RootState::Live(root)) = loaded.map(|loaded| loaded.state) else {
        return Ok(());
    };
    if root.cmk == *configured {
        return Ok(());
    }
    match open(services, &root, configured, caller).await {
        Ok(_) => return Ok(()),
        // It may be the same key: nothing says that it is another one.
        Err(error @ CryptoError::Unavailable { .. }) => {
            warn_of_unknown(&root.cmk, configured, &error);
            return Ok(());
        }
        Err(_) => {}
    }
    let described = call(services, "DescribeKey", configured, None, caller, |kms| {
        kms.describe(configured)
    });
    let lasting = described
        .await
        .and_then(|description| lasting_name(configured, description));
    match lasting {
        Ok(lasting) if lasting == root.cmk => Ok(()),
        Ok(lasting) if lasting == *configured => Err(Attempt::Hopeless(format!(
            "service_key is {configured}, and this data folder was begun under {}, which its own key stays under: set it back",
            root.cmk
        ))),
        Ok(lasting) => {
            tracing::warn!(
                root = %root.cmk,
                configured = %configured,
                leads_to = %lasting,
                "service_key is an alias that leads elsewhere by now: what is the server's own stays under the key in its root, tables that name none come under the other one"
            );
            Ok(())
        }
        Err(error @ (CryptoError::Unavailable { .. } | CryptoError::Denied { .. })) => {
            warn_of_unknown(&root.cmk, configured, &error);
            Ok(())
        }
        Err(error) => Err(Attempt::Hopeless(format!(
            "service_key is {configured}, and this data folder was begun under {}: {error}",
            root.cmk
        ))),
    }
}

fn warn_of_unknown(root: &CmkRef, configured: &CmkRef, error: &CryptoError) {
    tracing::warn!(
        %root,
        %configured,
        %error,
        "service_key has another name than the key in the root of what is the server's own, and cannot be asked for: what is the server's own stays where it is"
    );
}

/// What a root's key is, by the word of a key service that is asked for it by this name.
async fn open(
    services: &KeyServices,
    root: &Root,
    name: &CmkRef,
    caller: &Caller,
) -> Result<TableKey, CryptoError> {
    let context = &context();
    call(services, "Decrypt", name, Some(context), caller, |kms| {
        let answer = kms.decrypt(name, &root.wrapped, context);
        judged(answer, |plaintext| {
            let key = derive(&plaintext, &root.cmk);
            match root.verify(&key) {
                Ok(()) => Ok(key),
                Err(_) => Err(another_key("this server")),
            }
        })
    })
    .await
}

/// The cluster id comes from this key, so it cannot go into it.
fn derive(plaintext: &Secret<32>, cmk: &CmkRef) -> TableKey {
    TableKey::derive(plaintext, ClusterId([0; 16]), SERVICE, VERSION, cmk)
}

#[cfg(test)]
mod tests {
    use palladium_crypto::{Behavior, ScriptedKms};
    use palladium_storage::LocalOptions;

    use super::*;

    fn cmk(name: &str) -> CmkRef {
        CmkRef::parse(name).unwrap()
    }

    /// An empty data folder.
    struct Place {
        backend: LocalBackend,
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path().join("data");
            let backend = LocalBackend::open(&data, LocalOptions::default()).unwrap();
            Place { backend, folder }
        }

        /// Two keys, and an alias of the first.
        fn keyring(&self) -> (Arc<Keyring>, KeyServices) {
            let keyring = Keyring::create_new(
                self.folder.path().join("keyring"),
                Arc::new(palladium_crypto::OsEntropy),
            );
            let keyring = Arc::new(keyring.unwrap());
            for name in ["own", "other"] {
                keyring.key_create(name).unwrap();
            }
            keyring.alias_set("alias", "own").unwrap();
            let services = KeyServices::default().with("local", keyring.clone());
            (keyring, services)
        }

        async fn root(&self) -> Root {
            match root::load(&self.backend, SERVICE).await.unwrap().state {
                RootState::Live(root) => *root,
                other => panic!("{other:?}"),
            }
        }

        /// The first start of all.
        async fn draw(&self, kms: &KeyServices, name: &str) -> ServiceKey {
            let caller = Caller::unrecorded();
            let drawn = fetch(&self.backend, kms, &cmk(name), true, &caller).await;
            drawn.unwrap()
        }

        async fn fetch(&self, kms: &KeyServices, name: &str) -> Result<ServiceKey, Attempt> {
            fetch_once(&self.backend, kms, &cmk(name)).await
        }
    }

    #[tokio::test]
    async fn an_alias_is_followed_once_when_the_services_key_is_drawn() {
        let place = Place::new();
        let kms = Arc::new(ScriptedKms::new(3));
        kms.set_alias(&cmk("vault:alias"), &cmk("vault:own"));
        let services = KeyServices::default().with("vault", kms.clone());
        let drawn = place.draw(&services, "vault:alias").await;
        assert_eq!(place.root().await.cmk, cmk("vault:own"));
        // Led elsewhere, it still is what the configuration says.
        kms.set_alias(&cmk("vault:alias"), &cmk("vault:other"));
        let fetched = place.fetch(&services, "vault:alias").await.ok().unwrap();
        assert_eq!(fetched.cluster, drawn.cluster);
    }

    #[tokio::test]
    async fn a_root_whose_alias_was_led_elsewhere_opens_by_the_configured_key() {
        let place = Place::new();
        let (keyring, services) = place.keyring();
        // As earlier releases did.
        let caller = Caller::unrecorded();
        let drawn = draw_under(&place.backend, &services, &cmk("local:alias"), &caller).await;
        let drawn = drawn.ok().unwrap();
        keyring.alias_set("alias", "other").unwrap();
        for wrong in ["local:alias", "local:other", "local:nobody"] {
            let refused = place.fetch(&services, wrong).await;
            assert!(matches!(refused, Err(Attempt::Hopeless(_))), "{wrong}");
        }
        let fetched = place.fetch(&services, "local:own").await.ok().unwrap();
        assert_eq!(fetched.cluster, drawn.cluster);
    }

    #[tokio::test]
    async fn a_damaged_copy_of_the_root_is_mended_by_the_next_start_and_by_no_tool() {
        let place = Place::new();
        let kms = Arc::new(ScriptedKms::new(3));
        let services = KeyServices::default().with("vault", kms);
        let drawn = place.draw(&services, "vault:own").await;
        let file = place
            .folder
            .path()
            .join("data/roots/00000000000000000000000000000000");
        let whole = std::fs::read(&file).unwrap();
        for copy in 0..2 {
            let mut bytes = whole.clone();
            bytes[copy * whole.len() / 2 + 40] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            let is_noted = async || {
                let loaded = root::load(&place.backend, SERVICE).await.unwrap();
                loaded.note.is_some()
            };
            place.fetch(&services, "vault:own").await.ok().unwrap();
            assert!(is_noted().await, "copy {copy}");
            let (caller, own) = (Caller::unrecorded(), cmk("vault:own"));
            let started = fetch(&place.backend, &services, &own, false, &caller).await;
            assert_eq!(started.unwrap().cluster, drawn.cluster);
            assert!(!is_noted().await, "copy {copy}");
        }
    }

    #[tokio::test]
    async fn a_second_service_key_is_refused_and_an_alias_that_was_led_elsewhere_is_not() {
        let place = Place::new();
        let (keyring, services) = place.keyring();
        let drawn = place.draw(&services, "local:alias").await;
        let caller = Caller::unrecorded();
        let start = async |name: &str| {
            let started = fetch(&place.backend, &services, &cmk(name), false, &caller).await;
            started.map(|key| key.cluster)
        };
        let refusal = start("local:other").await.unwrap_err();
        assert!(
            refusal.contains("service_key is local:other") && refusal.contains("local:own"),
            "{refusal}"
        );
        assert_eq!(start("local:own").await, Ok(drawn.cluster));
        assert_eq!(start("local:alias").await, Ok(drawn.cluster));
        keyring.alias_set("alias", "other").unwrap();
        assert_eq!(start("local:alias").await, Ok(drawn.cluster));
        // For a tool that only looks the key in the root is enough.
        let looked = place.fetch(&services, "local:other").await.ok().unwrap();
        assert_eq!(looked.cluster, drawn.cluster);
    }

    #[tokio::test]
    async fn another_key_from_a_service_may_be_followed_by_the_right_one() {
        let place = Place::new();
        let kms = Arc::new(ScriptedKms::new(3));
        let own = cmk("vault:own");
        let services = KeyServices::default().with("vault", kms.clone());
        let drawn = place.draw(&services, "vault:own").await;
        for wrong in [Behavior::Another, Behavior::Tampered] {
            kms.set(&own, wrong);
            let refused = place.fetch(&services, "vault:own").await;
            assert!(matches!(refused, Err(Attempt::Later(_))), "{wrong:?}");
        }
        kms.set(&own, Behavior::Another);
        let Err(Attempt::Later(error)) = place.fetch(&services, "vault:own").await else {
            panic!("it is the wrong key");
        };
        let words = "the key service gave another key than that of this server";
        assert!(error.to_string().contains(words), "{error}");
        kms.set(&own, Behavior::Ok);
        let fetched = place.fetch(&services, "vault:own").await.ok().unwrap();
        assert_eq!(fetched.cluster, drawn.cluster);
    }

    #[tokio::test]
    async fn another_key_from_the_keyring_ends_the_start() {
        let place = Place::new();
        let keyring = Arc::new(ScriptedKms::new(3));
        let services = KeyServices::default().with("local", keyring.clone());
        place.draw(&services, "local:own").await;
        keyring.set(&cmk("local:own"), Behavior::Another);
        let refused = place.fetch(&services, "local:own").await;
        assert!(matches!(refused, Err(Attempt::Hopeless(_))));
    }
}
