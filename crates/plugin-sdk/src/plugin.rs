//! The plugin process: [`run`] and [`Plugin`].

use std::env;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keyway_proto::LaunchConfig;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::connection::{self, Ended, REGISTRATION_TIMEOUT, RegisterError};
use crate::dial::{DialError, dial};
use crate::introduction::Introduction;
use crate::service::{Access, Provider, Role};
use crate::signals::Signals;
use crate::start::{self, Start, StartError};
use crate::{AccessControl, Backoff, ErrorKind, ProviderError, SecretsProvider, log, process};

/// How many threads [`blocking`](crate::blocking) uses at most.
pub const MAX_BLOCKING: usize = 16;
/// How many bytes the large answers of a provider may have together: 64 MiB.
pub const DEFAULT_ANSWER_MEMORY: u64 = 64 * 1024 * 1024;
/// The exit status of a plugin that is set up wrongly: `EX_CONFIG` of `sysexits.h`.
const SETUP_FAILED: u8 = 78;
/// How long such a thread waits for more work before it ends.
const IDLE_THREAD: Duration = Duration::from_secs(5);
/// A connection that lived so long counts as a success: the next one is tried after a short delay again.
const LONG_LIVED: Duration = Duration::from_secs(10);

/// Runs a provider as a plugin until its daemon ends it. Call it from a plain `main`, before anything starts a thread.
///
/// See [`Plugin`] for what that does, and for the settings.
///
/// ```no_run
/// # use keyway_plugin_sdk::{Envelope, Pattern, ProviderError, Query, SecretsProvider};
/// # struct MyProvider;
/// # impl SecretsProvider for MyProvider {
/// #     fn pattern(&self) -> Pattern { Pattern::everything() }
/// #     async fn get_secrets(&self, _: &Query) -> Result<Vec<Envelope>, ProviderError> { Ok(vec![]) }
/// # }
/// fn main() -> std::process::ExitCode {
///     keyway_plugin_sdk::run(MyProvider)
/// }
/// ```
pub fn run(provider: impl SecretsProvider) -> ExitCode {
    Plugin::default().run(provider)
}

/// Runs an access-control module as a plugin until its daemon ends it; see [`run`].
pub fn run_access_control(module: impl AccessControl) -> ExitCode {
    Plugin::default().run_access_control(module)
}

/// A plugin process and its settings.
///
/// Running one
///
/// - takes the launch variable out of the environment and, if it was there, takes over the connection that it names;
///   otherwise (started by hand) finds the daemon at `KEYWAY_SOCKET` or at its default addresses;
/// - refuses a daemon of another user;
/// - makes the process undumpable, turns core dumps off, and keeps panics from printing values;
/// - logs to stderr (`RUST_LOG`), where no other subscriber is set; stdout is free;
/// - registers, answers until the connection ends, the daemon asks for the end, or SIGINT or SIGTERM arrives, and lets
///   running requests finish, for at most two seconds.
///
/// The exit status is 0 after any of those ends. It is 78 if the plugin is set up wrongly (a launch variable that is wrong,
/// no name, [`ProviderError::fatal`] from the set-up), so that the daemon does not start it again before something has
/// changed, and 1 for any other failure. Both come with a message on stderr.
#[derive(Clone, Debug)]
pub struct Plugin {
    name: Option<String>,
    reconnect: Option<Backoff>,
    answer_memory: u64,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            name: None,
            reconnect: None,
            answer_memory: DEFAULT_ANSWER_MEMORY,
        }
    }
}

