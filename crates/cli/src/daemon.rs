//! Requests to the daemon, and why one has no result.

use std::env;

use keyway_local::{EnvironmentError, Places, daemon_uid, given_address};
use keyway_resolver::{
    ConnectError, DaemonSocket, DialError, FailureKind, GetOneError, Id, Pattern, ProviderFailure,
    ResolveError, Resolver,
};
use keyway_rpc::Code;
use tokio::runtime::Builder;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::failures::Query;
use crate::globals::Globals;
use crate::inventory;

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
    let mut daemon = Resolver::new(socket)
        .with_may_ask_user(!globals.no_ask)
        .with_retry(true);
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

/// A client and what its user said about the query, which turns failed providers into failures of the command.
#[derive(Clone, Copy)]
pub(crate) struct Session<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) globals: &'a Globals,
}

impl Session<'_> {
    /// Why a query has no result.
    pub(crate) async fn failure(self, pattern: &Pattern, error: ResolveError) -> Failure {
        match error {
            ResolveError::NotFound { .. } => not_found(pattern),
            ResolveError::Denied { message } => denied(pattern, &message),
            // A daemon that describes no failures says in its message what happened.
            ResolveError::Uncertain { message, failures }
                if failures.iter().all(is_undescribed) =>
            {
                Failure::new(
                    Exit::Unavailable,
                    message,
                    "Run `keyway plugins` to see what is wrong, then try again",
                )
            }
            ResolveError::Uncertain { message, failures }
            | ResolveError::Conflict { message, failures } => self
                .failed(pattern, &failures, false)
                .await
                .unwrap_or_else(|| unavailable(&message)),
            error => unanswered(error),
        }
    }

    /// Why the query for an id has not exactly one result.
    pub(crate) async fn one_failure(self, id: &Id, error: GetOneError) -> Failure {
        match error {
            GetOneError::Resolve(error) => self.failure(&id.into(), error).await,
            GetOneError::Ambiguous { providers, .. } => ambiguous(id, &providers),
            error => Failure::error(error, "Run `keyway plugins` to see the providers"),
        }
    }

    /// The failure of the providers that failed, if there are any; `is_partial` says whether a result was printed all the same.
    pub(crate) async fn failed(
        self,
        pattern: &Pattern,
        failures: &[ProviderFailure],
        is_partial: bool,
    ) -> Option<Failure> {
        if failures.is_empty() {
            return None;
        }
        let unlimited = inventory::unlimited(self.daemon).await;
        let query = Query {
            pattern,
            is_partial,
            no_ask: self.globals.no_ask,
            unlimited: &unlimited,
        };
        query.failure(failures)
    }
}

fn is_undescribed(failure: &ProviderFailure) -> bool {
    failure.kind == FailureKind::Unknown && failure.message.is_empty()
}

/// Why there is no explanation of a query.
pub(crate) fn refused(pattern: &Pattern, error: ResolveError) -> Failure {
    match error {
        ResolveError::NotFound { .. } => not_found(pattern),
        ResolveError::Denied { message } => denied(pattern, &message),
        error => unanswered(error),
    }
}

/// Authorization refused the query.
fn denied(pattern: &Pattern, message: &str) -> Failure {
    let (why, advice) = refusal(
        message,
        "Run `keyway plugins` to see the access-control modules; the daemon's configuration names them in `[access]`",
    );
    let what = format_args!("access to {pattern} was denied: {why}");
    Failure::new(Exit::Denied, what, advice)
}

/// Why a daemon refused something, and what to do. The last sentence of the daemon's text is its own advice; a daemon of
/// another make gives none.
pub(crate) fn refusal<'a>(message: &'a str, default: &'a str) -> (&'a str, &'a str) {
    message.rsplit_once(". ").unwrap_or((message, default))
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

/// More than one provider has the id, or one has it more than once, which only daemons of another make let through.
pub(crate) fn ambiguous(id: &Id, providers: &[String]) -> Failure {
    if let [first, others @ ..] = providers
        && others.iter().all(|other| other == first)
    {
        return Failure::error(
            format_args!("{first} gives {} secrets with the id {id}", providers.len()),
            "It is not known which is meant: ask the author of that provider to give one of them",
        );
    }
    Failure::error(
        format_args!("{id} is provided by {}", providers.join(" and by ")),
        "Give one of them a `priority` in the daemon's configuration, or turn one off with `keyway plugins disable NAME`",
    )
}

/// Why a question that is not about particular secrets got no answer.
pub(crate) fn unanswered(error: ResolveError) -> Failure {
    match error {
        ResolveError::NotRunning(error) => not_running(&error),
        ResolveError::Denied { message } => {
            let (why, advice) = refusal(
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
        // The text of the daemon or the client names a method, which says nothing to a user.
        ResolveError::TimedOut { .. } => Failure::new(
            Exit::Unavailable,
            "the daemon did not answer in time",
            "Try again with a longer --timeout; a daemon that hangs is ended with `kill` and started again with `keyway serve`",
        ),
        ResolveError::Unavailable { message, .. } | ResolveError::Uncertain { message, .. } => {
            unavailable(&message)
        }
        ResolveError::Unsupported { .. } => Failure::error(
            error,
            "Compare both with `keyway version`: the daemon may be older than this program, or of another make",
        ),
        ResolveError::InvalidResponse { .. } => Failure::error(
            error,
            "Compare both with `keyway version`, and run `keyway plugins` to see the providers",
        ),
        ResolveError::Invalid { .. } => Failure::error(
            error,
            "Check what was asked for; `keyway version` tells whether the daemon is older than this program",
        ),
        ResolveError::Other(error) if error.code() == Code::FailedPrecondition => Failure::error(
            format_args!("nothing was changed: {}", error.message()),
            "Run `keyway plugins` to see how things are",
        ),
        ResolveError::Other(error) => Failure::error(
            format_args!("the daemon failed: {}", error.message()),
            "Look at what it wrote to its log",
        ),
        error => Failure::error(
            format_args!("the daemon failed: {error}"),
            "Look at what it wrote to its log",
        ),
    }
}

fn unavailable(message: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format_args!("there is no answer: {message}"),
        "Check with `keyway plugins` that the daemon is well, then try again",
    )
}
