//! A connection says who it is: SASL PLAIN against the hash of a role's password.
//!
//! ```text
//! token = [authorization id] 00 name 00 password
//! ```
//!
//! Hashing is slow on purpose, so it happens on the blocking pool, as many at a time as there are processors, of each client address one; and what was verified is
//! remembered, as a keyed digest in memory, until the role's hash is another one: thousands of connections of one application cost one hash. New hashes, which
//! statements ask for, have a place of their own.
//!
//! What must hold: a name that is no role costs as much as a wrong password, and is told the same.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use palladium_crypto::{Entropy, sha256};
use tokio::sync::Semaphore;
use zeroize::{Zeroize, Zeroizing};

use super::{SaltedHash, password};
use crate::audit::{Asker, Event, Standing};
use crate::database::Database;
use crate::error::{CqlError, CqlResult};

/// Roles whose password is remembered as verified; a digest takes about a hundred bytes.
const VERIFIED_MAX: usize = 10_000;
/// Addresses beyond which those that nobody waits at are forgotten.
const ADDRESSES_SWEPT: usize = 1_024;
/// Bytes of a token: a name and a password.
pub const TOKEN_BYTES_MAX: usize = 32 << 10;

/// What logins share.
pub struct Logins {
    /// Hashes that are compared at a time.
    places: Arc<Semaphore>,
    /// Hashes that statements make at a time.
    making: Arc<Semaphore>,
    /// One place for each address that somebody logs in from.
    addresses: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    verified: Mutex<HashMap<String, Verified>>,
    /// Digests of passwords mean nothing beyond this process.
    digest_key: Zeroizing<[u8; 32]>,
    /// What is verified where there is no role or no password.
    decoy: SaltedHash,
}

/// A password that opened this hash.
struct Verified {
    hash: SaltedHash,
    digest: [u8; 32],
}

impl Logins {
    /// Nobody has logged in, and nobody will where `authenticates` is false. Hashes take 2^`rounds` steps.
    pub fn new(entropy: &dyn Entropy, rounds: u32, authenticates: bool) -> Self {
        let mut digest_key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *digest_key);
        let places = std::thread::available_parallelism().map_or(2, usize::from);
        let decoy = authenticates.then(|| {
            let nobody = password::generate(entropy);
            password::hash(&nobody, rounds, password::salt(entropy))
        });
        Logins {
            places: Arc::new(Semaphore::new(places)),
            making: Arc::new(Semaphore::new(1)),
            addresses: Mutex::default(),
            verified: Mutex::new(HashMap::new()),
            digest_key,
            decoy: decoy
                .and_then(Result::ok)
                .unwrap_or_else(|| SaltedHash(String::new())),
        }
    }

    /// Makes a hash for a statement, when its turn comes. The place is taken until the work is over, even if nobody waits for it any more.
    pub async fn make<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> CqlResult<T> {
        let place = self.making.clone().acquire_owned().await;
        hashing(place.ok(), work).await
    }

    /// Whether it is the role's password; None stands for a role that has none or is none.
    async fn is_password(
        &self,
        name: &str,
        hash: Option<SaltedHash>,
        password: Zeroizing<String>,
        client: IpAddr,
    ) -> CqlResult<bool> {
        let digest = sha256(&[&*self.digest_key, password.as_bytes()]);
        let was_verified = || {
            let hash = hash.as_ref();
            hash.is_some_and(|hash| self.was_verified(name, hash, &digest))
        };
        if was_verified() {
            return Ok(true);
        }
        let turn = self.place_of(client).acquire_owned().await.ok();
        // Another connection of the same application was before this one.
        if was_verified() {
            return Ok(true);
        }
        let place = self.places.clone().acquire_owned().await.ok();
        let tried = hash.clone().unwrap_or_else(|| self.decoy.clone());
        let fits = hashing((turn, place), move || password::verify(&password, &tried)).await?;
        match hash.filter(|_| fits) {
            Some(hash) => {
                self.remember(name, Verified { hash, digest });
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The place of an address; of IPv6 the networks that one host may have are one. Those that nobody waits at are forgotten when there are many.
    fn place_of(&self, client: IpAddr) -> Arc<Semaphore> {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= ADDRESSES_SWEPT {
            addresses.retain(|_, place| Arc::strong_count(place) > 1);
        }
        let client = match client.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
            address => address,
        };
        let place = addresses.entry(client);
        place.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
    }

    fn was_verified(&self, name: &str, hash: &SaltedHash, digest: &[u8; 32]) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified
            .get(name)
            .is_some_and(|known| known.hash == *hash && known.digest == *digest)
    }

    fn remember(&self, name: &str, known: Verified) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(name.to_owned(), known);
    }
}

