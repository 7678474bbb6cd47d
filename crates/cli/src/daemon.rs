//! Asking the daemon, and saying why it gave no answer.

use std::env;

use keyway_local::{EnvironmentError, Places, daemon_uid, given_address};
use keyway_resolver::{
    ConnectError, DaemonSocket, DialError, GetOneError, Id, Pattern, ResolveError, Resolver,
};
use keyway_rpc::Code;
use tokio::runtime::Builder;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;

/// A client of the daemon.
pub(crate) type Daemon = Resolver<DaemonSocket>;

/// Sends requests to the daemon, which is looked for with the first one.
pub(crate) fn ask<T>(
    globals: &Globals,
    requests: impl AsyncFnOnce(Daemon) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let socket = socket(globals)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::error(
            format_args!("the system gives no event queue: {error}"),
            "Check how many files this process may open",
        )
    })?;
    let mut daemon = Resolver::new(socket);
    if let Some(timeout) = globals.timeout {
        daemon = daemon.with_timeout(timeout);
    }
    let outcome = runtime.block_on(requests(daemon));
    outcome.map_err(|failure| match globals.socket() {
        // What the command line says is not repeated.
        Ok(Some(address)) => {
            failure.with_text_replaced(&format!(" at {address} ("), " at the address of --socket (")
        }
        _ => failure,
    })
}

/// Where the daemon is and whose it is: as the command line says, else as the environment does.
fn socket(globals: &Globals) -> Result<DaemonSocket, Failure> {
    let environment = |name: &str| env::var_os(name);
    let wrong = |error: EnvironmentError| {
        Failure::usage(error, "Correct the variable, or unset it for the default")
    };
    let uid = match globals.daemon_uid {
        Some(uid) => Some(uid),
        None => daemon_uid(environment).map_err(wrong)?,
    };
    let address = match globals.socket()? {
        Some(address) => Some(address.clone()),
        None => given_address(environment).map_err(wrong)?,
    };
    let places = uid.map_or_else(Places::of_process, Places::of_user);
    let socket = DaemonSocket::at_first_of(places.candidates(address));
    Ok(match uid {
        Some(uid) => socket.with_daemon_uid(uid),
        None => socket,
    })
}

/// There is no daemon, or none that may be asked.
pub(crate) fn not_running(error: &ConnectError) -> Failure {
    let foreign = |dial: &DialError| matches!(dial, DialError::ForeignDaemon { .. });
    let advice = if error.is_not_running() {
        "Start it with `keyway serve`, or say with --socket where it listens"
    } else if error
        .attempts()
        .iter()
        .any(|attempt| foreign(&attempt.error))
    {
        "Start your own with `keyway serve`, or name the user of this one with --daemon-uid if you trust that user"
    } else {
        "Check that the daemon is well and that you may use its socket, or name another one with --socket"
    };
    Failure::new(Exit::Unavailable, error, advice)
}

/// Why a question about `pattern` got no answer.
pub(crate) fn failure(pattern: &Pattern, error: ResolveError) -> Failure {
    match error {
        ResolveError::NotFound { .. } => not_found(pattern),
        ResolveError::Denied { message } => Failure::new(
            Exit::Denied,
            format_args!("access to {pattern} was denied: {message}"),
            "Ask whoever decides about access on this daemon; `keyway plugins` shows the modules that do",
        ),
        error => unanswered(error),
    }
}

/// Nothing has the id, or an id that the pattern matches.
pub(crate) fn not_found(pattern: &Pattern) -> Failure {
    let (what, advice) = match pattern.as_id() {
        Some(id) => (
            format!("there is no secret {id}"),
            format!("Run `keyway ls` to see what there is, or store it with `keyway set {id}`"),
        ),
        None => (
            format!("no secret matches {pattern}"),
            "Run `keyway ls` to see what there is".to_owned(),
        ),
    };
    Failure::new(Exit::NotFound, what, advice)
}

/// Why there is not exactly one answer for an id.
pub(crate) fn one_failure(id: &Id, error: GetOneError) -> Failure {
    match error {
        GetOneError::Resolve(error) => failure(&id.into(), error),
        GetOneError::Ambiguous { providers, .. } => ambiguous(id, &providers),
        error => Failure::error(error, "Run `keyway plugins` to see who answers"),
    }
}

/// More than one provider has the id, or one has it more than once, which only daemons of another make let through.
pub(crate) fn ambiguous(id: &Id, providers: &[String]) -> Failure {
    if let [first, others @ ..] = providers
        && others.iter().all(|other| other == first)
    {
        return Failure::error(
            format_args!("{first} gives {} secrets with the id {id}", providers.len()),
            "Nobody can tell which is meant: ask whoever makes that provider to give one of them",
        );
    }
    Failure::error(
        format_args!("{id} is provided by {}", providers.join(" and by ")),
        "Give one of them a `priority` in the daemon's configuration, or turn one off with `keyway plugins disable NAME`",
    )
}

/// Some providers have not answered, so what was printed may not be everything.
pub(crate) fn incomplete(providers: &[String]) -> Failure {
    let (noun, verb) = match providers {
        [_] => ("provider", "has"),
        _ => ("providers", "have"),
    };
    Failure::new(
        Exit::Unavailable,
        format_args!(
            "the {noun} {} {verb} failed, so something may be missing",
            providers.join(", ")
        ),
        "Run `keyway plugins` to see what is wrong",
    )
}

/// Why a question that is not about particular secrets got no answer.
pub(crate) fn unanswered(error: ResolveError) -> Failure {
    match error {
        ResolveError::NotRunning(error) => not_running(&error),
        ResolveError::Denied { .. } => Failure::new(
            Exit::Denied,
            error,
            "Ask whoever decides about access on this daemon",
        ),
        ResolveError::NotFound { .. } => Failure::new(
            Exit::NotFound,
            error,
            "Run `keyway ls` or `keyway plugins` to see what there is",
        ),
        ResolveError::TimedOut { .. } => Failure::new(
            Exit::Unavailable,
            error,
            "Run `keyway plugins` to see whether a provider hangs, then try again",
        ),
        ResolveError::Unavailable { message, .. } => unavailable(message, false),
        ResolveError::Uncertain { message, .. } => unavailable(message, true),
        ResolveError::Unsupported { .. } => Failure::error(
            error,
            "Compare both with `keyway version`: the daemon may be older than this program, or of another make",
        ),
        ResolveError::Invalid { .. } => Failure::error(
            error,
            "Check what was asked for; `keyway version` tells whether the daemon is older than this program",
        ),
        ResolveError::Other(error) if error.code() == Code::FailedPrecondition => Failure::error(
            format_args!("nothing was changed: {}", error.message()),
            "Run `keyway plugins` to see how things are",
        ),
        error => Failure::error(
            format_args!("the daemon failed: {error}"),
            "Look at what it wrote to its log",
        ),
    }
}

fn unavailable(message: String, names_providers: bool) -> Failure {
    let (what, advice) = match names_providers {
        false => (
            format!("there is no answer: {message}"),
            "Check with `keyway plugins` that the daemon is well, then try again",
        ),
        // Where the daemon names who failed, its words are complete.
        true => (
            message,
            "Run `keyway plugins` to see what is wrong, then try again",
        ),
    };
    Failure::new(Exit::Unavailable, what, advice)
}
