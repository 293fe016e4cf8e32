//! fakecloud's AWS KMS as a server of its own: `palladium-fakecloud PORT` serves it on 127.0.0.1:PORT until it is killed.
//!
//! It checks what depends on a key's state, on the encryption context and on aliases. It does not check who asks: policies, grants and credentials are
//! ignored; those are shown against the simulated AWS KMS in `integration-tests/src/owners`. Keys live in memory and die with the process.
//!
//! This crate stands outside the workspace, because what it links is AGPL: a test program, never a part of what is shipped. `../install fakecloud` builds it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::{Extension, Router};
use fakecloud_core::dispatch::{DispatchConfig, dispatch};
use fakecloud_core::multi_account::MultiAccountState;
use fakecloud_core::registry::ServiceRegistry;
use fakecloud_kms::{KmsService, KmsState};
use parking_lot::RwLock;

/// The account that all keys belong to; only the digits matter.
const ACCOUNT: &str = "123456789012";
/// The region in the ARNs of new keys.
const REGION: &str = "us-east-1";

#[tokio::main]
async fn main() -> ExitCode {
    let Some(port) = std::env::args().nth(1).and_then(|text| text.parse().ok()) else {
        eprintln!("usage: palladium-fakecloud PORT");
        return ExitCode::FAILURE;
    };
    match serve(port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("palladium-fakecloud: port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(port: u16) -> std::io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let state = MultiAccountState::<KmsState>::new(ACCOUNT, REGION, &format!("http://{address}"));
    let mut registry = ServiceRegistry::new();
    registry.register(Arc::new(KmsService::new(Arc::new(RwLock::new(state)))));
    let app = Router::new()
        .fallback(dispatch)
        .layer(Extension(Arc::new(registry)))
        .layer(Extension(Arc::new(DispatchConfig::new(REGION, ACCOUNT))));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(
        listener,
        app.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await
}
