//! Who is connected, and what each has asked for: `system_views.clients` and the counts of `cql_metrics`.
//!
//! What must hold: a connection counts for itself and tells once for each read of its socket, with plain stores that nobody else writes; only coming, going
//! and whoever looks take the lock.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use palladium_protocol::request::{Request, Startup};
use palladium_protocol::wire::Version;

use crate::session::Session;

/// Options of STARTUP that are kept of a client, and bytes of each: a client may send what it likes.
const OPTIONS_MAX: usize = 32;
const OPTION_BYTES_MAX: usize = 256;

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    connected: Mutex<HashMap<u64, Arc<Client>>>,
    numbers: AtomicU64,
    /// What those asked for who have gone.
    gone: Counts,
}

/// Requests by what they were.
#[derive(Debug, Default)]
pub struct Counts {
    requests: AtomicU64,
    prepared: AtomicU64,
    regular: AtomicU64,
    under_way: AtomicU64,
}

/// Counts at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub requests: u64,
    /// Prepared statements that were executed.
    pub prepared: u64,
    /// Statements that came as text.
    pub regular: u64,
    /// Requests that were begun and are not answered yet.
    pub under_way: u64,
}

/// One connection, as others see it.
#[derive(Debug)]
pub struct Client {
    pub peer: SocketAddr,
    /// Once STARTUP was accepted.
    started: OnceLock<(Version, BTreeMap<String, String>)>,
    told: Mutex<Told>,
    counts: Counts,
}

/// What may change while a client is connected.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Told {
    pub keyspace: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub is_ready: bool,
}

/// A client's place among them, as its connection holds it; gone when dropped.
pub struct Place {
    clients: Arc<Clients>,
    number: u64,
    client: Arc<Client>,
    counted: Counted,
    told: Told,
}

impl Counts {
    fn store(&self, counted: Counted) {
        self.requests.store(counted.requests, Ordering::Relaxed);
        self.prepared.store(counted.prepared, Ordering::Relaxed);
        self.regular.store(counted.regular, Ordering::Relaxed);
        self.under_way.store(counted.under_way, Ordering::Relaxed);
    }

    fn add(&self, counted: Counted) {
        self.requests.fetch_add(counted.requests, Ordering::Relaxed);
        self.prepared.fetch_add(counted.prepared, Ordering::Relaxed);
        self.regular.fetch_add(counted.regular, Ordering::Relaxed);
    }

    fn load(&self) -> Counted {
        Counted {
            requests: self.requests.load(Ordering::Relaxed),
            prepared: self.prepared.load(Ordering::Relaxed),
            regular: self.regular.load(Ordering::Relaxed),
            under_way: self.under_way.load(Ordering::Relaxed),
        }
    }
}

impl Clients {
    /// Somebody has connected.
    pub fn enter(self: &Arc<Self>, peer: SocketAddr) -> Place {
        let client = Arc::new(Client {
            peer,
            started: OnceLock::new(),
            told: Mutex::default(),
            counts: Counts::default(),
        });
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.connected().insert(number, client.clone());
        Place {
            clients: self.clone(),
            number,
            client,
            counted: Counted::default(),
            told: Told::default(),
        }
    }

    fn connected(&self) -> MutexGuard<'_, HashMap<u64, Arc<Client>>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who are connected now.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.connected().values().cloned().collect()
    }

    /// Connections that are open, and those that were accepted since the start.
    pub fn connections(&self) -> (usize, u64) {
        (self.connected().len(), self.numbers.load(Ordering::Relaxed))
    }

    /// What was asked since the start.
    pub fn counted(&self) -> Counted {
        let mut all = self.gone.load();
        for client in self.all() {
            let own = client.counts.load();
            all.requests += own.requests;
            all.prepared += own.prepared;
            all.regular += own.regular;
            all.under_way += own.under_way;
        }
        all
    }
}

impl Client {
    /// The version that it speaks and what STARTUP said, once it has.
    pub fn started(&self) -> Option<&(Version, BTreeMap<String, String>)> {
        self.started.get()
    }

    /// What it has told since.
    pub fn told(&self) -> Told {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Requests that were begun.
    pub fn requests(&self) -> u64 {
        self.counts.load().requests
    }
}

impl Place {
    /// Counts a request that is about to be begun.
    #[inline]
    pub fn count(&mut self, request: &Request<'_>) {
        self.counted.requests += 1;
        match request {
            Request::Execute(_) => self.counted.prepared += 1,
            Request::Query(_) => self.counted.regular += 1,
            _ => {}
        }
    }

    /// STARTUP was accepted.
    pub fn started(&self, version: Version, startup: &Startup<'_>) {
        let options = startup
            .options
            .iter()
            .take(OPTIONS_MAX)
            .map(|(name, value)| (short(name), short(value)))
            .collect();
        // A second STARTUP is refused elsewhere.
        let _ = self.client.started.set((version, options));
    }

    /// Tells what was counted, how much is under way, and what of the session has changed.
    pub fn tell(&mut self, session: &Session, under_way: usize) {
        self.counted.under_way = under_way as u64;
        self.client.counts.store(self.counted);
        let is_same = |told: &Option<Arc<str>>, now: Option<&Arc<str>>| match (told, now) {
            (Some(told), Some(now)) => Arc::ptr_eq(told, now),
            (None, None) => true,
            _ => false,
        };
        let user = &session.asker().who;
        if self.told.is_ready == session.is_ready()
            && is_same(&self.told.keyspace, session.keyspace.as_ref())
            && is_same(&self.told.user, Some(user))
        {
            return;
        }
        self.told = Told {
            keyspace: session.keyspace.clone(),
            user: Some(user.clone()),
            is_ready: session.is_ready(),
        };
        let mut told = self
            .client
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *told = self.told.clone();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.connected().remove(&self.number);
        self.clients.gone.add(self.counted);
    }
}

fn short(text: &str) -> String {
    let end = (0..=OPTION_BYTES_MAX.min(text.len())).rev();
    let end = { end }.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_leaves_is_listed_no_more_and_its_requests_still_count() {
        let clients = Arc::new(Clients::default());
        let peer = ([127, 0, 0, 1], 7).into();
        let (mut one, other) = (clients.enter(peer), clients.enter(peer));
        one.count(&Request::Options);
        one.count(&Request::Options);
        one.tell(&Session::new(peer), 1);
        assert_eq!((clients.all().len(), clients.counted().requests), (2, 2));
        assert_eq!(clients.counted().under_way, 1);
        drop(one);
        assert_eq!((clients.all().len(), clients.counted().requests), (1, 2));
        assert_eq!(clients.counted().under_way, 0);
        drop(other);
        assert_eq!(clients.all().len(), 0);
    }
}
