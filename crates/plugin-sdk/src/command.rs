//! Another program whose process group ends with the call.

mod error;
mod group;
mod guardian;
mod output;
mod pipe;
mod reserved;
mod running;

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use keyway_secrets::SecretValue;
use tokio::time::{Instant, timeout_at};

pub use self::error::CommandError;
use self::group::Group;
pub use self::output::Output;
use self::running::Running;
use crate::Query;
use crate::blocking::blocking;

/// Default limit of a command's standard output, in bytes: 1 MiB.
pub const DEFAULT_MAX_OUTPUT: usize = 1024 * 1024;
/// The time before the deadline of its call at which a command is killed, so that the response still arrives in time.
const RESPONSE_TIME: Duration = Duration::from_millis(100);

/// Prepares to run another program for a query.
///
/// The program is searched in `PATH` if its name has no slash. See [`Command`].
///
/// ```no_run
/// use keyway_plugin_sdk::{Envelope, ProviderError, Query, command};
///
/// async fn get(query: &Query) -> Result<Vec<Envelope>, ProviderError> {
///     let id = query.require_id()?;
///     let output = command("pass", query).args(["show", "--", id.as_str()]).output().await?;
///     if output.stderr_contains("is not in the password store") {
///         return Ok(vec![]);
///     }
///     Ok(vec![Envelope::new(id, output.require_success()?.first_line())])
/// }
/// ```
pub fn command(program: impl AsRef<OsStr>, query: &Query) -> Command {
    let program = program.as_ref();
    let mut inner = std::process::Command::new(program);
    inner
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Command {
        inner,
        program: program.to_string_lossy().into_owned(),
        deadline: query.deadline_before(RESPONSE_TIME),
        request: query.request_id().unwrap_or_default().to_owned(),
        input: None,
        max_output: DEFAULT_MAX_OUTPUT,
    }
}

/// A program that is run for one query, created by [`command`].
///
/// It has a process group of its own, which another process leads, and which is killed (SIGKILL)
///
/// - 100 ms before the deadline of the query,
/// - when the future of [`output`](Self::output) is dropped, because the caller has gone,
/// - when its standard output exceeds [`max_output`](Self::max_output),
/// - when the program has exited, so that nothing that it started in its group is left,
/// - when the plugin ends or is killed: a small `sh` process, started with the first command, sees to that, from before the program starts.
///
/// A process that has left the group (`setsid`) is out of reach.
///
/// Standard input is null unless there is [`input`](Self::input). The environment is that of the plugin.
///
/// **Never pass a value as an argument**: every process of the machine can read it. Pass it as `input`.
pub struct Command {
    inner: std::process::Command,
    program: String,
    /// The time when the group is killed.
    deadline: Instant,
    /// The id of the request, for the log.
    request: String,
    input: Option<SecretValue>,
    max_output: usize,
}

/// Shows the program alone: arguments and environment may hold secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.inner.env_remove(name);
        self
    }

    /// Sets the working directory. Default: that of the plugin.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// Sets the bytes of standard input, which then ends. A program may leave a part of it unread.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<SecretValue>) -> Self {
        self.input = Some(bytes.into());
        self.inner.stdin(Stdio::piped());
        self
    }

    /// Sets the limit of standard output in bytes. Default: [`DEFAULT_MAX_OUTPUT`].
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// Runs the program and waits for its end. Any exit status is a result; see [`Output::require_success`].
    ///
    /// A failed program is logged at DEBUG with the last line of its standard error, unless a part of that line occurs in standard
    /// input or output.
    ///
    /// # Errors
    ///
    /// Returns a [`CommandError`] if the program cannot be started, or exceeds its time or its output; `?` converts it into a
    /// [`ProviderError`](crate::ProviderError). Neither contains output of the program.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the process group is killed.
    pub async fn output(self) -> Result<Output, CommandError> {
        let started = Instant::now();
        let (program, deadline, limit) = (self.program, self.deadline, self.max_output);
        let mut inner = self.inner;
        if started >= deadline {
            return Err(CommandError::timed_out(program, started));
        }
        // Searching and executing a program touches file systems, which may hang.
        let starting = blocking(move || Ok(Group::start(&mut inner)));
        let group = match timeout_at(deadline, starting).await {
            Ok(Ok(Ok(group))) => group,
            Ok(Ok(Err(source))) => return Err(CommandError::start(program, source)),
            Ok(Err(error)) => return Err(CommandError::NoThread(error)),
            Err(_) => {
                let waited = started.elapsed();
                return Err(CommandError::NotStarted { program, waited });
            }
        };
        let failed = |source| CommandError::Io {
            program: program.clone(),
            source,
        };
        let mut running = Running::new(group, self.input, limit).map_err(failed)?;
        match timeout_at(deadline, running.until_exit()).await {
            Ok(exited) => exited.map_err(failed)?,
            Err(_) => return Err(CommandError::timed_out(program, started)),
        }
        if running.is_exceeded() {
            return Err(CommandError::TooMuchOutput { program, limit });
        }
        running.finish(&program, &self.request).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use keyway_secrets::Pattern;

    use super::*;
    use crate::{ErrorKind, MAX_BLOCKING_THREADS, ProviderError};

    #[tokio::test]
    async fn a_command_that_finds_no_thread_before_its_deadline_was_not_started() {
        let mut held = Vec::new();
        let mut work = tokio::task::JoinSet::new();
        let (begin, begun) = mpsc::channel();
        for _ in 0..MAX_BLOCKING_THREADS {
            let (release, released) = mpsc::channel::<()>();
            let begin = begin.clone();
            held.push(release);
            work.spawn(blocking(move || {
                begin.send(()).expect("the test waits");
                // Ends when the sender is dropped.
                let _ = released.recv();
                Ok(())
            }));
        }
        all_begun(begun).await;
        let query = Query::new(Pattern::everything(), 3 * RESPONSE_TIME);
        let error = command("true", &query).output().await.unwrap_err();
        drop(held);
        assert!(
            error
                .to_string()
                .starts_with("`true` was not started within ")
        );
        let error = ProviderError::from(error);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        while let Some(ended) = work.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    async fn all_begun(begun: mpsc::Receiver<()>) {
        let waiting = tokio::task::spawn_blocking(move || {
            for _ in 0..MAX_BLOCKING_THREADS {
                begun.recv().expect("the work begins");
            }
        });
        waiting.await.expect("no panic");
    }
}
