//! `cargo xtask test`: the stages that a change must pass, and with `--all` the long ones.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::background::Background;
use crate::shell::{self, Stages};
use crate::workspace::Workspace;
use crate::{bench, conformance, demo, dist, fuzz, lint};

/// The folders of the programs that tests start; without it each test has cargo build them.
const PREBUILT: &str = "KEYWAY_PREBUILT";

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Add the long stages: single features, packages, longer random tests, fuzzing, the demo on release binaries.
    #[arg(long)]
    pub(crate) all: bool,
}

/// Runs the stages, the quick ones first.
///
/// # Errors
///
/// Fails at the first stage that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut stages = Stages::default();
    lint::quick(&workspace, &mut stages)?;
    // Everything at once and with every feature, so that each crate is compiled once for all stages that follow.
    stages.run("programs and tests, built", || {
        shell::run(cargo(&workspace, "build").arg("--all-targets"))
    })?;
    let builds = options.all.then(|| builds(&workspace)).transpose()?;
    stages.run("unit, integration and interop tests", || {
        tests(&workspace, options.all)
    })?;
    stages.run("examples in the documentation", || {
        shell::run(cargo(&workspace, "test").arg("--doc"))
    })?;
    stages.run_with("Go programs", ("go", "version"), || go_programs(&workspace))?;
    stages.run("crates outside the workspace", || outside(&workspace))?;
    if let Some(builds) = builds {
        let built_alone: Vec<_> = dist::built_alone().collect();
        lint::thorough(&workspace, &mut stages, &built_alone)?;
        stages.run("ratios of the benchmarks", || bench::smoke(&workspace))?;
        stages.run("builds beside the stages", || builds.finish())?;
    }
    stages.run_with("conformance", ("go", "version"), || {
        conformance(&workspace, false)
    })?;
    if options.all {
        long(&workspace, &mut stages)?;
    }
    stages.print();
    Ok(())
}

/// Starts the builds that the last stages need, beside the others.
fn builds(workspace: &Workspace) -> Result<Background> {
    let mut commands = Vec::new();
    if shell::exists("go", "version") {
        commands.push(conformance::runner_build(workspace));
    }
    if shell::exists("c++", "--version") {
        commands.push(fuzz::build()?);
    }
    commands.extend(idle_builds(workspace));
    commands.extend(dist::builds(workspace));
    commands.extend(dist::static_build(workspace)?);
    Background::start(workspace, commands)
}

/// Returns a cargo command for the whole workspace with every feature.
fn cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = shell::cargo(&workspace.root);
    command.args([subcommand, "--locked", "--workspace", "--all-features"]);
    command
}

/// Runs the tests, and the benchmarks once each.
fn tests(workspace: &Workspace, all: bool) -> Result<()> {
    let mut command = cargo(workspace, "test");
    command
        .args(["--all-targets", "--no-fail-fast"])
        .env(PREBUILT, workspace.target_directory.join("debug"));
    if all {
        // The random tests read it and run more and longer scripts.
        command.env("KEYWAY_LONG_TESTS", "1");
    }
    shell::run(&mut command)
}

/// Returns a cargo command for one package in a plain release build, as `cargo install` makes it.
fn release(workspace: &Workspace, subcommand: &str, package: &str) -> Command {
    let mut command = shell::cargo(&workspace.root);
    command.args([subcommand, "--locked", "--release", "--package", package]);
    command
}

/// Returns the commands that build the programs of the idle tests. Each plugin is built alone, as users and authors of plugins
/// do, because the code that the compiler generates for a waker depends on it.
fn idle_builds(workspace: &Workspace) -> Vec<Command> {
    let plugins = dist::PLUGINS.iter();
    let mut builds: Vec<_> = plugins
        .map(|(package, _)| release(workspace, "build", package))
        .collect();
    let mut tests = release(workspace, "test", "keyway-idle");
    tests.arg("--no-run");
    builds.push(tests);
    builds
}

/// Tests that plugins of a plain release build are idle under the daemon of dist.
fn idle(workspace: &Workspace) -> Result<()> {
    let plugins = workspace.target_directory.join("release");
    let programs = env::join_paths([plugins, dist::Dist::of(workspace).programs])
        .context("the target directory's name contains a colon")?;
    idle_builds(workspace).iter_mut().try_for_each(shell::run)?;
    shell::run(release(workspace, "test", "keyway-idle").env(PREBUILT, programs))
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

/// Builds and tests the crates below `examples`, which use ours from outside of the workspace.
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

fn conformance(workspace: &Workspace, through_mux: bool) -> Result<()> {
    let options = conformance::Options {
        through_mux,
        runner: Vec::new(),
    };
    conformance::suite(workspace, &options)
}

fn long(workspace: &Workspace, stages: &mut Stages) -> Result<()> {
    stages.run_with("conformance through the mux", ("go", "version"), || {
        conformance(workspace, true)
    })?;
    stages.run_with("fuzz", ("c++", "--version"), fuzz::minutes)?;
    stages.run("dist", || dist::programs(workspace))?;
    dist::packages(workspace, stages)?;
    dist::static_program(workspace, stages)?;
    stages.run("idle, built for release", || idle(workspace))?;
    let dist = dist::Dist::of(workspace);
    let programs = demo::Programs {
        keyway: dist.programs.join("keyway"),
        plugins: dist.plugins,
    };
    stages.run("demo", || demo::show(&programs))
}
