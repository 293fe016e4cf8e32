//! The owner of keys in the node's own keyring, who works with `palladium key`.

use super::Owner;
use crate::node::Node;

/// Works on the keyring beside the running server.
pub struct KeyringOwner;

impl Owner for KeyringOwner {
    fn settings(&self) -> String {
        String::new()
    }

    fn create_key(&mut self, node: &Node, name: &str) -> String {
        node.key("create", name);
        format!("local:{name}")
    }

    fn take_away(&mut self, node: &Node, key: &str) {
        node.key("disable", local(key));
    }

    fn give_back(&mut self, node: &Node, key: &str) {
        node.key("enable", local(key));
    }

    fn reason(&self) -> &'static str {
        "Disabled"
    }

    /// Without the file the server's own key would be out of reach, too.
    fn go_away(&mut self) -> bool {
        false
    }

    fn come_back(&mut self) {}
}

fn local(key: &str) -> &str {
    key.strip_prefix("local:")
        .expect("the keyring's keys are called local:NAME")
}
