//! Accepts connections, up to a bound, and ends them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::told_to_stop;
use crate::complaint::Complaint;
use crate::database::Database;
use crate::descriptors;

/// Connections too many that are told so at a time; those beyond are just closed.
const REFUSALS_MAX: usize = 256;
/// Before the next try, when a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An open port.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Opens the port.
    pub async fn bind(address: SocketAddr) -> Result<Self, String> {
        let socket = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let address = socket.local_addr().map_err(|error| error.to_string())?;
        Ok(Listener { socket, address })
    }

    /// Where it listens: the port, if the setting asked for any.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stopping` turns true, then waits until each connection has answered what it had begun.
    pub async fn serve(self, database: Arc<Database>, stopping: watch::Receiver<bool>) {
        let mut told = stopping.clone();
        let granted = descriptors::Places::granted(descriptors::Places {
            connections: database.config.connections_max,
            refusals: REFUSALS_MAX,
        });
        let mut trouble = Complaint::default();
        let places = Arc::new(Semaphore::new(granted.connections));
        let refusals = Arc::new(Semaphore::new(granted.refusals));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, peer)) => {
                        let Ok(place) = places.clone().try_acquire_owned() else {
                            database.instruments.count_refused();
                            if let Ok(place) = refusals.clone().try_acquire_owned() {
                                connections.spawn(async move {
                                    Connection::refuse(socket).await;
                                    drop(place);
                                });
                            }
                            continue;
                        };
                        let connection = Connection::new(socket_without_delay(socket), peer, database.clone(), stopping.clone());
                        connections.spawn(async move {
                            connection.serve().await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        // Out of file descriptors, in spite of the reserve: whoever needs a file is refused as well until one is closed.
                        if trouble.is_due(Instant::now()) {
                            tracing::warn!(%error, "cannot accept a connection");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = told_to_stop(&mut told) => break,
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }
}

fn socket_without_delay(socket: TcpStream) -> TcpStream {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "the socket keeps its delay");
    }
    socket
}