/// Slow work, on the blocking pool. What is held is let go when it is over.
async fn hashing<T: Send + 'static>(
    held: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> CqlResult<T> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(held);
        done
    });
    done.await
        .map_err(|_| CqlError::server("The password could not be checked"))
}

/// A name and a password.
struct Credentials {
    name: String,
    password: Zeroizing<String>,
}

impl Credentials {
    fn read(token: &[u8]) -> CqlResult<Credentials> {
        let wrong = |message: &str| Err(CqlError::bad_credentials(message));
        if token.len() > TOKEN_BYTES_MAX {
            return wrong("Credentials are too long");
        }
        let mut parts = token.rsplitn(4, |byte| *byte == 0);
        let (password, name) = (parts.next(), parts.next());
        let (_authorization, rest) = (parts.next(), parts.next());
        if rest.is_some() {
            return wrong(
                "Credential format is invalid: username or password is empty or contains NUL(\\0) character",
            );
        }
        let password = match (password, name) {
            (Some(password), Some(_)) if !password.is_empty() => password,
            _ => return wrong("Password must not be null"),
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return wrong("Authentication ID must not be null");
        };
        Ok(Credentials {
            name: String::from_utf8_lossy(name).into_owned(),
            password: Zeroizing::new(String::from_utf8_lossy(password).into_owned()),
        })
    }
}

/// Who a connection is from now on, by the token of its AUTH_RESPONSE. Recorded, whatever comes of it, and also if the client hangs up before anything does: whoever
/// tries passwords leaves a trace of each.
pub async fn log_in(
    database: &Arc<Database>,
    mut token: Vec<u8>,
    client: SocketAddr,
) -> CqlResult<Asker> {
    let begun = database.trail.now_micros();
    let credentials = Credentials::read(&token);
    token.zeroize();
    let credentials = credentials?;
    let name: Arc<str> = credentials.name.as_str().into();
    let authority = &database.authority;
    // The number that the role has now: whoever is called the same later is somebody else.
    let known = authority.logging_in(&name);
    let role = known.as_ref().map(|(role, _)| role);
    let mut attempt = Attempt {
        database,
        begun,
        // A name that is no role's may be a password that was typed into the wrong field.
        who: match role.is_some() {
            true => name.clone(),
            false => "unknown role".into(),
        },
        client,
        is_over: false,
    };
    let hash = role.and_then(|role| role.salted_hash.clone());
    let fits = authority
        .logins
        .is_password(&name, hash, credentials.password, client.ip())
        .await?;
    attempt.is_over = true;
    let outcome = match known.as_ref().filter(|_| fits) {
        None => Err(CqlError::bad_credentials(format!(
            "Provided username {name} and/or password are incorrect"
        ))),
        Some((role, _)) if !role.can_login => Err(CqlError::bad_credentials(format!(
            "{name} is not permitted to log in"
        ))),
        Some((_, number)) => Ok(*number),
    };
    let event = attempt.event(match outcome.is_ok() {
        true => Ok(()),
        false => Err("AccessDenied: wrong credentials, or a role that may not log in"),
    });
    database.audit.record(event).await;
    Ok(Asker {
        standing: Standing::Role(outcome?),
        who: name,
        client: Some(client),
    })
}

