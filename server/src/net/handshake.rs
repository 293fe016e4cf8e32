//! OPTIONS, STARTUP, AUTH_RESPONSE, REGISTER: what a connection says before and beside its queries.

use palladium_protocol::request::{Request, Startup};
use palladium_protocol::response::Supported;
use palladium_protocol::wire::segment::SegmentFormat;
use palladium_protocol::wire::{Compression, Decoder, Encoder, Frame, Version};

use crate::auth::AUTHENTICATOR_CLASS;
use crate::error::CqlError;
use crate::permissions::Authority;
use crate::query::Response;
use crate::session::Session;

/// The CQL that is spoken.
pub const CQL_VERSION: &str = "3.4.7";

/// How a message of the handshake is answered.
pub(super) enum Greeting {
    /// Answer; nothing changes.
    Answer(Response),
    /// READY, and from then on events.
    Register,
    /// READY or AUTHENTICATE, and from then on in this form.
    Start {
        answer: Response,
        version: Version,
        compression: Option<Compression>,
    },
    /// Find out who it is.
    Login(Vec<u8>),
    /// Answer, then close.
    Close(Response),
}

/// The answer to a message of the handshake; None for a query, which is then allowed.
pub(super) fn greet(
    authority: &Authority,
    session: &mut Session,
    frame: &Frame,
    request: &Request<'_>,
) -> Option<Greeting> {
    if !session.is_started() {
        session.version = frame.version;
    }
    match request {
        Request::Options => Some(Greeting::Answer(Response::Supported(supported()))),
        Request::Startup(startup) => Some(start(authority, session, frame.version, startup)),
        Request::AuthResponse(_) if !authority.authenticates() => Some(refuse(
            "Unexpected message AUTH_RESPONSE: no authentication is required",
        )),
        Request::AuthResponse(response) => Some(match session.begin_login() {
            true => Greeting::Login(response.token.unwrap_or_default().to_vec()),
            false => refuse("Unexpected message AUTH_RESPONSE"),
        }),
        _ if session.is_started() && !session.is_ready() => Some(refuse(&format!(
            "Unexpected message {}, expecting SASL_RESPONSE",
            frame.opcode
        ))),
        _ if !session.is_ready() => Some(refuse(&format!(
            "Unexpected message {}, expecting STARTUP or OPTIONS",
            frame.opcode
        ))),
        Request::Register(register) => {
            for event in register.events() {
                session.register(event);
            }
            Some(Greeting::Register)
        }
        _ => None,
    }
}

fn start(
    authority: &Authority,
    session: &mut Session,
    version: Version,
    startup: &Startup<'_>,
) -> Greeting {
    if session.is_started() {
        return refuse("Unexpected message STARTUP: the connection is ready");
    }
    // Who is refused may try again.
    let again = |message: &str| Greeting::Answer(CqlError::protocol(message).into());
    let Some(wanted) = startup.cql_version() else {
        return again("Missing value CQL_VERSION in STARTUP message");
    };
    match major(wanted) {
        Some(3..) => {}
        Some(_) => {
            return again(&format!(
                "CQL version {wanted} is not supported by the binary protocol (supported version are >= 3.0.0)"
            ));
        }
        None => return again(&format!("Invalid version value: {wanted}")),
    }
    let compression = match startup.compression(version) {
        Ok(compression) => compression,
        Err(malformed) => return again(&malformed.to_string()),
    };
    let answer = match authority.authenticates() {
        true => {
            session.start_authenticating(version);
            Response::Authenticate(AUTHENTICATOR_CLASS.into())
        }
        false => {
            session.start(version);
            Response::Ready
        }
    };
    session.wants_overloaded = startup.options.get("THROW_ON_OVERLOAD") == Some("1");
    Greeting::Start {
        answer,
        version,
        compression,
    }
}

/// The first number of a version: `3.4.7`, `3.4`, `3.4.7.1`, each perhaps with what it is a first sight of, `-beta1`, or a build of, `+1`. None: it is no version.
fn major(version: &str) -> Option<u32> {
    let (numbers, rest) = match version.find(['-', '+']) {
        Some(at) => (&version[..at], Some(&version[at + 1..])),
        None => (version, None),
    };
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    if rest.is_some_and(|rest| rest.is_empty() || !rest.bytes().all(is_of_name)) {
        return None;
    }
    let digits = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    };
    let numbers: Option<Vec<u32>> = numbers.split('.').map(digits).collect();
    match numbers?.as_slice() {
        all @ [major, ..] if (2..=4).contains(&all.len()) => Some(*major),
        _ => None,
    }
}

fn refuse(message: &str) -> Greeting {
    Greeting::Close(CqlError::protocol(message).into())
}

fn supported() -> Supported {
    let versions = Version::ALL.map(|version| format!("{0}/v{0}", version.number()));
    Supported {
        options: vec![
            ("COMPRESSION".into(), vec!["snappy".into(), "lz4".into()]),
            ("CQL_VERSION".into(), vec![CQL_VERSION.into()]),
            ("PROTOCOL_VERSIONS".into(), versions.to_vec()),
        ],
    }
}

/// After READY or AUTHENTICATE has been written: how both directions travel from now on.
pub(super) fn apply(
    version: Version,
    compression: Option<Compression>,
    decoder: &mut Decoder,
    encoder: &mut Encoder,
) {
    if version >= Version::V5 {
        let format = match compression {
            Some(_) => SegmentFormat::Lz4,
            None => SegmentFormat::Plain,
        };
        decoder.use_segments(format);
        encoder.use_segments(format);
    } else {
        decoder.use_compression(compression);
        encoder.use_compression(compression);
    }
}
