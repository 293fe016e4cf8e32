//! What can be wrong with a peer's bytes, named for what the server does next.
//!
//! - `ProtocolError::Reject`: answer with an ERROR on that stream and go on; the decoder is still in step with the peer.
//! - `ProtocolError::Close`: answer likewise, then close; where the next message begins is no longer known.
//! - `Malformed`: a message body does not parse. `Request::decode` turns it into a `Reject` that knows its stream.
//!
//! No message quotes a bound value, a literal or a statement: these texts reach logs.

use std::borrow::Cow;

use crate::wire::version::Version;

/// The error codes of ERROR messages, with the numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    ServerError = 0x0000,
    ProtocolError = 0x000A,
    BadCredentials = 0x0100,
    Unavailable = 0x1000,
    Overloaded = 0x1001,
    IsBootstrapping = 0x1002,
    TruncateError = 0x1003,
    WriteTimeout = 0x1100,
    ReadTimeout = 0x1200,
    ReadFailure = 0x1300,
    FunctionFailure = 0x1400,
    WriteFailure = 0x1500,
    CdcWriteFailure = 0x1600,
    CasWriteUnknown = 0x1700,
    SyntaxError = 0x2000,
    Unauthorized = 0x2100,
    Invalid = 0x2200,
    ConfigError = 0x2300,
    AlreadyExists = 0x2400,
    Unprepared = 0x2500,
}

/// A version byte to answer in. Versions 1 and 2 are answered in kind (their header is one byte shorter), so that an
/// ancient driver can read why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerIn {
    Version(Version),
    /// 1 or 2.
    Old(u8),
}

/// What to tell the peer, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub stream: i16,
    pub answer_in: AnswerIn,
    pub code: ErrorCode,
    pub message: Cow<'static, str>,
}

/// A frame or a message that this server does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Answer and go on with the next frame.
    #[error("{}", .0.message)]
    Reject(Complaint),
    /// Answer, then close the connection.
    #[error("{}", .0.message)]
    Close(Complaint),
}

impl ProtocolError {
    pub fn complaint(&self) -> &Complaint {
        match self {
            Self::Reject(complaint) | Self::Close(complaint) => complaint,
        }
    }

    pub fn must_close(&self) -> bool {
        matches!(self, Self::Close(_))
    }
}

/// A message body that does not parse; the text is what the client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub Cow<'static, str>);

impl Malformed {
    pub const fn of(message: &'static str) -> Self {
        Self(Cow::Borrowed(message))
    }
}

impl From<String> for Malformed {
    fn from(message: String) -> Self {
        Self(Cow::Owned(message))
    }
}
