//! `keyway serve`: the daemon.

mod logging;
mod service_manager;
pub(crate) mod settings;
mod signals;

use std::env;
use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use keyway_local::{Address, KnownUids, with_causes};
use keyway_runtime::{BindError, Config, Daemon, ListenError};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use tracing::Level;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::{event_loop, process, sys};
use logging::Log;
use settings::{ConfigOptions, Settings};

/// How long an idle thread for blocking work is kept: for good.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The most threads for blocking work, which reads plugin files and the configuration.
const MAX_BLOCKING_THREADS: usize = 32;

/// How long the start may take to read the configuration, and again to read the state and to listen. It is a matter of
/// milliseconds, unless a file system hangs.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long a start that a signal ends may take to undo what it has done.
const ABANDON_LIMIT: Duration = Duration::from_secs(1);

/// Options of `keyway serve`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Listen at this address instead of the default ones, as with --socket: a path, or @NAME for an abstract socket; can be
    /// repeated [env: KEYWAY_SOCKET].
    #[arg(long, value_name = "ADDR", value_parser = OsStringValueParser::new().try_map(parse))]
    listen: Vec<Address>,
    /// Also listen where plugins built with SDK v0.0.10 and before look for a daemon.
    #[arg(long)]
    listen_older: bool,
    /// Launch the plugins in this directory instead of the default ones; can be repeated.
    #[arg(long, value_name = "DIR")]
    plugin_dir: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigOptions,
    /// How the log is written to stderr; RUST_LOG says how much of it.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable lines.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

fn parse(text: OsString) -> Result<Address, keyway_local::ParseAddressError> {
    Address::from_os_str(&text)
}

/// Runs the daemon until SIGINT or SIGTERM.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let mut options = options.clone();
    // `--socket` is a synonym of `--listen`.
    options.listen.extend_from_slice(globals.sockets());
    reset_signals()?;
    process::forbid_inspection()?;
    let log = Log::install(options.log_format)?;
    run_with_log(&options, &log).or_else(|failure| {
        // As a part of the log, so that a log that no process reads does not keep the daemon from ending.
        log.write(Level::ERROR, failure.lines());
        Ok(failure.exit())
    })
}

