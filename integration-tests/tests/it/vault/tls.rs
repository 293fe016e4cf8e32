//! Certificates: ours, theirs, and no connection without them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use palladium_integration_tests::chance::long;
use palladium_integration_tests::node::free_address;
use palladium_integration_tests::owners::vault::{Dev, ROOT};
use palladium_integration_tests::owners::write_private;
use serde_json::{Value, json};

use super::{PATIENCE, key, open, run, unavailable};

#[test]
fn certificates_are_verified_in_both_directions() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let at = |name: &str| folder.path().join(name);
    make_certificates(folder.path());
    // What this server gives is a file: a key's description.
    std::fs::create_dir_all(at("v1/transit/keys")).expect("a folder can be made");
    std::fs::write(at("v1/transit/keys/orders"), r#"{"data":{"type":"aes256-gcm96","derived":true,"supports_encryption":true,"supports_decryption":true}}"#).expect("a file");
    write_private(&at("token"), "t");
    for demands_a_certificate in [false, true] {
        let server = TlsServer::start(folder.path(), demands_a_certificate);
        run(async {
            let good = json!({"address": format!("https://localhost:{}", server.port), "token_file": at("token"), "ca_file": at("ca.pem"), "client_cert_file": at("client.pem"), "client_key_file": at("client.key")});
            let describe = async |settings: Value| {
                open(settings)
                    .await
                    .expect("the settings are good")
                    .describe(&key("orders"))
                    .await
            };
            describe(good.clone())
                .await
                .outcome
                .expect("the certificate is good");
            // By a name that is not in the certificate, from an authority that nobody named, from another authority.
            for (setting, value) in [
                (
                    "address",
                    json!(format!("https://127.0.0.1:{}", server.port)),
                ),
                ("ca_file", Value::Null),
                ("ca_file", json!(at("client.pem"))),
            ] {
                let mut bad = good.clone();
                bad[setting] = value;
                let (_, message) = unavailable(describe(bad).await);
                assert!(message.contains("certificate"), "{message}");
            }
            let mut anonymous = good.clone();
            anonymous["client_cert_file"] = Value::Null;
            anonymous["client_key_file"] = Value::Null;
            assert_eq!(
                describe(anonymous).await.outcome.is_ok(),
                !demands_a_certificate
            );
        });
    }
}

#[test]
fn certificates_that_are_renewed_count_at_the_next_call() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let earlier = tempfile::tempdir().expect("a temporary folder can be made");
    make_certificates(folder.path());
    // An authority that nobody trusts any more, and what it signed.
    make_certificates(earlier.path());
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("v1/transit/keys")).expect("a folder can be made");
    std::fs::write(at("v1/transit/keys/orders"), r#"{"data":{"type":"aes256-gcm96","derived":true,"supports_encryption":true,"supports_decryption":true}}"#).expect("a file");
    write_private(&at("token"), "t");
    let ours = tempfile::tempdir().expect("a temporary folder can be made");
    let renew = |from: &Path, name: &str| {
        // Over the file that stands there, as some do it; its mode stays.
        std::fs::copy(from.join(name), ours.path().join(name)).expect("a file can be copied");
    };
    for name in ["ca.pem", "client.pem", "client.key"] {
        renew(earlier.path(), name);
    }
    let server = TlsServer::start(folder.path(), true);
    run(async {
        let vault = open(json!({"address": format!("https://localhost:{}", server.port), "token_file": at("token"), "ca_file": ours.path().join("ca.pem"), "client_cert_file": ours.path().join("client.pem"), "client_key_file": ours.path().join("client.key")}))
            .await
            .expect("the settings are good");
        let describe = async || vault.describe(&key("orders")).await;
        let (_, message) = unavailable(describe().await);
        assert!(message.contains("certificate"), "{message}");
        renew(folder.path(), "ca.pem");
        unavailable(describe().await);
        // A certificate without its key: the client stays what it was, and the error says why.
        renew(folder.path(), "client.pem");
        let (_, message) = unavailable(describe().await);
        assert!(message.contains("renewed certificates"), "{message}");
        renew(folder.path(), "client.key");
        describe()
            .await
            .outcome
            .expect("the certificates are those of today");
    });
}

#[test]
fn a_real_vault_over_tls() {
    if !long() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let at = |name: &str| folder.path().join(name);
    make_certificates(folder.path());
    write_private(&at("token"), ROOT);
    let dev = Dev::start_tls(&at("server.pem"), &at("server.key"));
    run(async {
        let mut settings = json!({"address": format!("https://localhost:{}", dev.address().port()), "token_file": at("token"), "ca_file": at("ca.pem")});
        let vault = open(settings.clone()).await.expect("the settings are good");
        // The engine is not mounted: nothing is said of the key.
        let (_, message) = unavailable(vault.describe(&key("orders")).await);
        assert!(message.contains("no handler for route"), "{message}");
        settings["ca_file"] = Value::Null;
        let stranger = open(settings).await.expect("the settings are good");
        let (_, message) = unavailable(stranger.describe(&key("orders")).await);
        assert!(message.contains("certificate"), "{message}");
    });
}

/// An authority, a certificate of it for localhost, and one for a client.
fn make_certificates(folder: &Path) {
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=authority",
            "-days",
            "2",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ],
    );
    for (name, more) in [
        ("server", "subjectAltName=DNS:localhost"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        let [key, request, certificate, extension] =
            ["key", "csr", "pem", "ext"].map(|end| format!("{name}.{end}"));
        std::fs::write(folder.join(&extension), format!("{more}\n")).expect("a file");
        openssl(
            folder,
            &[
                "req",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                &format!("/CN={name}"),
                "-keyout",
                &key,
                "-out",
                &request,
            ],
        );
        openssl(
            folder,
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                &extension,
                "-out",
                &certificate,
            ],
        );
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `openssl s_server`, which gives the files of a folder.
struct TlsServer {
    child: Child,
    port: u16,
}

impl TlsServer {
    fn start(folder: &Path, demands_a_certificate: bool) -> TlsServer {
        let address = free_address();
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-WWW",
            "-quiet",
            "-cert",
            "server.pem",
            "-key",
            "server.key",
            "-accept",
            &address.to_string(),
        ]);
        if demands_a_certificate {
            command.args(["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"]);
        }
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let server = TlsServer {
            child,
            port: address.port(),
        };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < deadline,
                "openssl s_server does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
