//! The arrows between the crates point down: read from `cargo metadata`, so that a dependency cannot be added unseen.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Who may know whom.
const ARROWS: [(&str, &[&str]); 5] = [
    ("palladium-crypto", &[]),
    ("palladium-protocol", &[]),
    ("palladium-storage", &["palladium-crypto"]),
    (
        "palladium",
        &[
            "palladium-crypto",
            "palladium-protocol",
            "palladium-storage",
        ],
    ),
    (
        "palladium-integration-tests",
        &[
            "palladium-crypto",
            "palladium-protocol",
            "palladium-storage",
            "palladium",
        ],
    ),
];

/// What a crate below the server may not name: a runtime, formats meant for people, a log. Clients of key services, which bring a runtime, are optional.
const ABSENT: [(&str, &[&str]); 3] = [
    ("palladium-crypto", &["tokio", "tracing"]),
    ("palladium-protocol", &["tokio", "serde", "tracing"]),
    ("palladium-storage", &["tokio", "serde", "toml"]),
];

#[test]
fn the_arrows_point_down() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(name).collect();
    assert_eq!(
        names,
        ARROWS.iter().map(|(name, _)| *name).collect(),
        "the workspace has five crates"
    );
    for (crate_name, may_know) in ARROWS {
        for dependency in dependencies(&packages, crate_name, |_| true) {
            assert!(
                !names.contains(dependency.as_str()) || may_know.contains(&dependency.as_str()),
                "{crate_name} may not depend on {dependency}"
            );
        }
    }
    for (crate_name, absent) in ABSENT {
        for dependency in required(&packages, crate_name) {
            assert!(
                !absent.contains(&dependency.as_str()),
                "{crate_name} may not depend on {dependency}"
            );
        }
    }
}

fn packages() -> Vec<Value> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata failed");
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"]
        .as_array()
        .expect("there are packages")
        .clone()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a package has a name")
}

/// What a crate cannot be built without.
fn required(packages: &[Value], crate_name: &str) -> Vec<String> {
    dependencies(packages, crate_name, |one| one["optional"] == false)
}

/// What a crate needs to run; a test may know more.
fn dependencies(
    packages: &[Value],
    crate_name: &str,
    counts: impl Fn(&Value) -> bool,
) -> Vec<String> {
    let package = packages
        .iter()
        .find(|package| name(package) == crate_name)
        .expect("a crate of the workspace");
    let all = package["dependencies"]
        .as_array()
        .expect("a package has dependencies");
    all.iter()
        .filter(|one| one["kind"].is_null() && counts(one))
        .map(|one| name(one).to_owned())
        .collect()
}
