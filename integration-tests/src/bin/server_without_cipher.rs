//! The server, without its cipher: what the benchmark holds `palladium` against to learn what encryption costs. Nothing that it writes is secret.
//!
//! It exists only under the feature `without-cipher`, which swaps the cipher for a copy in the whole build; `palladium` itself does not compile then.
//!
//! ```text
//! cargo build --release -p palladium-integration-tests --features without-cipher --bin server_without_cipher
//! target/release/bench --palladium target/release/palladium --without-cipher target/release/server_without_cipher
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use palladium::wiping::WipingAllocator;
use palladium::{config, server};

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

const _: () = assert!(
    !palladium_crypto::CIPHER_IS_REAL,
    "this is the server without a cipher"
);

/// The options of `palladium` that a benchmark needs.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long)]
    keyring: Option<PathBuf>,
    #[arg(long)]
    listen: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let flags = config::flags(arguments.data, arguments.keyring, arguments.listen);
    let ended = config::load(arguments.config.as_deref(), std::env::vars(), flags)
        .map_err(|error| error.to_string())
        .and_then(|config| {
            server::accept_no_cipher();
            server::run(config)
        });
    ended.unwrap_or_else(|error| {
        eprintln!("server_without_cipher: {error}");
        ExitCode::from(2)
    })
}