/// A login under way.
struct Attempt<'a> {
    database: &'a Arc<Database>,
    begun: i64,
    who: Arc<str>,
    client: SocketAddr,
    is_over: bool,
}

impl Attempt<'_> {
    fn event(&self, outcome: Result<(), &str>) -> Event {
        let now = self.database.trail.now_micros();
        let latency = u64::try_from(now.saturating_sub(self.begun)).unwrap_or_default();
        Event {
            outcome: outcome.map_err(str::to_owned),
            latency: std::time::Duration::from_micros(latency),
            asker: Asker {
                standing: Standing::Anonymous,
                who: self.who.clone(),
                client: Some(self.client),
            },
            ..Event::of_server("LOGIN", self.begun)
        }
    }
}

impl Drop for Attempt<'_> {
    /// The client hung up before it was answered.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let event = self.event(Err("Abandoned: the client left before it was answered"));
        let database = self.database.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { database.audit.record(event).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use palladium_crypto::SeededEntropy;

    use super::*;

    fn read(token: &[u8]) -> Result<(String, String), String> {
        Credentials::read(token)
            .map(|read| (read.name, read.password.to_string()))
            .map_err(|error| error.message)
    }

    #[test]
    fn a_token_is_a_name_and_a_password() {
        let bob = Ok(("bob".to_owned(), "secret".to_owned()));
        assert_eq!(read(b"\0bob\0secret"), bob);
        assert_eq!(read(b"other\0bob\0secret"), bob);
        for (token, error) in [
            (&b""[..], "Password must not be null"),
            (b"bob", "Password must not be null"),
            (b"\0bob\0", "Password must not be null"),
            (b"\0\0secret", "Authentication ID must not be null"),
        ] {
            assert_eq!(read(token), Err(error.to_owned()), "{token:?}");
        }
        assert!(read(b"a\0b\0c\0d").unwrap_err().contains("NUL"));
    }

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    #[tokio::test]
    async fn a_crowd_at_one_address_keeps_nobody_else_waiting() {
        let entropy = SeededEntropy::new(2);
        let logins = Logins::new(&entropy, 4, true);
        let hash = password::hash("secret", 4, password::salt(&entropy)).unwrap();
        let crowd = logins.place_of(address(1)).acquire_owned().await.unwrap();
        let log_in = |number| {
            let password = Zeroizing::new("secret".to_owned());
            logins.is_password("bob", Some(hash.clone()), password, address(number))
        };
        let mut behind_it = std::pin::pin!(log_in(1));
        assert!(futures::poll!(behind_it.as_mut()).is_pending());
        assert!(log_in(2).await.unwrap());
        // What was verified meanwhile is not hashed again, which there would be no place for.
        let places = logins.places.available_permits() as u32;
        let _all = logins.places.acquire_many(places).await.unwrap();
        drop(crowd);
        let patience = std::time::Duration::from_secs(60);
        let known = tokio::time::timeout(patience, behind_it).await;
        assert!(known.expect("it needs no place").unwrap());
    }

    #[tokio::test]
    async fn a_verified_password_is_remembered_until_the_hash_is_another_one() {
        let entropy = SeededEntropy::new(1);
        let logins = Logins::new(&entropy, 4, true);
        let hash = |text: &str| password::hash(text, 4, password::salt(&entropy)).unwrap();
        let (first, second) = (hash("secret"), hash("changed"));
        let fits = async |hash: Option<&SaltedHash>, text: &str| {
            let password = Zeroizing::new(text.to_owned());
            logins
                .is_password("bob", hash.cloned(), password, address(1))
                .await
                .unwrap()
        };
        assert!(fits(Some(&first), "secret").await);
        let digest = sha256(&[&*logins.digest_key, b"secret"]);
        assert!(logins.was_verified("bob", &first, &digest));
        assert!(!logins.was_verified("bob", &second, &digest));
        assert!(!fits(Some(&first), "wrong").await);
        assert!(!fits(Some(&second), "secret").await);
        assert!(!fits(None, "secret").await);
    }
}