fn run_with_log(options: &Options, log: &Log) -> Result<Exit, Failure> {
    check_proc()?;
    keyway_local::check_user_namespace(&KnownUids::read())
        .map_err(|error| Failure::usage(&error, error.remedy()))?;
    let inherited = service_manager::inherited_sockets()?;
    let given = options.config.given();
    let settings = Settings::new(options)?;
    let runtime = event_loop::build(
        tokio::runtime::Builder::new_current_thread()
            // The first thread for blocking work stays: where the system has no room for another one, the work waits for it.
            .thread_keep_alive(THREAD_KEEP_ALIVE)
            .max_blocking_threads(MAX_BLOCKING_THREADS),
    )?;
    let outcome = runtime.block_on(serve(settings, inherited, given, log));
    // A thread that waits for a file system that hangs does not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Depends on no signal mask and no dispositions that the parent left: a blocked SIGTERM would not stop the daemon, a shell lets
/// programs in the background ignore SIGINT, which would be lost until the handlers are installed, and the kernel reaps the
/// children of a process that ignores SIGCHLD, so that their status is lost. Must be called before other threads start.
fn reset_signals() -> Result<(), Failure> {
    let depended_on = [libc::SIGTERM, libc::SIGINT, libc::SIGCHLD];
    let result = keyway_local::unblock_signals()
        .and_then(|()| depended_on.into_iter().try_for_each(sys::reset));
    result.map_err(|error| {
        Failure::error(
            format_args!("signals cannot be reset: {error}"),
            "Allow this process to call rt_sigaction and rt_sigprocmask in its sandbox or service unit",
        )
    })
}

/// Checks that `/proc` describes this process: without it the daemon has no built-in plugin and knows no caller.
fn check_proc() -> Result<(), Failure> {
    let Err(error) = env::current_exe() else {
        return Ok(());
    };
    let what = match Path::new("/proc/self").exists() {
        true => format!("/proc/self/exe cannot be read: {error}"),
        false => "/proc is not mounted".to_owned(),
    };
    Err(Failure::usage(
        format_args!(
            "{what}, and without it the daemon knows neither its own program nor its callers"
        ),
        "Mount it with `mount -t proc proc /proc`, or let the sandbox or container of the daemon have it",
    ))
}

async fn serve(
    settings: Settings,
    inherited: Vec<UnixListener>,
    given: Option<&str>,
    log: &Log,
) -> Result<Exit, Failure> {
    event_loop::start_first_thread()?;
    let settings = Arc::new(settings);
    let config = read(&settings, given.map(str::to_owned)).await?;
    // Not before: until then a signal ends the process.
    let mut signals = signals::Signals::listen()?;
    let mut starting = pin!(start(Arc::clone(&settings), config.clone(), inherited));
    let daemon = tokio::select! {
        started = &mut starting => started?,
        () = signals.stop() => {
            // A daemon that listens by now removes its sockets when it is dropped.
            let _ = timeout(ABANDON_LIMIT, starting).await;
            return Ok(Exit::Done);
        }
    };
    report_missing_plugin_dirs(&settings, config);
    let handle = daemon.handle();
    let ready = ready_line(&daemon);
    let following = service_manager::follow(daemon.activities(), || log.write(Level::INFO, ready));
    let daemon = match service_manager::heartbeat_interval() {
        Some(interval) => daemon.with_heartbeat(interval, service_manager::notify_heartbeat),
        None => daemon,
    };
    let daemon = daemon.on_reload(move || {
        let config = settings.read()?;
        settings.remember(&config);
        Ok(config)
    });
    let stop = async {
        signals.serve_until_stop(&handle).await;
        service_manager::notify_stopping();
    };
    let running = daemon.run(stop);
    let mut second_stop = signals::second_stop()?;
    tokio::select! {
        () = running => Ok(Exit::Done),
        never = following => match never {},
        () = second_stop.wait() => Err(Failure::error(
            "a second signal ended the daemon before its plugins had stopped",
            "Nothing is left to do: the remaining plugins were killed",
        )),
    }
}

/// Reads the configuration.
async fn read(settings: &Arc<Settings>, given: Option<String>) -> Result<Config, Failure> {
    let what = "the configuration and the state directory were not read";
    let settings = Arc::clone(settings);
    within_start_limit(what, move || {
        settings.read().map_err(|error| {
            let given = given.filter(|_| !settings.is_known());
            settings::failure(&error, given.as_deref())
        })
    })
    .await
}

/// Reads the state and listens.
async fn start(
    settings: Arc<Settings>,
    config: Config,
    inherited: Vec<UnixListener>,
) -> Result<Daemon, Failure> {
    let what = "the state directory and the directories of the sockets were not opened";
    within_start_limit(what, move || {
        let daemon = Daemon::bind_inherited(config.clone(), inherited)
            .map_err(|error| bind_failure(&error))?;
        // Only after `bind`: a daemon that cannot start must not change the state of the running one.
        settings.remember(&config);
        Ok(daemon)
    })
    .await
}

/// Logs the plugin directories that do not exist. The daemon does not wait for it, because their file systems may hang.
fn report_missing_plugin_dirs(settings: &Arc<Settings>, config: Config) {
    let settings = Arc::clone(settings);
    spawn_blocking(move || {
        for path in settings.missing_plugin_dirs(&config) {
            tracing::warn!(path = %path.display(), "plugin directory does not exist");
        }
    });
}

/// Runs a step of the start that reads and writes files. The end of the process does not wait for its thread.
async fn within_start_limit<T: Send + 'static>(
    what: &str,
    step: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let stopped = |error: JoinError| Failure::error(error, "Report this as a bug");
    match timeout(START_LIMIT, spawn_blocking(step)).await {
        Ok(result) => result.map_err(stopped)?,
        Err(_) => Err(Failure::usage(
            format_args!(
                "{what} within {} s, because their file system does not respond",
                START_LIMIT.as_secs()
            ),
            "Check the file systems, or name other places with --config, --state-dir and --listen",
        )),
    }
}

/// Returns the line that reports that requests are served.
fn ready_line(daemon: &Daemon) -> String {
    let addresses: Vec<String> = daemon
        .addresses()
        .into_iter()
        .map(ToString::to_string)
        .collect();
    format!("keyway: ready at {}\n", addresses.join(", "))
}

fn bind_failure(error: &BindError) -> Failure {
    let text = with_causes(error);
    match error {
        BindError::StateInUse(_) => Failure::usage(
            text,
            "Stop that daemon with `keyway stop`, or give this one a directory of its own with --state-dir",
        ),
        BindError::Listen(error @ ListenError::InUse { .. }) if error.is_service_manager() => {
            Failure::usage(
                text,
                "Use the daemon that systemd starts, or stop listening with `systemctl --user stop keyway.socket`",
            )
        }
        BindError::Listen(ListenError::InUse { .. }) => Failure::usage(
            text,
            "Stop it with `keyway stop`, or choose another address with --listen",
        ),
        BindError::Listen(ListenError::NotASocket { .. }) => {
            Failure::usage(text, "Remove it, or choose another address with --listen")
        }
        BindError::Listen(ListenError::Inherited { .. }) => Failure::usage(
            text,
            "Give the socket unit only listening Unix stream sockets (`ListenStream=PATH`)",
        ),
        BindError::Audit(_) => Failure::usage(
            text,
            "Correct `path` of [audit] in the configuration, or the file that it names",
        ),
        BindError::NoAddress => Failure::usage(text, "Name an address with --listen"),
        BindError::Listen(_) => Failure::usage(
            text,
            "Correct the named path, or choose another address with --listen",
        ),
        _ => Failure::error(
            text,
            "Check the limits of this user for processes and files",
        ),
    }
}
