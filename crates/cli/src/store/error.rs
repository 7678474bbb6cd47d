//! The failures of writes.

use std::io;
use std::time::Duration;

use keyway_local::format_duration;
use keyway_plugin_file::StoreError;
use keyway_resolver::{FailureKind, Id, ResolveError, WriteError};

use super::file::StoreOptions;
use crate::daemon::{request_failure, split_advice};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::failures::Query;
use crate::output::uncapitalize;

/// Why a write failed.
#[derive(Clone, Debug)]
pub(crate) enum WriteFailure {
    /// The current version is not the expected one. Nothing was written.
    UnexpectedVersion(Failure),
    /// Everything else.
    Failed(Failure),
}

/// The effect that a call may have on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Change,
}

impl From<Failure> for WriteFailure {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<WriteFailure> for Failure {
    fn from(failure: WriteFailure) -> Self {
        match failure {
            WriteFailure::UnexpectedVersion(failure) | WriteFailure::Failed(failure) => failure,
        }
    }
}

/// Returns the failure of a reserved id, which daemons never resolve.
pub(super) fn reserved(id: &Id) -> Failure {
    Failure::usage(
        format_args!(
            "the id {id} is reserved: the daemon uses the ids below it for access control of its own management"
        ),
        "Nothing was stored; choose another id",
    )
}

/// Returns the failure of a provider that cannot be written without a daemon.
pub(super) fn needs_daemon() -> Failure {
    Failure::new(
        Exit::Unavailable,
        "this provider is written through the daemon, and no daemon takes writes",
        "Start it with `keyway serve`, or leave out the provider to write to the file store",
    )
}

/// Returns the failure of a version that the file store does not have.
pub(super) fn no_version(id: &Id) -> Failure {
    Failure::new(
        Exit::NotFound,
        format_args!("the file store has no such version of {id}"),
        format_args!("Run `keyway versions {id}` to see what there is"),
    )
}

/// Returns the failure of a call of the file store in `place` that did not end in time. It may still change the store.
pub(super) fn unresponsive(id: &Id, effect: Effect, place: &str, limit: Duration) -> Failure {
    let limit = format_duration(limit);
    let why = format!("the file store {place} did not respond within {limit}");
    let (what, then) = match effect {
        Effect::None => (
            format!("{id} was not read and nothing was changed: {why}"),
            "try again".to_owned(),
        ),
        Effect::Change => (
            not_known(id, &why),
            format!("run `keyway versions {id}` to see what there is"),
        ),
    };
    let advice =
        format_args!("Check that its disk responds, as with `ls` of that directory, then {then}");
    Failure::new(Exit::Unavailable, what, advice).with_id_of(&id.into())
}

/// Returns the failure of a call of the file store for which the system has no thread.
pub(super) fn no_thread(error: &io::Error) -> Failure {
    Failure::error(
        format_args!("nothing was changed: cannot start a thread for the file store: {error}"),
        "Check the limits of this user for processes",
    )
}

/// Converts an error of the daemon.
pub(super) fn of_daemon(id: &Id, effect: Effect, no_ask: bool, error: WriteError) -> WriteFailure {
    about(id, describe(id, effect, no_ask, error))
}

/// Names the id, for `--json`.
fn about(id: &Id, failure: WriteFailure) -> WriteFailure {
    let pattern = id.into();
    match failure {
        WriteFailure::UnexpectedVersion(failure) => {
            WriteFailure::UnexpectedVersion(failure.with_kind("conflict").with_id_of(&pattern))
        }
        WriteFailure::Failed(failure) => WriteFailure::Failed(failure.with_id_of(&pattern)),
    }
}

fn describe(id: &Id, effect: Effect, no_ask: bool, error: WriteError) -> WriteFailure {
    let look = format!("Run `keyway versions {id}` to see what there is");
    match error {
        WriteError::UnexpectedVersion { message, .. } => {
            WriteFailure::UnexpectedVersion(Failure::error(message, look))
        }
        WriteError::NotFound { message } => Failure::new(
            Exit::NotFound,
            message,
            format_args!("Run `keyway ls` to see what there is, and `keyway versions {id}` for what was removed"),
        )
        .into(),
        WriteError::Outranked { message, .. } | WriteError::Refused { message } => {
            let (what, advice) = split_advice(
                &message,
                "Nothing was changed; run `keyway plugins` to see the providers",
            );
            Failure::error(what, advice).into()
        }
        WriteError::Failed { message, failures } => {
            let query = Query {
                pattern: &id.into(),
                is_partial: false,
                no_ask,
                unrestricted: &[],
            };
            let is_unknown = failures.iter().any(|failure| {
                matches!(
                    failure.kind,
                    FailureKind::TimedOut | FailureKind::Internal | FailureKind::Unknown
                )
            });
            let failure = query
                .failure(&failures)
                .unwrap_or_else(|| Failure::new(Exit::Unavailable, message, &look));
            if effect == Effect::None {
                return failure.into();
            }
            if !is_unknown {
                return not_changed(id, failure).into();
            }
            let has_remedy = failures.iter().any(|failure| !failure.remedy.is_empty());
            let advice = match has_remedy {
                true => format!("{}; then {}", failure.advice(), uncapitalize(&look)),
                false => look,
            };
            let what = not_known(id, failure.what());
            failure.with_sentences(what, advice).into()
        }
        WriteError::Daemon(
            error @ (ResolveError::TimedOut { .. }
            | ResolveError::Unavailable { .. }
            | ResolveError::Unresponsive { .. }),
        ) if effect == Effect::Change => {
            let failure = request_failure(error);
            let advice = format!("{}; {}", failure.advice(), uncapitalize(&look));
            let what = not_known(id, failure.what());
            failure.with_sentences(what, advice).into()
        }
        WriteError::Daemon(ResolveError::Denied { message }) => {
            let (why, advice) = split_advice(
                &message,
                "Only the daemon's own user may write, and access-control modules may deny it; `keyway plugins` shows them",
            );
            let what = format_args!("access to {id} was denied: {why}");
            Failure::new(Exit::Denied, what, advice).into()
        }
        WriteError::Daemon(error) => request_failure(error).into(),
        error => Failure::error(error, look).into(),
    }
}

fn not_changed(id: &Id, failure: Failure) -> Failure {
    let what = format!("{id} was not changed: {}", failure.what());
    let advice = failure.advice().to_owned();
    failure.with_sentences(what, advice)
}

fn not_known(id: &Id, what: &str) -> String {
    format!("it is not known whether {id} was changed: {what}")
}

/// Converts an error of the file store in `place`.
pub(super) fn of_file(
    id: &Id,
    error: &StoreError,
    options: &StoreOptions,
    place: &str,
) -> WriteFailure {
    let failure = match error {
        StoreError::NotFound { version: None, .. } => Failure::new(
            Exit::NotFound,
            format_args!("there is no secret {id} in the file store {place}"),
            "Run `keyway ls` to see what there is and which provider has it; without a daemon only the file store is changed",
        )
        .into(),
        StoreError::NotFound { .. } => no_version(id).into(),
        StoreError::UnexpectedVersion { .. } => {
            WriteFailure::UnexpectedVersion(options.failure(error))
        }
        StoreError::Locked { .. } => not_changed(id, options.failure(error)).into(),
        error => options.failure(error).into(),
    };
    about(id, failure)
}
