//! Runs other programs, and measures the time of each stage.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Returns a `cargo` command in the folder `root`, with the cargo that runs this program.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs `command` with its output shown.
///
/// # Errors
///
/// Fails if the command cannot be started or does not succeed. The message contains the command line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs `command` and returns its stdout; its stderr is shown.
///
/// # Errors
///
/// As for [`run`], and if the output is not UTF-8.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{line}` is not UTF-8"))
}

/// Returns `true` if `program` can be started with `argument` (a version flag) and succeeds.
pub(crate) fn exists(program: &str, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns `true` if a skipped stage is a failure (`KEYWAY_REQUIRE_ALL=1`, as in CI).
pub(crate) fn everything_required() -> bool {
    env::var_os("KEYWAY_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// The stages of one command, each with its time and outcome.
#[derive(Default)]
pub(crate) struct Stages {
    finished: Vec<(String, Duration, &'static str)>,
}

impl Stages {
    /// Runs one stage and records its time.
    ///
    /// # Errors
    ///
    /// Returns the error of `body` with the stage's name, after printing the times so far.
    pub(crate) fn run(&mut self, name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = body();
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        self.finished
            .push((name.to_owned(), started.elapsed(), outcome));
        if result.is_err() {
            self.print();
        }
        result.with_context(|| format!("stage `{name}`"))
    }

    /// Runs one stage if `program` exists, else reports that it was skipped.
    ///
    /// # Errors
    ///
    /// As for [`Stages::run_unless`].
    pub(crate) fn run_with(
        &mut self,
        name: &str,
        (program, version_flag): (&str, &str),
        body: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let missing = (!exists(program, version_flag)).then(|| program.to_owned());
        self.run_unless(missing, name, body)
    }

    /// Runs one stage unless the machine lacks something, else reports that it was skipped.
    ///
    /// # Errors
    ///
    /// As for [`Stages::run`], and if something is missing while `KEYWAY_REQUIRE_ALL=1` forbids skipping.
    pub(crate) fn run_unless(
        &mut self,
        missing: Option<String>,
        name: &str,
        body: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let Some(missing) = missing else {
            return self.run(name, body);
        };
        if everything_required() {
            bail!("stage `{name}` needs {missing}, and KEYWAY_REQUIRE_ALL=1 forbids skipping it");
        }
        println!("\n== {name}\nskipped: needs {missing}");
        self.finished
            .push((name.to_owned(), Duration::ZERO, "SKIPPED"));
        Ok(())
    }

    /// Prints the table of stages.
    pub(crate) fn print(&self) {
        println!("\nstage                                    seconds  outcome");
        for (name, elapsed, outcome) in &self.finished {
            println!("{name:<40} {:>7.1}  {outcome}", elapsed.as_secs_f64());
        }
    }
}

/// Returns the command line for messages.
pub(crate) fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    if let Some(name) = Path::new(&line).file_name() {
        line = name.to_string_lossy().into_owned();
    }
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
