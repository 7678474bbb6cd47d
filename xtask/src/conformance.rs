//! `cargo xtask conformance`: the official Connect conformance suite against `keyway-rpc`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::shell;
use crate::workspace::Workspace;

/// The suite's runner, an ordinary Go tool.
const RUNNER: &str = "connectrpc.com/conformance/cmd/connectconformance";
const RUNNER_VERSION: &str = "v1.0.5";

/// Number of cases that the suite has for our configuration. A smaller total means that some did not run.
const SIDES: [Side; 2] = [
    Side {
        name: "server",
        cases: 344,
    },
    Side {
        name: "client",
        cases: 368,
    },
];

struct Side {
    name: &'static str,
    cases: usize,
}

/// Options of `cargo xtask conformance`.
#[derive(Args)]
pub(crate) struct Options {
    /// Carry every connection over a stream of one multiplexed session.
    #[arg(long)]
    pub(crate) through_mux: bool,
    /// Further arguments for the runner, such as `--run PATTERN` (then the totals are not checked).
    #[arg(last = true)]
    pub(crate) runner: Vec<String>,
}

/// Builds the two programs, installs the runner, and runs the suite against both.
///
/// # Errors
///
/// Fails if a case fails, or if another number of cases than expected was run.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let build = [
        "build",
        "--locked",
        "--package",
        "keyway-conformance",
        "--bins",
    ];
    shell::run(shell::cargo(&workspace.root).args(build))?;
    suite(&workspace, options)
}

/// Installs the runner and runs the suite against both programs, which are built.
///
/// # Errors
///
/// As for [`run`].
pub(crate) fn suite(workspace: &Workspace, options: &Options) -> Result<()> {
    let runner = install(workspace)?;
    let totals = SIDES.map(|side| test(workspace, &runner, options, &side));
    for (side, total) in SIDES.iter().zip(&totals) {
        match total {
            Ok(passed) => println!("conformance {}: {passed} cases passed, 0 failed", side.name),
            Err(error) => println!("conformance {}: {error:#}", side.name),
        }
    }
    totals.into_iter().try_for_each(|total| total.map(drop))
}

/// Returns the path of the runner, which is built once for a target directory.
fn install(workspace: &Workspace) -> Result<PathBuf> {
    let runner = tools(workspace).join("connectconformance");
    if !installed_version(&runner).is_some_and(|version| version.contains(RUNNER_VERSION)) {
        shell::run(&mut runner_build(workspace))?;
    }
    Ok(runner)
}

/// Returns the command that builds the runner.
pub(crate) fn runner_build(workspace: &Workspace) -> Command {
    let mut install = Command::new("go");
    install
        .args(["install", &format!("{RUNNER}@{RUNNER_VERSION}")])
        .env("GOBIN", tools(workspace))
        .current_dir(&workspace.root);
    install
}

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target_directory.join("go-tools")
}

fn installed_version(runner: &Path) -> Option<String> {
    let output = Command::new(runner).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// Runs one side of the suite and returns how many cases passed.
fn test(workspace: &Workspace, runner: &Path, options: &Options, side: &Side) -> Result<usize> {
    let program = format!("conformance-{}", side.name);
    let mut command = Command::new(runner);
    command
        .args([
            "--conf",
            "tests/conformance/unary.yaml",
            "--mode",
            side.name,
        ])
        .args(&options.runner)
        .arg("--")
        .arg(workspace.target_directory.join("debug").join(program))
        .args(options.through_mux.then_some("--through-mux"))
        .current_dir(&workspace.root)
        .stderr(Stdio::inherit());
    let output = command.output().context("starting the runner")?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let passed = passed(&text)?;
    ensure!(
        output.status.success(),
        "the runner ended with {}",
        output.status
    );
    if options.runner.is_empty() && passed != side.cases {
        bail!(
            "{passed} cases passed, and {} should have been run",
            side.cases
        );
    }
    Ok(passed)
}

/// Parses the runner's last line, `N passed, M failed`.
fn passed(output: &str) -> Result<usize> {
    let totals = |line: &str| {
        let (passed, failed) = line.trim().split_once(" passed, ")?;
        let failed = failed.strip_suffix(" failed")?;
        Some((passed.parse().ok()?, failed.parse().ok()?))
    };
    let last: Option<(usize, usize)> = output.lines().rev().find_map(totals);
    match last {
        Some((passed, 0)) => Ok(passed),
        Some((passed, failed)) => bail!("{passed} cases passed, {failed} failed"),
        None => bail!("the runner printed no totals"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_last_line() {
        assert_eq!(
            passed("Total cases: 3\n3 passed, 0 failed\n").expect("all passed"),
            3
        );
        assert!(passed("3 passed, 1 failed\n").is_err());
        assert!(passed("").is_err());
    }
}
