//! `cargo xtask lint`: every check that does not run the code.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::arrows;
use crate::book;
use crate::codegen;
use crate::cycles;
use crate::links;
use crate::shell::{self, Stages};
use crate::workspace::{Package, Workspace};

/// Options of `cargo xtask lint`.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out the checks that build the workspace again: single features, packages, docs.
    #[arg(long)]
    pub(crate) quick: bool,
}

/// Runs every check and prints the time of each.
///
/// # Errors
///
/// Fails at the first check that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut stages = Stages::default();
    let workspace = Workspace::load()?;
    quick(&workspace, &mut stages)?;
    if !options.quick {
        thorough(&workspace, &mut stages, &[])?;
    }
    stages.print();
    Ok(())
}

/// Runs the checks that take seconds once the workspace is built.
///
/// # Errors
///
/// Fails at the first check that fails.
pub(crate) fn quick(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    let root = &workspace.root;
    stages.run("format", || {
        shell::run(shell::cargo(root).args(["fmt", "--all", "--check"]))?;
        shell::run(shell::cargo(&root.join("fuzz")).args(["fmt", "--check"]))
    })?;
    stages.run("arrows", || arrows::check(workspace))?;
    stages.run("module cycles", || cycles::check(workspace))?;
    stages.run("manifests", || manifests(workspace))?;
    stages.run("links between pages", || links::check(workspace))?;
    stages.run("generated code", || {
        codegen::run(&codegen::Options { check: true })
    })?;
    stages.run("clippy", || {
        shell::run(shell::cargo(root).args([
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-Dwarnings",
        ]))
    })?;
    stages.run("clippy, fuzz targets", || fuzz_targets(workspace))
}

/// Checks the crate of the fuzz targets, which is not a member, as the fuzzer builds it but without the
/// fuzzer itself.
fn fuzz_targets(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("fuzz");
    let mut clippy = shell::cargo(&folder);
    clippy
        .env("RUSTFLAGS", "--cfg fuzzing")
        .args([
            "clippy",
            "--locked",
            "--no-default-features",
            "--target-dir",
        ])
        .arg(workspace.target_directory.join("fuzz"))
        .args(["--", "-Dwarnings"]);
    shell::run(&mut clippy).context(
        "the fuzz targets; after a change of dependencies, `cargo metadata` in fuzz/ brings its lock file up to date",
    )
}

/// Runs the checks that build each published crate again, except those in `built_alone`, which another stage builds alone.
///
/// # Errors
///
/// Fails at the first check that fails.
pub(crate) fn thorough(
    workspace: &Workspace,
    stages: &mut Stages,
    built_alone: &[&str],
) -> Result<()> {
    stages.run("docs", || {
        shell::run(
            shell::cargo(&workspace.root)
                .env("RUSTDOCFLAGS", "-Dwarnings")
                .args([
                    "doc",
                    "--locked",
                    "--workspace",
                    "--all-features",
                    "--no-deps",
                ]),
        )
    })?;
    stages.run("each crate, each feature", || {
        workspace
            .published()
            .filter(|package| {
                // Another stage builds without optional features.
                !package.features.is_empty() || !built_alone.contains(&package.name.as_str())
            })
            .try_for_each(|package| features(workspace, package))
    })?;
    stages.run("packages", || packages(workspace))?;
    stages.run_with("book", book::MDBOOK, || book::build(workspace))?;
    stages.run_with("licences and sources", ("cargo-deny", "--version"), || {
        shell::run(
            shell::cargo(&workspace.root)
                .args(["deny", "--locked", "check", "bans", "licenses", "sources"]),
        )
    })
}

/// Builds one crate alone: bare, with each feature, and with all of them.
fn features(workspace: &Workspace, package: &Package) -> Result<()> {
    let check = |features: Option<&str>| {
        let mut command = shell::cargo(&workspace.root);
        command.args(["check", "--locked", "--quiet", "--package", &package.name]);
        match features {
            Some("*") => command.arg("--all-features"),
            Some(feature) => command.args(["--no-default-features", "--features", feature]),
            None => command.arg("--no-default-features"),
        };
        shell::run(&mut command)
    };
    check(None)?;
    if package.features.is_empty() {
        return Ok(());
    }
    for feature in package.features.keys() {
        check(Some(feature))?;
    }
    check(Some("*"))
}

fn packages(workspace: &Workspace) -> Result<()> {
    let mut command = shell::cargo(&workspace.root);
    // The crates were built alone just before, so only packing them is left to check.
    command.args([
        "package",
        "--locked",
        "--allow-dirty",
        "--no-verify",
        "--quiet",
    ]);
    for package in workspace.published() {
        command.args(["--package", &package.name]);
    }
    shell::run(&mut command)
}

/// Checks the rules for manifests that cargo does not have.
fn manifests(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    let root = workspace.root.join("Cargo.toml");
    let text = fs::read_to_string(&root).context("cannot read the root manifest")?;
    faults.extend(entries_without_reason(&text));
    for package in workspace.published() {
        faults.extend(manifest_faults(package)?);
    }
    if !faults.is_empty() {
        bail!("manifests:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// Returns a fault for each member and dependency of the root manifest without a reason beside it.
fn entries_without_reason(manifest: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_members = false;
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line == "[workspace.dependencies]";
        }
        match line.trim() {
            "members = [" => in_members = true,
            "]" => in_members = false,
            entry => {
                let counts = (in_members && entry.starts_with('"'))
                    || (in_dependencies && entry.contains('=') && !entry.starts_with('#'));
                if counts && !entry.contains(" # ") {
                    faults.push(format!("Cargo.toml: no reason beside `{entry}`"));
                }
            }
        }
    }
    faults
}

fn manifest_faults(package: &Package) -> Result<Vec<String>> {
    const INHERITED: &[&str] = &[
        "edition.workspace = true",
        "license.workspace = true",
        "repository.workspace = true",
        "rust-version.workspace = true",
    ];
    const PRESENT: &[&str] = &[
        "description = ",
        "readme = ",
        "keywords = ",
        "categories = ",
    ];
    let text = fs::read_to_string(&package.manifest_path)?;
    let lines: BTreeSet<_> = text.lines().map(str::trim).collect();
    let name = &package.name;
    let mut faults: Vec<_> = INHERITED
        .iter()
        .filter(|line| !lines.contains(**line))
        .map(|line| format!("{name}: `{line}` is missing"))
        .collect();
    faults.extend(
        PRESENT
            .iter()
            .filter(|key| !lines.iter().any(|line| line.starts_with(**key)))
            .map(|key| format!("{name}: no line `{key}...`")),
    );
    if !text.contains("[lints]\nworkspace = true") {
        faults.push(format!("{name}: lints are not inherited"));
    }
    if !package.manifest_path.with_file_name("README.md").exists() {
        faults.push(format!("{name}: no README.md"));
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::entries_without_reason;

    #[test]
    fn an_entry_without_a_reason_is_a_fault() {
        let manifest = "members = [\n  \"a\", # one\n  \"b\",\n]\n\
                        [workspace.dependencies]\n# Group.\nx = \"1\" # why\ny = \"2\"\n[profile.dev]\nz = 1\n";
        let faults = entries_without_reason(manifest);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("\"b\"") && faults[1].contains('y'));
    }
}
