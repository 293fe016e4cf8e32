//! The owner of keys in the node's own keyring, who works with `palladium key`.

use super::Owner;
use crate::node::Node;

/// Works on the keyring beside the running server.
pub struct KeyringOwner {
    way: Way,
}

/// How a key is taken away.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Way {
    State,
    Deletion,
    Grant,
}

impl KeyringOwner {
    /// Takes keys away by disabling them.
    pub fn by_state() -> Self {
        KeyringOwner { way: Way::State }
    }

    /// By scheduling their deletion.
    pub fn by_deletion() -> Self {
        KeyringOwner { way: Way::Deletion }
    }

    /// By revoking the grants that let the server in; its keys are usable by a grant only.
    pub fn by_grants() -> Self {
        KeyringOwner { way: Way::Grant }
    }
}

impl Owner for KeyringOwner {
    fn settings(&self) -> String {
        String::new()
    }

    fn create_key(&mut self, node: &Node, name: &str) -> String {
        if self.way == Way::Grant {
            key(node, &["create", name, "--grants-only"]);
            key(node, &["grant", name, "--keyspace", "ks"]);
        } else {
            key(node, &["create", name]);
        }
        format!("local:{name}")
    }

    fn take_away(&mut self, node: &Node, cmk: &str) {
        let name = local(cmk);
        match self.way {
            Way::State => drop(key(node, &["disable", name])),
            Way::Deletion => drop(key(node, &["schedule-deletion", name, "--days", "7"])),
            Way::Grant => {
                let grants = key(node, &["grants", name]);
                let live = grants.lines().filter(|line| line.contains("\tlive\t"));
                for id in live.filter_map(|line| line.split('\t').next()) {
                    key(node, &["revoke", name, id]);
                }
            }
        }
    }

    fn give_back(&mut self, node: &Node, cmk: &str) {
        let name = local(cmk);
        match self.way {
            Way::State => drop(key(node, &["enable", name])),
            Way::Deletion => {
                key(node, &["cancel-deletion", name]);
                key(node, &["enable", name]);
            }
            Way::Grant => drop(key(node, &["grant", name, "--keyspace", "ks"])),
        }
    }

    fn reason(&self) -> &'static str {
        match self.way {
            Way::State => "Disabled",
            Way::Deletion => "PendingDeletion",
            Way::Grant => "GrantRevoked",
        }
    }

    /// Without the file the server's own key would be out of reach, too.
    fn go_away(&mut self) -> bool {
        false
    }

    fn come_back(&mut self) {}
}

/// Runs `palladium key`, and gives what it printed.
fn key(node: &Node, arguments: &[&str]) -> String {
    let outcome = node.tool(&[&["key"], arguments].concat());
    outcome.must_succeed(&format!("key {}", arguments.join(" ")));
    outcome.text
}

fn local(key: &str) -> &str {
    key.strip_prefix("local:")
        .expect("the keyring's keys are called local:NAME")
}
