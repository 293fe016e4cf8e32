//! Owners of keys in the simulated AWS KMS: one who lets the server in by the key's policy, and one whose server makes grants with a second credential.

use serde_json::json;

use super::Owner;
use super::simulated_aws::{SimulatedAws, policy_with_grants, policy_without_grants};
use crate::node::Node;

/// Takes a key away by its policy.
pub struct AwsPolicyOwner(pub SimulatedAws);

/// Takes a key away by revoking its grants.
pub struct AwsGrantsOwner(pub SimulatedAws);

impl AwsPolicyOwner {
    /// With a service of its own.
    pub fn start() -> Self {
        AwsPolicyOwner(SimulatedAws::start())
    }
}

impl AwsGrantsOwner {
    /// With a service of its own.
    pub fn start() -> Self {
        AwsGrantsOwner(SimulatedAws::start())
    }
}

/// Keys of one story live in two regions, which nobody told the server.
fn region(name: &str) -> &'static str {
    if name == "second" {
        "us-east-1"
    } else {
        "eu-central-1"
    }
}

fn settings(aws: &SimulatedAws) -> String {
    format!(
        "[kms.aws]\nendpoint = \"http://{0}\"\nsts_endpoint = \"http://{0}\"\nprofile = \"server\"\ncredentials_file = {1:?}\n",
        aws.address(),
        aws.credentials_file()
    )
}

impl Owner for AwsPolicyOwner {
    fn settings(&self) -> String {
        settings(&self.0)
    }

    fn create_key(&mut self, _: &Node, name: &str) -> String {
        let policy = policy_without_grants(&SimulatedAws::user("server"));
        self.0.create_key(region(name), policy)
    }

    fn take_away(&mut self, _: &Node, key: &str) {
        self.0.set_policy(key, json!({ "Statement": [] }));
    }

    fn give_back(&mut self, _: &Node, key: &str) {
        let policy = policy_without_grants(&SimulatedAws::user("server"));
        self.0.set_policy(key, policy);
    }

    fn reason(&self) -> &'static str {
        "AccessDenied"
    }

    fn go_away(&mut self) -> bool {
        self.0.stop();
        true
    }

    fn come_back(&mut self) {
        self.0.resume();
    }
}

impl Owner for AwsGrantsOwner {
    fn settings(&self) -> String {
        settings(&self.0) + "grant_profile = \"granter\"\n"
    }

    fn create_key(&mut self, _: &Node, name: &str) -> String {
        let [server, granter] = ["server", "granter"].map(SimulatedAws::user);
        self.0
            .create_key(region(name), policy_with_grants(&server, &granter))
    }

    fn take_away(&mut self, _: &Node, key: &str) {
        self.0.revoke_grants(key);
    }

    fn give_back(&mut self, _: &Node, key: &str) {
        self.0.regrant(key);
    }

    /// AWS does not tell a revoked grant from one that never was.
    fn reason(&self) -> &'static str {
        "AccessDenied"
    }

    fn go_away(&mut self) -> bool {
        self.0.stop();
        true
    }

    fn come_back(&mut self) {
        self.0.resume();
    }
}
