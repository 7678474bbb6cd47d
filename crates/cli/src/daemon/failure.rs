//! Converts errors of the daemon and its client into failures of a command.

use keyway_local::is_stopped;
use keyway_resolver::{ConnectError, DialError, Id, Pattern, ResolveError};
use keyway_rpc::Code;
use rustix::process::Pid;

use crate::exit::Exit;
use crate::failure::Failure;

/// Returns the failure for a daemon that is not running or not trusted.
pub(crate) fn not_running(error: &ConnectError) -> Failure {
    let is_foreign = |error: &DialError| matches!(error, DialError::ForeignDaemon { .. });
    let advice = if error.is_not_running() {
        "Start it with `keyway serve`, or say with --socket where it listens"
    } else if error
        .attempts()
        .iter()
        .any(|attempt| is_foreign(&attempt.error))
    {
        "Start your own with `keyway serve`, or name the user of this one with --daemon-uid if you trust that user"
    } else {
        "Check that the daemon works and that you may use its socket, or name another one with --socket"
    };
    let failure = Failure::new(Exit::Unavailable, error, advice);
    match error.is_not_running() {
        true => failure.with_kind("daemon_not_running"),
        false => failure,
    }
}

/// Returns the failure for a daemon that is there and responds to nothing. Its process is named only if it is stopped: with
/// socket activation `pid` is the service manager.
pub(crate) fn unresponsive(pid: Option<i32>) -> Failure {
    let failure = match pid.filter(|pid| Pid::from_raw(*pid).is_some_and(is_stopped)) {
        Some(pid) => Failure::new(
            Exit::Unavailable,
            format_args!("the daemon (process {pid}) does not answer, because it is stopped"),
            format_args!("Continue it with `kill -CONT {pid}`"),
        ),
        None => Failure::new(
            Exit::Unavailable,
            "the daemon does not answer",
            "A daemon that hangs is ended with `kill` and started again with `keyway serve`; its log may say why",
        ),
    };
    failure.with_kind("daemon_unresponsive")
}

/// Converts the error of an explanation.
pub(crate) fn explain_failure(pattern: &Pattern, error: ResolveError) -> Failure {
    match error {
        ResolveError::NotFound { .. } => not_found(pattern),
        ResolveError::Denied { message } => denied(pattern, &message),
        error => request_failure(error),
    }
}

/// Returns the failure of a query that was denied.
pub(super) fn denied(pattern: &Pattern, message: &str) -> Failure {
    let (why, advice) = split_advice(
        message,
        "Run `keyway plugins` to see the access-control modules; the daemon's configuration names them in `[access]`",
    );
    let what = format_args!("access to {pattern} was denied: {why}");
    Failure::new(Exit::Denied, what, advice).with_id_of(pattern)
}

/// Splits a message of the daemon into the cause and the advice, which is its last sentence. Messages of other
/// implementations have none, for which `default` is used.
pub(crate) fn split_advice<'a>(message: &'a str, default: &'a str) -> (&'a str, &'a str) {
    message.rsplit_once(". ").unwrap_or((message, default))
}

/// Returns the failure of a query without a match.
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
    Failure::new(Exit::NotFound, what, advice).with_id_of(pattern)
}

/// Returns the failure of an id with several values. Only other implementations of the daemon return those.
pub(crate) fn ambiguous(id: &Id, providers: &[String]) -> Failure {
    if let [first, others @ ..] = providers
        && others.iter().all(|other| other == first)
    {
        let failure = Failure::error(
            format_args!(
                "{first} returned {} secrets with the id {id}",
                providers.len()
            ),
            "Report this to the author of the provider, which must return one secret per id",
        );
        return failure.with_plugin(first).with_id_of(&id.into());
    }
    Failure::error(
        format_args!("{id} is provided by {}", providers.join(" and by ")),
        "Give one of them a `priority` in the daemon's configuration, or turn one off with `keyway plugins disable NAME`",
    )
    .with_kind("conflict")
    .with_id_of(&id.into())
}

/// Converts the error of a request that is not a query.
pub(crate) fn request_failure(error: ResolveError) -> Failure {
    match error {
        ResolveError::NotRunning(error) => not_running(&error),
        ResolveError::Denied { message } => {
            let (why, advice) = split_advice(
                &message,
                "Only the daemon's own user may do this, and access-control modules may deny it; the daemon's log says which",
            );
            let what = format_args!("access was denied: {why}");
            Failure::new(Exit::Denied, what, advice)
        }
        ResolveError::NotFound { .. } => Failure::new(
            Exit::NotFound,
            error,
            "Run `keyway ls` or `keyway plugins` to see what there is",
        ),
        ResolveError::Unresponsive { pid } => unresponsive(pid),
        // The message names an RPC method, which does not help a user.
        ResolveError::TimedOut { .. } => Failure::new(
            Exit::Unavailable,
            "the daemon did not respond in time",
            "Try again with a longer --timeout; a daemon that hangs is ended with `kill` and started again with `keyway serve`",
        )
        .with_kind("timed_out"),
        ResolveError::Unavailable { message, .. } | ResolveError::Uncertain { message, .. } => {
            unavailable(&message)
        }
        ResolveError::Unsupported { .. } => Failure::error(
            error,
            "Compare both with `keyway version`: the daemon may be older than this program, or another implementation",
        ),
        ResolveError::InvalidResponse { .. } => Failure::error(
            error,
            "Compare both with `keyway version`, and run `keyway plugins` to see the providers",
        ),
        ResolveError::Invalid { .. } => Failure::error(
            error,
            "Check the arguments; `keyway version` shows whether the daemon is older than this program",
        ),
        ResolveError::Other(error) if error.code() == Code::FailedPrecondition => Failure::error(
            format_args!("nothing was changed: {}", error.message()),
            "Run `keyway plugins` to see the state of each plugin",
        ),
        ResolveError::Other(error) => Failure::error(
            format_args!("the daemon failed: {}", error.message()),
            "Look at the daemon's log",
        ),
        error => Failure::error(
            format_args!("the daemon failed: {error}"),
            "Look at the daemon's log",
        ),
    }
}

/// Returns the failure of a request that the daemon or a provider cannot serve now.
pub(super) fn unavailable(message: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format_args!("the request failed: {message}"),
        "Run `keyway plugins` to check the daemon, then try again",
    )
}