impl Plugin {
    /// A plugin that is called `name` when it is started by hand; a runtime that launches it decides about its name.
    /// Default: the file name of the executable.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// When started by hand, waits for the daemon and comes back when it was restarted. Default: ends with it.
    ///
    /// A launched plugin always ends with its connection.
    #[must_use]
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.reconnect = Some(backoff);
        self
    }

    /// How many bytes the answers for which the provider [reserves](crate::Query::reserve) room may have together while they
    /// are made and sent; others wait for their turn. Default: [`DEFAULT_ANSWER_MEMORY`].
    ///
    /// A value is in memory twice while it is encoded, so the process may need twice as much.
    #[must_use]
    pub fn answer_memory(mut self, bytes: u64) -> Self {
        self.answer_memory = bytes;
        self
    }

    /// Runs a provider; see [`Plugin`].
    pub fn run(self, provider: impl SecretsProvider) -> ExitCode {
        self.run_with(|| Ok(provider))
    }

    /// As [`run`](Self::run) for a provider that is made when the process is prepared: `make` may log, its values are
    /// in a process that cannot be dumped, and the launch variable is gone.
    pub fn run_with<P: SecretsProvider>(
        self,
        make: impl FnOnce() -> Result<P, ProviderError>,
    ) -> ExitCode {
        let memory = self.answer_memory;
        self.main(|| Ok(Box::new(Provider::new(make()?, memory))))
    }

    /// Runs an access-control module; see [`Plugin`].
    pub fn run_access_control(self, module: impl AccessControl) -> ExitCode {
        self.main(|| Ok(Box::new(Access(Arc::new(module)))))
    }

    fn main(self, make: impl FnOnce() -> Result<Box<dyn Role>, ProviderError>) -> ExitCode {
        match self.start(make) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Written and not logged, so that no filter can hide why the plugin ended. With stderr gone there is
                // nobody to tell.
                let _ = writeln!(io::stderr(), "ERROR {error}");
                ExitCode::from(error.exit_status())
            }
        }
    }

    fn start(
        self,
        make: impl FnOnce() -> Result<Box<dyn Role>, ProviderError>,
    ) -> Result<(), RunError> {
        let start = start::detect()?;
        process::quiet_panics();
        log::install();
        if let Err(error) = process::harden() {
            tracing::warn!(%error, "this process can be dumped: the system did not allow to forbid it");
        }
        let role = make().map_err(|error| {
            error.log_source(None);
            RunError::Provider(error)
        })?;
        let runtime = runtime().map_err(RunError::Runtime)?;
        let result = runtime.block_on(async {
            let mut signals = Signals::listen().map_err(RunError::Runtime)?;
            match start {
                Start::Launched { config, socket } => {
                    launched(config, socket, &*role, &mut signals).await
                }
                Start::ByHand => self.by_hand(&*role, &mut signals).await,
            }
        });
        // A blocking call that is still running has nobody left to answer.
        runtime.shutdown_background();
        result
    }

    async fn by_hand(&self, role: &dyn Role, signals: &mut Signals) -> Result<(), RunError> {
        let name = self
            .name
            .clone()
            .or_else(executable_name)
            .ok_or(RunError::NoName)?;
        let introduction =
            Introduction::new(name, REGISTRATION_TIMEOUT, role).map_err(RegisterError::from)?;
        let mut attempt = 0;
        loop {
            let started = Instant::now();
            let outcome = connect_once(role, &introduction, signals).await;
            let Some(backoff) = self.reconnect.as_ref() else {
                return outcome.map(drop);
            };
            match outcome {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(_) => tracing::info!("the daemon has gone; trying to reach the next one"),
                Err(error) if error.is_temporary() => tracing::warn!("{error}"),
                Err(error) => return Err(error),
            }
            if started.elapsed() >= LONG_LIVED {
                attempt = 0;
            }
            tokio::select! {
                () = signals.received() => return Ok(()),
                () = tokio::time::sleep(backoff.delay(attempt, random())) => {}
            }
            attempt = attempt.saturating_add(1);
        }
    }
}

/// One connection of a plugin that was started by hand.
async fn connect_once(
    role: &dyn Role,
    introduction: &Introduction,
    signals: &mut Signals,
) -> Result<Ended, RunError> {
    let stream = tokio::select! {
        () = signals.received() => return Ok(Ended::Stopped),
        stream = dial(|name| env::var_os(name)) => stream?,
    };
    Ok(connection::run(stream, role, introduction, signals.received()).await?)
}

