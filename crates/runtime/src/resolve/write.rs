//! Writes: the plugin that takes one, the check that a query returns the stored value, and the error of a failed one.

use std::sync::Arc;

use futures::future::join_all;
use keyway_local::{escape_untrusted, format_duration, shortened};
use keyway_proto::keyway::store::v1::{Refusal, refusal};
use keyway_proto::keyway::v1::FailureKind;
use keyway_proto::write::Expected;
use keyway_rpc::{Code, Error};
use keyway_secrets::Id;
use tokio::time::Instant;

use super::catalog::{self, Gap};
use super::execution;
use super::failure::{Failure, with_failures};
use super::plan::{Membership, Plan, Query, membership};
use super::resolution::{describe_state, listed, sentences};
use crate::authority::Permit;
use crate::model::{Kind, PluginName};
use crate::plugin::{Availability, CallContext, CallError, Handle, View};
use crate::registry::Registry;

/// The longest part of a version that a message repeats, in characters.
const MAX_VERSION_CHARS: usize = 64;

/// The plugin that takes a write.
#[derive(Debug)]
struct Target {
    view: Arc<View>,
    handle: Arc<Handle>,
}

/// Returns the plugin `name`, if it stores secrets and its effective realm contains `id`, which is the query. One that is starting is
/// waited for.
///
/// # Errors
///
/// - `failed_precondition` if there is no such plugin, or it is disabled, or does not store secrets;
/// - `invalid_argument` if the id is outside of its realm;
/// - `unavailable` with `keyway.v1.Failures` if it is not running.
async fn target(
    registry: &Registry,
    query: &Query,
    id: &Id,
    name: &PluginName,
) -> Result<Target, Error> {
    let begun = Instant::now();
    let view = registry.started(name, query.deadline).await;
    let view = view.ok_or_else(|| unknown(name))?;
    if view.kind == Some(Kind::AccessControl) {
        return Err(stores_nothing(name));
    }
    match membership(&view, &query.pattern) {
        Membership::Excluded => return Err(excluded(&view)),
        Membership::None => return Err(outside(&view, id)),
        Membership::Candidate => {}
    }
    match &view.availability {
        Availability::Running(handle) if handle.registration().description.stores => Ok(Target {
            handle: Arc::clone(handle),
            view,
        }),
        Availability::Running(_) => Err(stores_nothing(name)),
        Availability::Failed { kind, next_start } => {
            Err(unwritten(&Failure::not_running(&view, *kind, *next_start)))
        }
        Availability::Starting { .. } => {
            let waited = format_duration(begun.elapsed());
            let message = format!("no registration within {waited}");
            Err(unwritten(&Failure::new(
                &view,
                FailureKind::Starting,
                message,
            )))
        }
        Availability::Excluded => Err(excluded(&view)),
    }
}

/// A call that writes, and its result.
#[derive(Debug)]
pub(crate) struct Sent<T> {
    /// The plugin that was called.
    pub(crate) view: Arc<View>,
    pub(crate) context: CallContext,
    pub(crate) result: Result<T, CallError>,
}

/// Calls the plugin `name`, which takes the write, with a copy of `message`. If `ranked` is given, a query of that permission
/// must return the value afterwards. A call that the process takes no more, because it is being replaced, was not handled and
/// goes to the process that follows. No other call is repeated.
///
/// # Errors
///
/// The errors of [`target`] and of [`check_rank`]; no process has handled the call then.
pub(crate) async fn send<M: Clone, T>(
    registry: &Registry,
    query: &Query,
    (id, name): (&Id, &PluginName),
    ranked: Option<&Permit>,
    message: M,
    call: impl AsyncFnOnce(&Handle, M, &CallContext) -> Result<T, CallError> + Copy,
) -> Result<Sent<T>, Error> {
    loop {
        let Target { view, handle } = target(registry, query, id, name).await?;
        if let Some(permit) = ranked {
            check_rank(registry, query, permit, id, &view).await?;
        }
        view.record.request();
        let context = execution::context(query, &view);
        let result = call(&handle, message.clone(), &context).await;
        let successor = registry.successor(&handle, &result, &context, query.deadline);
        if successor.await.is_none() {
            return Ok(Sent {
                view,
                context,
                result,
            });
        }
    }
}

fn unknown(name: &PluginName) -> Error {
    Error::failed_precondition(format!(
        "there is no plugin {name} that could store secrets. Run `keyway plugins` to see the plugins"
    ))
}

fn stores_nothing(name: &PluginName) -> Error {
    Error::failed_precondition(format!(
        "{name} does not store secrets. Choose another provider with `--to`, or in `[store] default`"
    ))
}

fn excluded(view: &View) -> Error {
    Error::failed_precondition(format!(
        "{}. Run `keyway plugins enable {}`, or choose another provider with `--to`",
        describe_state(view),
        view.name
    ))
}

fn outside(view: &View, id: &Id) -> Error {
    let realm = view.realm.as_ref().map(ToString::to_string);
    Error::invalid_argument(format!(
        "{id} is outside the realm of {}, which is {}",
        view.name,
        realm.unwrap_or_default()
    ))
}

/// Returns the error of a write for which the provider was not called.
fn unwritten(failure: &Failure) -> Error {
    with_failures(
        Error::unavailable(format!("nothing was written: {}", failure.sentence())),
        std::slice::from_ref(failure),
    )
}

