//! Sockets: one task for each connection, many streams inside it.
//!
//! A connection reads all there is in its socket, begins every request of it, hands all their writes to the engine as one batch, and sends all answers that are
//! ready in one write. What must wait (a disk, a latch, a key service) waits beside the others; answers leave in the order in which they are ready.
//!
//! Bounds: connections at a time, requests under way on each, bytes of a request, bytes of answers that wait for their reader, bytes of all of this together.
//! Past the first a client is told Overloaded and closed. Past the second and fourth its socket is not read until answers have left; a client that asks for it
//! (THROW_ON_OVERLOAD, as Cassandra has it) is told Overloaded past the second. Past the last every request is told Overloaded
//! whose connection holds more than little. A socket that takes nothing is closed after a while, and at once when the rows that wait for it may not be shown any more.

mod clients;
mod connection;
mod handshake;
mod in_flight;
mod listener;
mod scrape;

pub use clients::Clients;
pub use in_flight::{InFlight, Share};
pub use listener::Listener;
pub use scrape::Scrapes;

/// Ready once the server stops. Never, if nobody can say so any more.
async fn told_to_stop(stopping: &mut tokio::sync::watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
