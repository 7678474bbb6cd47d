//! Builds that run beside the stages, at the lowest priority: tests wait much of their time, and linking an optimised
//! program keeps one core busy and leaves the others idle.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// The interval between two checks of a running command.
const POLL: Duration = Duration::from_millis(100);

/// Commands that run one after the other beside the stages. The running one is killed on drop.
pub(crate) struct Background {
    /// The output of the commands.
    log: PathBuf,
    is_cancelled: Arc<AtomicBool>,
    /// Returns how long the commands took; `None` after it was joined.
    thread: Option<JoinHandle<Result<Duration>>>,
}

impl Background {
    /// Starts the first command.
    ///
    /// # Errors
    ///
    /// Fails if the file for the output cannot be created.
    pub(crate) fn start(workspace: &Workspace, commands: Vec<Command>) -> Result<Self> {
        let log = workspace.target_directory.join("background.log");
        let output =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let cancelled = Arc::clone(&is_cancelled);
        let thread = thread::spawn(move || {
            let started = Instant::now();
            for command in &commands {
                run(command, &output, &cancelled)?;
            }
            Ok(started.elapsed())
        });
        Ok(Self {
            log,
            is_cancelled,
            thread: Some(thread),
        })
    }

    /// Waits for the last command, prints the output of all and how long they took.
    ///
    /// # Errors
    ///
    /// Returns the failure of the first command that failed. Later ones were not run.
    pub(crate) fn finish(mut self) -> Result<()> {
        let thread = self
            .thread
            .take()
            .context("the commands were waited for before")?;
        let result = match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("the thread that runs the commands panicked"),
        };
        let output =
            fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        print!("{}", String::from_utf8_lossy(&output));
        let elapsed = result?;
        println!(
            "The commands took {:.1} s beside other stages.",
            elapsed.as_secs_f64()
        );
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // This is dropped early only if a stage failed, whose error is reported.
            let _ = thread.join();
        }
    }
}

/// Runs a command at the lowest priority.
fn run(command: &Command, output: &File, is_cancelled: &AtomicBool) -> Result<()> {
    let line = shell::describe(command);
    let mut child = nice(command)
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start `nice` for `{line}`"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if is_cancelled.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            bail!("`{line}` was cancelled");
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the command has no runtime, and polls a child"
        )]
        thread::sleep(POLL);
    };
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Returns the same command at the lowest priority.
fn nice(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    nice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_command(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("KEYWAY_WORD", "word");
        command
    }

    fn output() -> File {
        tempfile::tempfile().expect("a file")
    }

    #[test]
    fn a_command_runs_at_the_lowest_priority_with_its_environment() {
        let cancelled = AtomicBool::new(false);
        let script = "test \"$KEYWAY_WORD\" = word && test \"$(nice)\" = 19";
        run(&shell_command(script), &output(), &cancelled).expect("success");
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let cancelled = AtomicBool::new(false);
        let error = run(&shell_command("exit 3"), &output(), &cancelled).expect_err("a failure");
        assert_eq!(
            error.to_string(),
            "`sh -c exit 3` ended with exit status: 3"
        );
    }

    #[test]
    fn a_cancelled_command_is_killed() {
        let cancelled = AtomicBool::new(true);
        let error = run(&shell_command("exec sleep 600"), &output(), &cancelled);
        let error = error.expect_err("a failure");
        assert_eq!(error.to_string(), "`sh -c exec sleep 600` was cancelled");
    }
}