async fn launched(
    config: LaunchConfig,
    socket: std::os::unix::net::UnixStream,
    role: &dyn Role,
    signals: &mut Signals,
) -> Result<(), RunError> {
    let introduction =
        Introduction::new(config.name, config.timeout, role).map_err(RegisterError::from)?;
    let stream = UnixStream::from_std(socket).map_err(RunError::Runtime)?;
    let ended = connection::run(stream, role, &introduction, signals.received()).await?;
    tracing::debug!(?ended, "the connection has ended");
    Ok(())
}

/// How many tasks run before the sockets are looked at again; tokio's default is 61. While slow
/// handlers keep the thread busy, a runtime that waits for its streams to be acknowledged should
/// not wait for that many of them.
const EVENT_INTERVAL: u32 = 16;

/// One thread: a plugin mostly waits, and hundreds of plugins should fit on a machine.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(EVENT_INTERVAL)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_keep_alive(IDLE_THREAD)
        .build()
}

fn executable_name() -> Option<String> {
    let path = env::args_os().next()?;
    Path::new(&path).file_name()?.to_str().map(str::to_owned)
}

/// A number that differs from process to process and from call to call.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Why a plugin ended with another exit status than 0.
#[derive(Debug)]
#[non_exhaustive]
enum RunError {
    Dial(DialError),
    NoName,
    Provider(ProviderError),
    Register(RegisterError),
    Runtime(io::Error),
    Start(StartError),
}

impl RunError {
    fn is_temporary(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_temporary(),
            Self::Register(error) => error.is_temporary(),
            Self::NoName | Self::Provider(_) | Self::Runtime(_) | Self::Start(_) => false,
        }
    }

    /// 78 if another start cannot succeed before something has changed.
    fn exit_status(&self) -> u8 {
        let is_setup = match self {
            Self::Dial(DialError::Environment(_)) | Self::NoName | Self::Start(_) => true,
            Self::Provider(error) => error.kind() == ErrorKind::Fatal,
            Self::Register(error) => matches!(error, RegisterError::Invalid(_)),
            Self::Dial(_) | Self::Runtime(_) => false,
        };
        match is_setup {
            true => SETUP_FAILED,
            false => 1,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::NoName => f.write_str("the plugin has no name; give it one with Plugin::new"),
            Self::Provider(error) => match error.remedy() {
                Some(remedy) => write!(f, "{error}; {remedy}"),
                None => error.fmt(f),
            },
            Self::Register(error) => error.fmt(f),
            Self::Runtime(error) => write!(f, "the system gave the plugin no event loop: {error}"),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl From<DialError> for RunError {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
    }
}

impl From<RegisterError> for RunError {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

impl From<StartError> for RunError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

#[cfg(test)]
mod tests {
    use keyway_proto::registration::InvalidRegistration;

    use super::*;

    #[test]
    fn only_a_fault_that_stays_ends_with_78() {
        let status = |error: RunError| error.exit_status();
        assert_eq!(status(RunError::NoName), 78);
        assert_eq!(status(RunError::Provider(ProviderError::fatal(""))), 78);
        let invalid = RegisterError::Invalid(InvalidRegistration::NoName);
        assert_eq!(status(invalid.into()), 78);
        assert_eq!(status(RunError::Provider(ProviderError::locked(""))), 1);
        let lost = RegisterError::Lost {
            name: String::new(),
            source: None,
        };
        assert_eq!(status(lost.into()), 1);
        let attempts = Vec::new();
        assert_eq!(status(DialError::NotListening { attempts }.into()), 1);
    }

    #[test]
    fn a_failed_set_up_shows_the_remedy() {
        let error = ProviderError::fatal("NOTES_DIR is not set")
            .with_remedy("set it to the directory with the notes")
            .with_source("canary");
        assert_eq!(
            RunError::Provider(error).to_string(),
            "NOTES_DIR is not set; set it to the directory with the notes"
        );
    }
}
