//! Asking the daemon, and saying why it gave no answer.

use std::ffi::OsString;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use keyway_resolver::{
    Address, ConnectError, DaemonSocket, DialError, GetOneError, Id, Pattern, ResolveError,
    Resolver,
};
use keyway_rpc::Code;
use tokio::runtime::Builder;

use crate::exit::Exit;
use crate::failure::Failure;

/// A client of the daemon.
pub(crate) type Daemon = Resolver<DaemonSocket>;

/// Where the daemon is.
#[derive(Args, Debug)]
pub(crate) struct DaemonOptions {
    /// The daemon's socket: a path, or @NAME for an abstract socket [env: KEYWAY_SOCKET].
    #[arg(long, value_name = "ADDR", global = true, value_parser = OsStringValueParser::new().try_map(parse))]
    socket: Option<Address>,
}

fn parse(text: OsString) -> Result<Address, keyway_resolver::ParseAddressError> {
    Address::from_os_str(&text)
}

impl DaemonOptions {
    /// Asks the daemon something. It is looked for when the question is asked, not before.
    pub(crate) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(Daemon) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let socket = self.socket()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::error(
                format_args!("the system gives no event queue: {error}"),
                "Check how many files this process may open",
            )
        })?;
        runtime.block_on(question(Resolver::new(socket)))
    }

    fn socket(&self) -> Result<DaemonSocket, Failure> {
        if let Some(address) = &self.socket {
            return Ok(DaemonSocket::at(address.clone()));
        }
        DaemonSocket::from_env().map_err(|error| {
            Failure::usage(error, "Correct the variable, or unset it for the default")
        })
    }
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
        "Start your own with `keyway serve`, and say with --socket where it listens"
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
