//! Whoever supervises the process: the signals with which it is asked to end, and where it says that it is ready.
//!
//! TERM, INT, HUP and QUIT end it in order: none of them is a reason to leave the log without its end. A HUP that the process was started to
//! ignore (`nohup`) stays ignored.
//!
//! systemd's `Type=notify`: one datagram to the socket that `NOTIFY_SOCKET` names, `READY=1` when the port is open, `STOPPING=1` when it closes.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use futures::FutureExt;
use futures::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The signals that end the process.
pub struct Ending(Vec<Signal>);

impl Ending {
    /// Listens to them from now on.
    pub fn listen() -> io::Result<Ending> {
        let mut kinds = vec![
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::quit(),
        ];
        if !ignores(SignalKind::hangup()) {
            kinds.push(SignalKind::hangup());
        }
        let signals = kinds.into_iter().map(signal);
        Ok(Ending(signals.collect::<io::Result<_>>()?))
    }

    /// Waits for one of them.
    pub async fn asked(&mut self) {
        select_all(self.0.iter_mut().map(|signal| signal.recv().boxed())).await;
    }
}

/// Whether this process was started to ignore a signal. The kernel tells of signal n in bit n - 1.
fn ignores(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    ignored.unwrap_or(0) & (1 << (kind.as_raw_value() - 1)) != 0
}

/// Tells the supervisor, if there is one that wants to know.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os(NOTIFY_SOCKET).filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "the supervisor cannot be told (NOTIFY_SOCKET)");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}
