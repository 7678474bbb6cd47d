//! `cargo xtask test`: what a change must pass, and with `--all` the long stages as well.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::shell::{self, Stages};
use crate::workspace::Workspace;
use crate::{bench, conformance, demo, dist, fuzz, lint};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Add the long stages: single features, packages, longer random tests, fuzzing, the demo on release binaries.
    #[arg(long)]
    pub(crate) all: bool,
}

/// Runs the stages in an order that tells of a fault early.
///
/// # Errors
///
/// The first stage that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut stages = Stages::default();
    lint::quick(&workspace, &mut stages)?;
    stages.run("binaries for the tests", || {
        shell::run(shell::cargo(&workspace.root).args([
            "build",
            "--locked",
            "--workspace",
            "--bins",
        ]))
    })?;
    stages.run("unit, integration and interop tests", || {
        tests(&workspace, options.all)
    })?;
    stages.run_with("Go programs", ("go", "version"), || go_programs(&workspace))?;
    stages.run("crates outside the workspace", || outside(&workspace))?;
    stages.run_with("conformance", ("go", "version"), || conformance(false))?;
    if options.all {
        long(&workspace, &mut stages)?;
    }
    stages.print();
    Ok(())
}

fn tests(workspace: &Workspace, all: bool) -> Result<()> {
    let mut command = shell::cargo(&workspace.root);
    command.args([
        "test",
        "--locked",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
    ]);
    if all {
        // The random tests read it and run more and longer scripts.
        command.env("KEYWAY_LONG_TESTS", "1");
    }
    shell::run(&mut command)
}

/// Formats, vets and tests the peers in Go, against each other.
fn go_programs(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("interop/go");
    let unformatted = shell::read(Command::new("gofmt").arg("-l").arg(&folder))?;
    ensure!(
        unformatted.is_empty(),
        "these files are not as gofmt writes them:\n{unformatted}"
    );
    for command in ["vet", "test"] {
        shell::run(
            Command::new("go")
                .arg(command)
                .arg("./...")
                .current_dir(&folder),
        )?;
    }
    Ok(())
}

/// Builds and tests the crates below `examples`, which use ours as a stranger would.
fn outside(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("examples");
    let mut crates: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    crates.retain(|path| path.join("Cargo.toml").exists());
    crates.sort();
    for path in crates {
        shell::run(
            shell::cargo(&path)
                .args(["test", "--target-dir"])
                .arg(workspace.target_directory.join("outside")),
        )?;
    }
    Ok(())
}

fn conformance(through_mux: bool) -> Result<()> {
    let runner = Vec::new();
    conformance::run(&conformance::Options {
        through_mux,
        runner,
    })
}

fn long(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    lint::thorough(workspace, stages)?;
    stages.run_with("conformance through the mux", ("go", "version"), || {
        conformance(true)
    })?;
    stages.run("benchmarks, once each", || bench::smoke(workspace))?;
    stages.run_with("fuzz", ("c++", "--version"), fuzz::minutes)?;
    stages.run("dist", || dist::run(&dist::Options {}))?;
    stages.run("demo", || demo::run(&demo::Options {}))
}
