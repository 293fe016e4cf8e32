//! Key policies: as much of AWS's language as a key owner needs for Palladium. What this file does not know fails the test.
//!
//! The two policies in `../policies` are the ones that `crypto/README.md` tells an owner to use, to the letter.

use serde_json::{Map, Value};

/// What a principal wants to do, as the condition keys of a policy see it.
pub(super) struct Wish<'a> {
    pub principal: &'a str,
    /// Without `kms:`.
    pub action: &'a str,
    pub context: &'a Value,
    /// Of a grant that is to be made.
    pub grant: Option<GrantWish<'a>>,
}

pub(super) struct GrantWish<'a> {
    pub grantee: &'a str,
    pub operations: &'a [String],
}

/// What a policy says to a wish.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Verdict {
    Allow,
    Deny,
    Silent,
}

/// The policy for a server that uses the key by policy alone.
pub fn policy_without_grants(server: &str) -> Value {
    policy(include_str!("../policies/aws-key-policy.json"), server, "")
}

/// The policy for a server that makes grants with a second credential.
pub fn policy_with_grants(server: &str, granter: &str) -> Value {
    policy(
        include_str!("../policies/aws-key-policy-with-grants.json"),
        server,
        granter,
    )
}

/// The documents speak of two roles; here they are whoever the test says. The test's tables are `ks.*`.
fn policy(text: &str, server: &str, granter: &str) -> Value {
    let role = |name: &str| format!("\"arn:aws:iam::111122223333:role/{name}\"");
    let text = text
        .replace(&role("palladium-grants"), &format!("{granter:?}"))
        .replace(&role("palladium"), &format!("{server:?}"));
    serde_json::from_str(&text).expect("a policy is JSON")
}

pub(super) fn verdict(policy: &Value, wish: &Wish<'_>) -> Verdict {
    let mut verdict = Verdict::Silent;
    for statement in policy["Statement"].as_array().into_iter().flatten() {
        let fits = strings(&statement["Principal"]["AWS"])
            .any(|name| name == wish.principal || name == "*")
            && strings(&statement["Action"]).any(|pattern| action_fits(pattern, wish.action))
            && statement["Condition"]
                .as_object()
                .is_none_or(|conditions| conditions_hold(conditions, wish));
        match (fits, statement["Effect"].as_str()) {
            (true, Some("Deny")) => return Verdict::Deny,
            (true, Some("Allow")) => verdict = Verdict::Allow,
            (false, Some("Deny" | "Allow")) => {}
            (_, effect) => panic!("a statement of effect {effect:?}"),
        }
    }
    verdict
}

fn action_fits(pattern: &str, action: &str) -> bool {
    let pattern = pattern
        .strip_prefix("kms:")
        .expect("a key policy allows actions of KMS");
    match pattern.strip_suffix('*') {
        Some(start) => action.starts_with(start),
        None => action == pattern,
    }
}

fn conditions_hold(conditions: &Map<String, Value>, wish: &Wish<'_>) -> bool {
    conditions.iter().all(|(operator, keys)| {
        let keys = keys.as_object().expect("a condition names keys");
        keys.iter().all(|(key, wanted)| {
            let found = values(key, wish);
            let fits = |value: &String| {
                strings(wanted).any(|pattern| match operator.as_str() {
                    "StringEquals" | "ForAllValues:StringEquals" => pattern == value,
                    "StringLike" => {
                        pattern == value
                            || pattern
                                .strip_suffix('*')
                                .is_some_and(|start| value.starts_with(start))
                    }
                    other => panic!("the operator {other}"),
                })
            };
            // Of a key with one value, it must be there; of a set, each.
            found.iter().all(fits) && (operator.starts_with("ForAllValues:") || !found.is_empty())
        })
    })
}

/// The values of a condition key in this request; none if the request has no such thing.
fn values(key: &str, wish: &Wish<'_>) -> Vec<String> {
    if let Some(name) = key.strip_prefix("kms:EncryptionContext:") {
        return wish.context[name]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .collect();
    }
    let grant = wish.grant.as_ref();
    match key {
        "kms:EncryptionContextKeys" => wish
            .context
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .cloned()
            .collect(),
        "kms:GranteePrincipal" => grant
            .map(|grant| grant.grantee.to_owned())
            .into_iter()
            .collect(),
        "kms:GrantOperations" => grant
            .map(|grant| grant.operations.to_vec())
            .unwrap_or_default(),
        "kms:GrantConstraintType" => grant
            .filter(|_| wish.context.is_object())
            .map(|_| "EncryptionContextEquals".to_owned())
            .into_iter()
            .collect(),
        other => panic!("the condition key {other}"),
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    let one = value.as_str();
    let many = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    one.into_iter().chain(many)
}
