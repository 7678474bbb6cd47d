//! The plugin process: [`run`] and [`Plugin`].

mod error;

use std::env;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keyway_proto::LaunchConfig;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use self::error::RunError;
use crate::blocking::MAX_BLOCKING_THREADS;
use crate::connection::{self, Ended, REGISTRATION_TIMEOUT, RegisterError};
use crate::dial::dial;
use crate::registration::RegistrationRequest;
use crate::service::{Access, Provider, Role};
use crate::signals::Signals;
use crate::start::{self, Start};
use crate::{AccessControl, Backoff, Daemon, ProviderError, SecretsProvider, log, process};

/// Default memory budget of the large responses of a provider, in bytes: 64 MiB.
pub const DEFAULT_ANSWER_MEMORY: u64 = 64 * 1024 * 1024;
/// The time for which an idle thread of [`blocking`](crate::blocking) is kept.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The backoff starts again from its first delay after a connection that lasted this long.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(10);

/// Runs a provider as a plugin until it is stopped, and returns the exit status. Call it from a plain `main`, before any
/// thread is started.
///
/// See [`Plugin`] for the steps and the settings.
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

/// Runs an access-control module as a plugin until it is stopped; see [`run`].
pub fn run_access_control(module: impl AccessControl) -> ExitCode {
    Plugin::default().run_access_control(module)
}

/// A plugin process and its settings.
///
/// Running a plugin
///
/// - removes the launch variable from the environment and, if it was set, uses the connection that it names;
///   otherwise (an external plugin) connects to the daemon at `KEYWAY_SOCKET` or at its default addresses;
/// - refuses a daemon of another user;
/// - makes the process undumpable, disables core dumps, and keeps panics from printing values;
/// - logs to stderr (`RUST_LOG`), unless another subscriber is set; stdout is not used;
/// - registers, and serves until the connection ends, the daemon calls `Shutdown`, or SIGINT or SIGTERM arrives; then
///   drains requests in flight, for at most two seconds.
///
/// The exit status is 0 after any of these ends. It is 78 if the plugin is misconfigured (an invalid launch variable, no
/// name, [`ProviderError::fatal`] from the set-up), so that the daemon does not restart it before something has changed,
/// and 1 for any other failure. Both come with a message on stderr.
#[derive(Clone, Debug)]
pub struct Plugin {
    name: Option<String>,
    reconnect: Option<Backoff>,
    answer_memory: u64,
    daemon: Daemon,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            name: None,
            reconnect: None,
            answer_memory: DEFAULT_ANSWER_MEMORY,
            daemon: Daemon::new(),
        }
    }
}

impl Plugin {
    /// Creates a plugin that registers as `name` if it is external; the runtime that launches a plugin sets its name.
    /// Default: the file name of the executable.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// Makes an external plugin wait for the daemon and reconnect after the daemon was restarted. Default: it ends with its
    /// connection.
    ///
    /// A launched plugin always ends with its connection.
    #[must_use]
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.reconnect = Some(backoff);
        self
    }

    /// Sets the memory budget, in bytes, of the responses for which the provider [reserves](crate::Query::reserve) memory,
    /// from the reservation until they are sent; further reservations wait. Default: [`DEFAULT_ANSWER_MEMORY`].
    ///
    /// A value is in memory twice while it is encoded, so the process may need twice as much.
    #[must_use]
    pub fn answer_memory(mut self, bytes: u64) -> Self {
        self.answer_memory = bytes;
        self
    }

    /// Connects a handle, with which the provider reports changes of its secrets, to the daemon.
    #[must_use]
    pub fn daemon(mut self, daemon: &Daemon) -> Self {
        self.daemon = daemon.clone();
        self
    }

    /// Runs a provider; see [`Plugin`].
    pub fn run(self, provider: impl SecretsProvider) -> ExitCode {
        self.run_with(|| Ok(provider))
    }

    /// Runs the provider that `make` creates after the process is prepared: `make` may log, the process is undumpable, and
    /// the launch variable is removed. See [`Plugin`].
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
        let _flush = FlushOnDrop;
        match self.start(make) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Written instead of logged, so that no filter can hide why the plugin ended.
                log::write_line(&format!("ERROR {}\n", error.text()));
                ExitCode::from(error.exit_status())
            }
        }
    }

    fn start(
        self,
        make: impl FnOnce() -> Result<Box<dyn Role>, ProviderError>,
    ) -> Result<(), RunError> {
        let start = start::detect()?;
        process::redact_panics();
        log::install();
        if let Err(error) = process::harden() {
            tracing::warn!(%error, "cannot make the process undumpable");
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
                    run_launched(config, socket, &*role, &self.daemon, &mut signals).await
                }
                Start::External => self.run_external(&*role, &mut signals).await,
            }
        });
        // Does not wait for blocking work, whose result has no receiver any more.
        runtime.shutdown_background();
        result
    }

    async fn run_external(&self, role: &dyn Role, signals: &mut Signals) -> Result<(), RunError> {
        let name = self
            .name
            .clone()
            .or_else(executable_name)
            .ok_or(RunError::NoName)?;
        let registration = RegistrationRequest::new(name, REGISTRATION_TIMEOUT, role)
            .map_err(RegisterError::from)?;
        let mut attempt = 0;
        loop {
            let started = Instant::now();
            let outcome = connect_once(role, &registration, &self.daemon, signals).await;
            let Some(backoff) = self.reconnect.as_ref() else {
                return outcome.map(drop);
            };
            match outcome {
                Ok(Ended::Signalled) => return Ok(()),
                Ok(_) => tracing::info!("disconnected from the daemon; reconnecting"),
                Err(error) if error.is_temporary() => tracing::warn!("{}", error.text()),
                Err(error) => return Err(error),
            }
            if started.elapsed() >= BACKOFF_RESET_AFTER {
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

/// Writes the log when it is dropped: at the end of the plugin, also by a panic.
struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        log::flush();
    }
}

/// Serves one connection of an external plugin.
async fn connect_once(
    role: &dyn Role,
    registration: &RegistrationRequest,
    daemon: &Daemon,
    signals: &mut Signals,
) -> Result<Ended, RunError> {
    let stream = tokio::select! {
        () = signals.received() => return Ok(Ended::Signalled),
        stream = dial(|name| env::var_os(name)) => stream?,
    };
    Ok(connection::run(stream, role, registration, daemon, signals.received()).await?)
}

/// Serves the inherited connection of a launched plugin.
async fn run_launched(
    config: LaunchConfig,
    socket: std::os::unix::net::UnixStream,
    role: &dyn Role,
    daemon: &Daemon,
    signals: &mut Signals,
) -> Result<(), RunError> {
    let registration =
        RegistrationRequest::new(config.name, config.timeout, role).map_err(RegisterError::from)?;
    let stream = UnixStream::from_std(socket).map_err(RunError::Runtime)?;
    let ended = connection::run(stream, role, &registration, daemon, signals.received()).await?;
    tracing::debug!(?ended, "connection ended");
    Ok(())
}

/// Number of tasks that run between two polls of the sockets; tokio's default is 61. It is lower here so that slow
/// handlers on the one thread do not delay the acknowledgement of new streams.
const EVENT_INTERVAL: u32 = 16;

/// Builds a runtime of one thread: a plugin mostly waits, and hundreds of plugins should fit on a machine.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(EVENT_INTERVAL)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .build()
}

fn executable_name() -> Option<String> {
    let path = env::args_os().next()?;
    Path::new(&path).file_name()?.to_str().map(str::to_owned)
}

/// Returns a number that differs between processes and calls.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
