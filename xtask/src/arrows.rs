//! The permitted dependencies between crates, normal and build dependencies.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// The direct dependencies that each member may have. Dev-dependencies are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("keyway-secrets", &[]),
    ("keyway-local", &[]),
    ("keyway-mux", &[]),
    ("keyway-http", &[]),
    ("keyway-rpc", &[]),
    ("keyway-rpc-build", &[]),
    ("keyway-proto", &["keyway-rpc", "keyway-secrets"]),
    (
        "keyway-resolver",
        &[
            "keyway-http",
            "keyway-local",
            "keyway-proto",
            "keyway-rpc",
            "keyway-secrets",
        ],
    ),
    (
        "keyway-plugin-sdk",
        &[
            "keyway-http",
            "keyway-local",
            "keyway-mux",
            "keyway-proto",
            "keyway-rpc",
            "keyway-secrets",
        ],
    ),
    (
        "keyway-runtime",
        &[
            "keyway-http",
            "keyway-local",
            "keyway-mux",
            "keyway-proto",
            "keyway-resolver",
            "keyway-rpc",
            "keyway-secrets",
        ],
    ),
    ("keyway-plugin-env", &["keyway-plugin-sdk"]),
    (
        "keyway-plugin-file",
        &["keyway-local", "keyway-plugin-sdk", "keyway-secrets"],
    ),
    (
        "keyway",
        &[
            "keyway-local",
            "keyway-plugin-file",
            "keyway-plugin-sdk",
            "keyway-proto",
            "keyway-resolver",
            "keyway-rpc",
            "keyway-runtime",
            "keyway-secrets",
        ],
    ),
    ("xtask", &["keyway-rpc-build", "keyway-test-support"]),
];

/// Forbidden direct and indirect dependencies: the crate, its features, the forbidden names.
const NEVER_BELOW: &[(&str, &[&str])] = &[
    ("keyway-secrets", &["tokio", "prost", "hyper", "serde"]),
    ("keyway-mux", &["prost", "keyway-runtime", "serde"]),
    (
        "keyway-http",
        &["keyway-mux", "keyway-secrets", "prost", "yamux"],
    ),
    (
        "keyway-rpc",
        &[
            "httparse",
            "hyper",
            "hyper-util",
            "keyway-mux",
            "keyway-secrets",
            "yamux",
        ],
    ),
    ("keyway-proto", &["keyway-mux", "keyway-runtime"]),
    (
        "keyway-resolver",
        &["hyper", "keyway-mux", "keyway-runtime", "yamux"],
    ),
    (
        "keyway-plugin-sdk",
        &["keyway-runtime", "keyway-resolver", "clap"],
    ),
    ("keyway-runtime", &["keyway-plugin-sdk", "clap"]),
];

/// Compares every manifest with the design.
///
/// # Errors
///
/// Lists each forbidden arrow and each member that the design does not know.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = direct_faults(workspace);
    for (package, forbidden) in NEVER_BELOW {
        let below = tree(workspace, package)?;
        faults.extend(
            forbidden
                .iter()
                .filter(|name| below.contains(**name))
                .map(|name| format!("{package} has {name} somewhere below it")),
        );
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!(
        "the arrows between crates are broken (the map is in ARCHITECTURE.md):\n  {}",
        faults.join("\n  ")
    );
}

fn direct_faults(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    for package in &workspace.packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            // Tests and benchmarks may use every crate, because no crate depends on them.
            if package.is_published() {
                faults.push(format!("{} is in no row of the map", package.name));
            }
            continue;
        };
        for dependency in &package.dependencies {
            let internal = dependency.path.is_some();
            let free = dependency.kind.as_deref() == Some("dev");
            if internal && !free && !allowed.contains(&dependency.name.as_str()) {
                faults.push(format!(
                    "{} must not depend on {}",
                    package.name, dependency.name
                ));
            }
        }
    }
    faults
}

/// The names of everything below `package` with all its features, normal and build dependencies.
fn tree(workspace: &Workspace, package: &str) -> Result<BTreeSet<String>> {
    let text = shell::read(shell::cargo(&workspace.root).args([
        "tree",
        "--quiet",
        "--package",
        package,
        "--edges=normal,build,no-proc-macro",
        "--prefix=none",
        "--format={lib}",
    ]))?;
    Ok(text
        .lines()
        .skip(1)
        .map(|line| line.trim().replace('_', "-"))
        .collect())
}
