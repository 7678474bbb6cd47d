//! `cargo xtask compatibility`: runs the interop tests and writes `docs/book/src/reference/compatibility.md` from their results.

mod page;
mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::shell;
use crate::workspace::Workspace;
use rows::ROWS;

/// Options of `cargo xtask compatibility`.
#[derive(Args)]
pub(crate) struct Options {
    /// Run the tests and show the page instead of writing it.
    #[arg(long)]
    pub(crate) print: bool,
}

/// For each test, by test file and name, `true` if it passed.
type Results = BTreeMap<(String, String), bool>;

/// Runs the tests, none of which may be skipped, and writes the page.
///
/// # Errors
///
/// Fails if a test that the page names does not exist or fails, or if the page cannot be written.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let results = test(&workspace)?;
    for row in ROWS {
        for test in row.tests {
            let (file, name) = test.split_once("::").context("a row names FILE::TEST")?;
            match results.get(&(file.to_owned(), name.to_owned())) {
                Some(true) => {}
                Some(false) => bail!("{test} failed, which the row `{}` names", row.peer),
                None => bail!(
                    "there is no test {test}, which the row `{}` names",
                    row.peer
                ),
            }
        }
    }
    let text = page::render(&today()?, &versions(&workspace)?);
    if options.print {
        print!("{text}");
        return Ok(());
    }
    let path = workspace
        .root
        .join("docs/book/src/reference/compatibility.md");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Runs the interop tests and parses the output of the test runner.
fn test(workspace: &Workspace) -> Result<Results> {
    let mut command = shell::cargo(&workspace.root);
    command
        .args([
            "test",
            "--no-fail-fast",
            "--package",
            "keyway-differential",
            "--package",
            "keyway-interop",
            "--package",
            "keyway-replay",
        ])
        .env("KEYWAY_REQUIRE_ALL", "1");
    let output = command.output().context("cannot run the tests")?;
    // The test runner names the files on stderr and the outcomes on stdout, both in the same order.
    let errors = String::from_utf8_lossy(&output.stderr);
    let files = errors.lines().filter_map(test_file);
    let text = String::from_utf8_lossy(&output.stdout);
    let runs = text.split("\nrunning ").skip(1);
    let results: Results = files
        .zip(runs)
        .flat_map(|(file, run)| {
            run.lines()
                .filter_map(outcome)
                .map(move |(name, passed)| ((file.clone(), name), passed))
        })
        .collect();
    ensure!(!results.is_empty(), "no test was run:\n{errors}");
    if !output.status.success() {
        println!("{text}");
    }
    Ok(results)
}

/// Parses `Running tests/NAME.rs (...)` and `Running unittests src/lib.rs (...)` into the name of the file.
fn test_file(line: &str) -> Option<String> {
    let path = line.trim_start().strip_prefix("Running ")?;
    let path = path.strip_prefix("unittests ").unwrap_or(path);
    let path = path.split(' ').next()?;
    Some(path.rsplit('/').next()?.trim_end_matches(".rs").to_owned())
}

/// Parses `test NAME ... ok`. The program under test may have written between the name and the outcome.
fn outcome(line: &str) -> Option<(String, bool)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.to_owned(), outcome.ends_with("ok")))
}

fn today() -> Result<String> {
    Ok(shell::read(Command::new("date").args(["-u", "+%Y-%m-%d"]))?
        .trim()
        .to_owned())
}

/// Returns the versions of the libraries that the Go programs are built with.
fn versions(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let path = workspace.root.join("interop/go/go.mod");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .filter(|(module, version)| module.contains('.') && version.starts_with('v'))
        .map(|(module, version)| {
            (
                module.to_owned(),
                version.split(' ').next().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    let go = shell::read(Command::new("go").args(["env", "GOVERSION"]))?;
    found.push((
        "Go".to_owned(),
        go.trim().trim_start_matches("go").to_owned(),
    ));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_runner_is_understood() {
        let line = "     Running tests/go_plugin.rs (/target/debug/deps/go_plugin-1234)";
        assert_eq!(test_file(line).as_deref(), Some("go_plugin"));
        let line = "     Running unittests src/lib.rs (/target/debug/deps/x-1)";
        assert_eq!(test_file(line).as_deref(), Some("lib"));
        assert_eq!(test_file("   Compiling x v0.1.0"), None);
        assert_eq!(
            outcome("test a_name ... ok"),
            Some(("a_name".to_owned(), true))
        );
        assert_eq!(
            outcome("test a_name ... FAILED"),
            Some(("a_name".to_owned(), false))
        );
        assert_eq!(outcome("test result: ok. 3 passed"), None);
    }

    /// A rename of a test must not be noticed only when the page is written again.
    #[test]
    fn every_row_names_tests_that_exist() {
        let root = Workspace::load().expect("a workspace").root;
        for row in ROWS {
            assert!(!row.tests.is_empty(), "{} has no test", row.peer);
            for test in row.tests {
                let (file, name) = test.split_once("::").expect("FILE::TEST");
                let exists = ["live", "replay", "differential"].iter().any(|folder| {
                    let path = root.join(format!("interop/{folder}/tests/{file}.rs"));
                    let text = fs::read_to_string(path).unwrap_or_default();
                    text.contains(&format!("fn {name}("))
                });
                assert!(exists, "{}: there is no test {test}", row.peer);
            }
        }
    }
}
