//! What a connection has settled: version, keyspace, user, and how far the handshake is.

use std::net::SocketAddr;
use std::sync::Arc;

use palladium_protocol::request::EventType;
use palladium_protocol::wire::Version;

use crate::audit::Asker;
use crate::instruments::Asked;
use crate::query::prepared::Statement;

/// The state of one connection, as requests see it.
#[derive(Debug)]
pub struct Session {
    /// The version of STARTUP.
    pub version: Version,
    /// What USE chose.
    pub keyspace: Option<Arc<str>>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Past its bound of requests it wants to be told Overloaded; others find their socket unread until answers have left.
    pub wants_overloaded: bool,
    /// The snapshot of roles under which it was last found that this role may be here.
    pub admitted: u64,
    /// Whether he was a superuser then. Nobody is while nobody logs in.
    pub is_superuser: bool,
    /// What the request that is being begun asks for: set on its way, read when it was begun.
    pub asked: Asked,
    /// Its statement, if it came as text.
    pub text: Option<Arc<Statement>>,
    asker: Asker,
    is_shown_out: bool,
    phase: Phase,
    registered: Registered,
}

/// The handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing but OPTIONS and STARTUP.
    Fresh,
    /// STARTUP was answered with AUTHENTICATE; AUTH_RESPONSE is expected.
    Authenticating,
    /// AUTH_RESPONSE came; nothing more is until it is answered.
    LoggingIn,
    /// Everything.
    Ready,
}

#[derive(Debug, Default)]
struct Registered {
    topology: bool,
    status: bool,
    schema: bool,
}

impl Session {
    /// A connection that has said nothing yet.
    pub fn new(peer: SocketAddr) -> Self {
        Session {
            version: Version::MAX,
            keyspace: None,
            peer,
            wants_overloaded: false,
            admitted: 0,
            is_superuser: false,
            asked: Asked::default(),
            text: None,
            asker: Asker::anonymous(peer),
            is_shown_out: false,
            phase: Phase::Fresh,
            registered: Registered::default(),
        }
    }

    /// Who asks for what this connection asks for; `anonymous` while roles are off.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Whether anything but the handshake is answered: STARTUP has been answered with READY, or AUTH_RESPONSE with AUTH_SUCCESS.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// STARTUP came in `version` and was accepted.
    pub fn start(&mut self, version: Version) {
        self.version = version;
        self.phase = Phase::Ready;
    }

    /// Whether STARTUP has been answered.
    pub fn is_started(&self) -> bool {
        self.phase != Phase::Fresh
    }

    /// STARTUP came in `version` and was accepted, but for who it is.
    pub fn start_authenticating(&mut self, version: Version) {
        self.version = version;
        self.phase = Phase::Authenticating;
    }

    /// An AUTH_RESPONSE came. Says whether it was expected.
    pub fn begin_login(&mut self) -> bool {
        let is_expected = self.phase == Phase::Authenticating;
        if is_expected {
            self.phase = Phase::LoggingIn;
        }
        is_expected
    }

    /// Whether an AUTH_RESPONSE waits for its answer.
    pub fn is_logging_in(&self) -> bool {
        self.phase == Phase::LoggingIn
    }

    /// A login has succeeded.
    pub fn log_in(&mut self, asker: Asker) {
        self.asker = asker;
        self.phase = Phase::Ready;
    }

    /// Its role is gone, or may not be here any more: the connection ends with its answer.
    pub fn show_out(&mut self) {
        self.is_shown_out = true;
    }

    /// Whether the connection is to end.
    pub fn is_shown_out(&self) -> bool {
        self.is_shown_out
    }

    /// The client wants to hear of these.
    pub fn register(&mut self, event: EventType) {
        match event {
            EventType::TopologyChange => self.registered.topology = true,
            EventType::StatusChange => self.registered.status = true,
            EventType::SchemaChange => self.registered.schema = true,
        }
    }

    /// Whether schema changes are pushed to this client.
    pub fn hears_schema_changes(&self) -> bool {
        self.registered.schema
    }
}
