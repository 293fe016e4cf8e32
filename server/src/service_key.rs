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

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{
    Answering, ClusterId, CmkRef, EncryptionContext, Error as CryptoError, KeyRing, Keyring, Kms,
    Passphrase, Secret, TableKey,
};
use palladium_storage::{Backend, LocalBackend, Root, RootState, SERVICE, root};

use crate::audit::{Asker, Audit};
use crate::config::Config;
use crate::keys::{Asked, Caller, KeyServices, Urgency};
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

/// Whether a file lies, or would lie, in a folder that exists: by its name, or by what its name leads to.
fn is_inside(file: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let lies_in = |path: &Path| {
        path.canonicalize()
            .is_ok_and(|path| path.starts_with(&folder))
    };
    lies_in(parent) || lies_in(file)
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
    if is_inside(path, &config.data) {
        return Err(format!(
            "the keyring {} lies in the data folder {}: a copied data folder must open nothing; put it elsewhere",
            path.display(),
            config.data.display()
        ));
    }
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
            false => fetch_with(backend, services, &quiet).await,
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

impl From<CryptoError> for Attempt {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::Denied { .. } | CryptoError::Unavailable { .. } => Attempt::Later(error),
            error => Attempt::Hopeless(format!("the service's own key: {error}")),
        }
    }
}

async fn draw(
    backend: &LocalBackend,
    services: &KeyServices,
    cmk: &CmkRef,
    caller: &Caller,
) -> Result<ServiceKey, Attempt> {
    let context = context();
    let generated = call(services, "GenerateDataKey", cmk, &context, caller, |kms| {
        kms.generate_data_key(cmk, &context)
    })
    .await?;
    // What cannot be decrypted again must not become the key of everything.
    let again = call(services, "Decrypt", cmk, &context, caller, |kms| {
        kms.decrypt(cmk, &generated.ciphertext, &context)
    })
    .await?;
    if again != generated.plaintext {
        return Err(Attempt::Hopeless(format!(
            "{cmk} gave back another key than it generated"
        )));
    }
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
    context: &'a EncryptionContext,
    caller: &'a Caller,
    send: impl FnOnce(&'a dyn Kms) -> Answering<'a, T>,
) -> Result<T, CryptoError> {
    let asker = Asker::server();
    let asked = Asked {
        operation,
        table: Some((CONTEXT_KEYSPACE, CONTEXT_TABLE)),
        key: cmk,
        context: Some(context),
        asker: &asker,
        urgency: Urgency::Request,
    };
    services.of(cmk)?.call(caller, asked, send).await.outcome
}

/// One try at the key of a folder that has one, for a tool that leaves no trace in it.
pub async fn fetch_once(
    backend: &LocalBackend,
    services: &KeyServices,
) -> Result<ServiceKey, Attempt> {
    fetch_with(backend, services, &Caller::unrecorded()).await
}

async fn fetch_with(
    backend: &LocalBackend,
    services: &KeyServices,
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
    let context = context();
    let plaintext = call(services, "Decrypt", &root.cmk, &context, caller, |kms| {
        kms.decrypt(&root.cmk, &root.wrapped, &context)
    })
    .await?;
    let key = derive(&plaintext, &root.cmk);
    root.verify(&key)
        .map_err(|error| Attempt::Hopeless(error.to_string()))?;
    Ok(ServiceKey::new(key))
}

/// The cluster id comes from this key, so it cannot go into it.
fn derive(plaintext: &Secret<32>, cmk: &CmkRef) -> TableKey {
    TableKey::derive(plaintext, ClusterId([0; 16]), SERVICE, VERSION, cmk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_that_a_link_leads_into_the_data_folder_lies_in_it() {
        let place = tempfile::tempdir().unwrap();
        let (data, other) = (place.path().join("data"), place.path().join("other"));
        for folder in [&data, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        let hidden = data.join("keyring");
        std::fs::write(&hidden, b"").unwrap();
        let link = other.join("keyring");
        std::os::unix::fs::symlink(&hidden, &link).unwrap();
        let linked_folder = place.path().join("elsewhere");
        std::os::unix::fs::symlink(&data, &linked_folder).unwrap();
        assert!(is_inside(&hidden, &data));
        assert!(is_inside(&link, &data));
        assert!(is_inside(&linked_folder.join("not there yet"), &data));
        assert!(is_inside(&hidden, &linked_folder));
        assert!(!is_inside(&other.join("not there yet"), &data));
    }
}
