//! The owner of keys in fakecloud's AWS KMS, a program of its own (`integration-tests/fakecloud`), which knows the states of keys.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::Message;
use super::{Owner, install};
use crate::node::{Node, free_address};
use crate::system;

const START_LIMIT: Duration = Duration::from_secs(30);
const CREDENTIALS: &str = "[server]\naws_access_key_id = test\naws_secret_access_key = test\n";

/// The program, and who may do everything in it.
pub struct Fakecloud {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Fakecloud {
    /// Starts it without a key.
    pub fn start() -> Fakecloud {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("credentials"), CREDENTIALS)
            .expect("a file can be written");
        let address = free_address();
        let child = Command::new(install("fakecloud").join("palladium-fakecloud"))
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("fakecloud can be started");
        let owner = Fakecloud {
            child,
            address,
            folder,
        };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "fakecloud does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        owner
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The settings `[kms.aws]` as a table.
    pub fn table(&self) -> Value {
        json!({
            "endpoint": format!("http://{}", self.address),
            "profile": "server",
            "credentials_file": self.folder.path().join("credentials"),
        })
    }

    /// One call to KMS, as the owner; must succeed.
    pub fn call(&self, region: &str, operation: &str, body: &Value) -> Value {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/kms/aws4_request, SignedHeaders=host, Signature=0"
        );
        let target = format!("TrentService.{operation}");
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &target),
            ("authorization", &scope),
            ("connection", "close"),
        ];
        let answer = Message::post(&headers, body.to_string().as_bytes())
            .send(self.address)
            .expect("fakecloud answers");
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status(), 200, "{operation} {body}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Makes a key, and gives its ARN.
    pub fn new_key(&self, region: &str) -> String {
        let made = self.call(region, "CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"]
            .as_str()
            .expect("a key has an ARN")
            .to_owned()
    }

    fn on(&self, operation: &str, key: &str) {
        let region = key.split(':').nth(3).expect("an ARN has a region");
        self.call(region, operation, &json!({ "KeyId": key }));
    }
}

impl Owner for Fakecloud {
    fn settings(&self) -> String {
        format!(
            "[kms.aws]\nendpoint = \"http://{}\"\nprofile = \"server\"\ncredentials_file = {:?}\n",
            self.address,
            self.folder.path().join("credentials")
        )
    }

    fn create_key(&mut self, _: &Node, _: &str) -> String {
        self.new_key("us-east-1")
    }

    fn take_away(&mut self, _: &Node, key: &str) {
        self.on("DisableKey", key);
    }

    fn give_back(&mut self, _: &Node, key: &str) {
        self.on("EnableKey", key);
    }

    fn reason(&self) -> &'static str {
        "Disabled"
    }

    /// Its keys die with the process, so it stands still: connections open, and nobody answers.
    fn go_away(&mut self) -> bool {
        system::pause(self.child.id());
        true
    }

    fn come_back(&mut self) {
        system::go_on(self.child.id());
    }
}

impl Drop for Fakecloud {
    fn drop(&mut self) {
        // A process that stands still dies of SIGKILL, too. It may be dead already.
        self.child.kill().ok();
        self.child.wait().expect("a killed child can be waited for");
    }
}