/// Checks that a query for `id` would return the value of `target`: no provider of a higher or of its own rank lists the id. None
/// is prompted. A provider that failed or cannot list may hold it.
///
/// # Errors
///
/// `failed_precondition` with the providers as a `Refusal`, and with `keyway.v1.Failures` for those that may hold it.
async fn check_rank(
    registry: &Registry,
    query: &Query,
    permit: &Permit,
    id: &Id,
    target: &View,
) -> Result<(), Error> {
    let silent = Query {
        may_ask_user: false,
        ..query.clone()
    };
    let mut plan = Plan::new(&registry.snapshot(), &query.pattern, Some(&target.name));
    plan.candidates
        .retain(|candidate| may_overrule(&candidate.view, target));
    let candidates = execution::started(registry, &silent, plan).await;
    // Its rank may have changed with its registration.
    let rivals = candidates
        .into_iter()
        .filter(|candidate| may_overrule(&candidate.view, target));
    let lists = rivals.map(|candidate| catalog::list(registry, &silent, candidate, permit));
    let (mut holders, mut failures) = (Vec::new(), Vec::new());
    for (view, list) in join_all(lists).await.into_iter().flatten() {
        match list.gap {
            _ if !list.secrets.is_empty() => holders.push(view.name.to_string()),
            Gap::None => {}
            Gap::CannotList => failures.push(Failure::new(&view, FailureKind::CannotList, "")),
            Gap::Failed(failure) => failures.push(failure),
        }
    }
    if holders.is_empty() && failures.is_empty() {
        return Ok(());
    }
    Err(outranked(id, target, holders, &failures))
}

/// Returns `true` if a value of `view` would win over one of `target` or conflict with it. The rank of a plugin that never
/// registered is not known.
fn may_overrule(view: &View, target: &View) -> bool {
    view.kind.is_none() || view.rank >= target.rank
}

fn outranked(id: &Id, target: &View, holders: Vec<String>, failures: &[Failure]) -> Error {
    let name = &target.name;
    let why = if holders.is_empty() {
        format!(
            "cannot tell whether {id} would be returned from {name}: {}",
            sentences(failures)
        )
    } else {
        format!(
            "{id} would not be returned from {name}, because {} provides it with a higher or the same rank",
            listed(holders.iter().cloned(), " and ")
        )
    };
    let failed = failures.iter().map(|failure| failure.provider.to_string());
    let providers = holders.into_iter().chain(failed).collect();
    let message = format!(
        "{why}. Give {name} a higher `priority`, write to another provider with `--to`, or write nevertheless with `--force`"
    );
    let error = Refusal::of_providers(providers).into_error(&Expected::Any, message);
    match failures {
        [] => error,
        failures => with_failures(error, failures),
    }
}

/// Returns the error for the client of a write that failed at the plugin. `version`: the one that the write names.
pub(crate) fn failed(
    view: &View,
    id: &Id,
    version: Option<&str>,
    expected: &Expected,
    error: &CallError,
) -> Error {
    if let CallError::Rpc(error) = error
        && let Some(refused) = refused(view, id, expected, error)
    {
        return refused;
    }
    // As for a pattern: an id that the store cannot hold is a failure of the write.
    let Some(failure) = Failure::of_call(view, error, false) else {
        let name = &view.name;
        return Error::not_found(match version {
            Some(version) => {
                let version = shortened(&escape_untrusted(version), MAX_VERSION_CHARS);
                format!("{name} has no version {version} of {id}")
            }
            None => format!("{name} has no secret {id}"),
        });
    };
    let failure = match error {
        // The plugin may have been called and may do it still.
        CallError::Overdue(_) => Failure {
            kind: FailureKind::TimedOut,
            ..failure
        },
        _ => failure,
    };
    let message = match failure.kind {
        FailureKind::Invalid => {
            let error = format!("{} cannot store {id}: {}", view.name, failure.message);
            return with_failures(Error::invalid_argument(error), &[failure]);
        }
        FailureKind::TimedOut | FailureKind::Internal => format!(
            "it is not known whether {id} was changed: {}",
            failure.sentence()
        ),
        _ => format!("{id} was not changed: {}", failure.sentence()),
    };
    with_failures(Error::unavailable(message), &[failure])
}

/// Returns the failure of the plugin in a failed write; `None` if the plugin is not at fault.
pub(crate) fn failure_to_report(
    view: &View,
    expected: &Expected,
    error: &CallError,
) -> Option<Failure> {
    if let CallError::Rpc(error) = error
        && is_version_refused(expected, error)
    {
        return None;
    }
    Failure::of_call(view, error, true)
}

/// Returns the refusal of a version that does not fit, if `error` is one.
fn refused(view: &View, id: &Id, expected: &Expected, error: &Error) -> Option<Error> {
    if !is_version_refused(expected, error) {
        return None;
    }
    let current = Refusal::of_error(error)
        .and_then(|refusal| refusal.current_version)
        .filter(|version| !version.is_empty());
    let name = &view.name;
    let message = match (&current, expected) {
        (_, Expected::Absent) => format!("{name} has {id} already"),
        (Some(version), _) => {
            format!("{name} has version {version} of {id}, which is not the expected one")
        }
        (None, _) => format!("{name} does not have the expected version of {id}"),
    };
    Some(Refusal::of_version(current.as_deref()).into_error(expected, message))
}

/// Returns `true` if the plugin refused a version that does not fit. Without the detail, the code decides for a write that expects a
/// version.
fn is_version_refused(expected: &Expected, error: &Error) -> bool {
    if let Some(refusal) = Refusal::of_error(error) {
        return refusal.reason() == refusal::Reason::Version;
    }
    let failure = error.detail::<keyway_proto::keyway::v1::Failure>();
    let is_described = failure.is_ok_and(|failure| failure.is_some());
    match error.code() {
        Code::AlreadyExists => true,
        Code::FailedPrecondition => matches!(expected, Expected::Version(_)) && !is_described,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
