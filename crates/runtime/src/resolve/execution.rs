//! Resolving a query: plan, calls, result.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use keyway_proto::keyway::v1::FailureKind;
use keyway_rpc::Error;
use keyway_secrets::Pattern;
use tokio::time::Instant;

use super::admit::{Admitted, admit};
use super::failure::Failure;
use super::plan::{Candidate, Plan, Query};
use super::resolution::{self, RankedResponses, Resolution};
use crate::authority::{Permit, is_within_reserved};
use crate::config::Current;
use crate::lines::peer_event;
use crate::model::PluginName;
use crate::plugin::{Availability, CallContext, CallError, Handle, Secrets, Sharing, View};
use crate::registry::{Registry, Successor};

/// Resolves `query` by the settings in force when the result is evaluated.
///
/// # Errors
///
/// - `not_found` if every candidate has responded that it holds no match;
/// - `unavailable` if that is uncertain because a candidate failed;
/// - `failed_precondition` if candidates of equal rank disagree;
/// - `resource_exhausted` if the responses need more memory than `answer_memory` has.
///
/// All but the first carry `keyway.v1.Failures`.
pub(crate) async fn resolve(
    registry: &Registry,
    settings: &Current,
    query: &Query,
    permit: &Permit,
) -> Result<Resolution, Error> {
    if is_within_reserved(&query.pattern) {
        return Err(resolution::reserved(&query.pattern));
    }
    for _ in 0..2 {
        let generation = settings.generation();
        let before = registry.snapshot();
        let plan = Plan::new(&before, &query.pattern, permit.excluded_plugin());
        let mut executed = execute(registry, query, plan).await;
        let now = registry.snapshot();
        // The result is evaluated by the settings and the decisions of the user that are in force now.
        if settings.generation() != generation {
            executed.plan = Plan::new(&now, &query.pattern, permit.excluded_plugin());
        } else if !Arc::ptr_eq(&before, &now) {
            let responses = &executed.responses;
            let is_lost = |name: &PluginName| {
                let response = responses.get(name);
                response.is_none_or(|(_, response)| response.failure.is_some())
            };
            executed.plan.exclude(&now, is_lost);
        }
        let result = resolution::evaluate(&query.pattern, &executed.plan, &mut executed.responses);
        if let Some(result) = result {
            return match query.too_large.get() {
                Some(failure) if !is_complete(&result) => {
                    Err(resolution::too_large(&query.pattern, failure))
                }
                _ => result,
            };
        }
    }
    Err(Error::unavailable(
        "the configuration changed twice while the query was resolved: try again",
    ))
}

fn is_complete(result: &Result<Resolution, Error>) -> bool {
    matches!(result, Ok(resolution) if resolution.failures.is_empty())
}

/// The responses of the candidates, by name, each with the query that was sent.
pub(crate) type Responses = HashMap<PluginName, (Pattern, Admitted)>;

/// An executed plan: its candidates after those that were starting have registered or failed, and their responses.
pub(crate) struct Executed {
    pub(crate) plan: Plan,
    pub(crate) responses: Responses,
}

/// A candidate and the progress of its call.
struct Slot {
    candidate: Candidate,
    progress: Progress,
}

enum Progress {
    /// The plugin is starting, or may not be called yet.
    Waiting,
    Called,
    Done,
}

/// An event of the candidate of this name.
struct Event(PluginName, EventKind);

enum EventKind {
    /// The start of the plugin has ended, or is overdue: its present view. `None`: the plugin is gone.
    StartEnded(Option<Arc<View>>),
    Responded(Admitted),
}

/// Calls the candidates of `plan` concurrently until the query is decided; outstanding calls are cancelled then.
///
/// A query for one id is decided as soon as lower ranks cannot matter any more. An interactive provider is called for one id only
/// after every higher rank has responded that it holds no match.
pub(super) async fn execute(registry: &Registry, query: &Query, plan: Plan) -> Executed {
    let mut execution = Execution {
        registry,
        query,
        slots: Vec::new(),
        responses: Responses::new(),
        events: FuturesUnordered::new(),
    };
    for candidate in plan.candidates {
        execution.add(candidate);
    }
    execution.run().await;
    let Execution {
        slots, responses, ..
    } = execution;
    Executed {
        plan: Plan {
            candidates: slots.into_iter().map(|slot| slot.candidate).collect(),
            excluded: plan.excluded,
        },
        responses,
    }
}

struct Execution<'a> {
    registry: &'a Registry,
    query: &'a Query,
    slots: Vec<Slot>,
    responses: Responses,
    events: FuturesUnordered<BoxFuture<'a, Event>>,
}

impl<'a> Execution<'a> {
    fn add(&mut self, candidate: Candidate) {
        let view = Arc::clone(&candidate.view);
        match &view.availability {
            Availability::Failed { kind, next_start } => {
                let failure = Failure::not_running(&view, *kind, *next_start);
                self.respond(&candidate, Admitted::failed(failure));
            }
            Availability::Starting { .. } => {
                self.events.push(wait(self.registry, self.query, view))
            }
            Availability::Running(_) | Availability::Excluded => {}
        }
        let is_done = self.responses.contains_key(&candidate.view.name);
        self.slots.push(Slot {
            candidate,
            progress: if is_done {
                Progress::Done
            } else {
                Progress::Waiting
            },
        });
    }

    fn respond(&mut self, candidate: &Candidate, admitted: Admitted) {
        let name = candidate.view.name.clone();
        self.responses
            .insert(name, (candidate.query.clone(), admitted));
    }

    async fn run(&mut self) {
        loop {
            let candidates = self.slots.iter().map(|slot| &slot.candidate);
            let responses = RankedResponses::new(candidates, &self.responses);
            if responses.is_decided(&self.query.pattern) {
                return;
            }
            for index in responses.callable(&self.query.pattern) {
                self.call(index);
            }
            let Some(event) = self.events.next().await else {
                return;
            };
            self.handle(event);
        }
    }

    /// Calls a candidate that runs and was not called yet.
    fn call(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Availability::Running(handle) = &slot.candidate.view.availability else {
            return;
        };
        if matches!(slot.progress, Progress::Waiting) {
            slot.progress = Progress::Called;
            let (handle, candidate) = (Arc::clone(handle), slot.candidate.clone());
            self.events
                .push(respond(self.registry, self.query, handle, candidate));
        }
    }

    fn handle(&mut self, Event(name, kind): Event) {
        let Some(index) = self
            .slots
            .iter()
            .position(|slot| slot.candidate.view.name == name)
        else {
            return;
        };
        match kind {
            EventKind::Responded(admitted) => {
                self.slots[index].progress = Progress::Done;
                let candidate = self.slots[index].candidate.clone();
                self.respond(&candidate, admitted);
            }
            EventKind::StartEnded(view) => {
                self.slots.remove(index);
                if let Some(candidate) = Candidate::after_start(view, &self.query.pattern) {
                    self.add_started(candidate);
                }
                // Its rank may have changed with its registration.
                self.slots
                    .sort_by(|a, b| super::rank::order(a.candidate.key(), b.candidate.key()));
            }
        }
    }

    fn add_started(&mut self, candidate: Candidate) {
        if matches!(candidate.view.availability, Availability::Starting { .. }) {
            // The start is overdue.
            let failure = Failure::new(&candidate.view, FailureKind::Starting, "");
            self.respond(&candidate, Admitted::failed(failure));
            self.slots.push(Slot {
                candidate,
                progress: Progress::Done,
            });
        } else {
            self.add(candidate);
        }
    }
}

/// Waits until no candidate of `plan` is starting, or its start is overdue, and returns the candidates.
pub(super) async fn started(registry: &Registry, query: &Query, plan: Plan) -> Vec<Candidate> {
    let waits = plan.candidates.into_iter().map(|candidate| async {
        if !matches!(candidate.view.availability, Availability::Starting { .. }) {
            return Some(candidate);
        }
        let started = registry.started(&candidate.view.name, query.deadline);
        Candidate::after_start(started.await, &query.pattern)
    });
    let settled = futures::future::join_all(waits).await;
    settled.into_iter().flatten().collect()
}

/// Waits until a plugin has started or failed, at most until its start is due.
fn wait<'a>(registry: &'a Registry, query: &'a Query, view: Arc<View>) -> BoxFuture<'a, Event> {
    Box::pin(async move {
        let started = registry.started(&view.name, query.deadline).await;
        Event(view.name.clone(), EventKind::StartEnded(started))
    })
}

/// Calls one provider and admits its response. A call that a plugin takes no more, because it is being replaced, goes to the
/// process that follows.
fn respond<'a>(
    registry: &'a Registry,
    query: &'a Query,
    handle: Arc<Handle>,
    candidate: Candidate,
) -> BoxFuture<'a, Event> {
    Box::pin(async move {
        let view = &candidate.view;
        let name = view.name.clone();
        if let Some(failure) = uncalled(query, view) {
            return Event(name, EventKind::Responded(Admitted::failed(failure)));
        }
        view.record.request();
        let context = context(query, view);
        let result = secrets(query, &handle, &candidate, &context).await;
        let successor = registry.successor(&handle, &result, &context, query.deadline);
        if let Some(Successor(view)) = successor.await {
            return Event(name, EventKind::StartEnded(view));
        }
        let admitted = match result {
            Ok(secrets) => admit(view, &query.pattern, secrets, SystemTime::now()),
            Err(error) => match Failure::of_call(view, &error, query.is_single()) {
                None => Admitted::nothing(),
                Some(failure) => {
                    report(query, view, &context, &error);
                    if matches!(error, CallError::TooLarge { .. }) {
                        // The first is enough for the error.
                        let _ = query.too_large.set(failure.clone());
                    }
                    Admitted::failed(failure)
                }
            },
        };
        if let Some(failure) = &admitted.failure {
            view.record.failure(failure.kind, &failure.sentence());
        }
        Event(name, EventKind::Responded(admitted))
    })
}

/// Returns the failure of a provider that may not be called for `query`.
fn uncalled(query: &Query, view: &View) -> Option<Failure> {
    let is_described = view
        .registration
        .as_ref()
        .is_some_and(|registration| registration.description.is_sent);
    if view.is_interactive() && !is_described && !query.may_ask_user() {
        // Such a plugin does not know the header that forbids prompts.
        return Some(Failure::new(view, FailureKind::NeedsUser, ""));
    }
    if view.settings.lists == Some(false) && !query.is_single() {
        return Some(Failure::new(view, FailureKind::CannotList, ""));
    }
    None
}

/// Returns the bounds of one call.
pub(crate) fn context(query: &Query, view: &View) -> CallContext {
    let limit = full_limit(query, view);
    let left = query
        .deadline
        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
    CallContext {
        request_id: query.request_id,
        may_ask_user: query.may_ask_user(),
        limit: left.map_or(limit, |left| left.min(limit)),
    }
}

async fn secrets(
    query: &Query,
    handle: &Arc<Handle>,
    candidate: &Candidate,
    context: &CallContext,
) -> Result<Secrets, CallError> {
    let settings = &candidate.view.settings;
    let pattern = &candidate.query;
    let sharing = Sharing {
        share: handle.registration().is_shareable(settings),
        keep: settings.cache_ttl,
    };
    if sharing == Sharing::default() {
        return handle
            .get_secrets(pattern.as_str(), context, &query.reservation)
            .await;
    }
    let full_limit = full_limit(query, &candidate.view);
    let memory = (&query.reservation, &*query.budget);
    handle
        .get_shared(pattern, context, full_limit, sharing, memory)
        .await
}

/// Returns how long a call may take, whatever the deadline of one caller: several may wait for it.
fn full_limit(query: &Query, view: &View) -> Duration {
    if view.is_interactive() && query.may_ask_user() {
        view.settings.user_timeout
    } else {
        view.settings.timeout
    }
}

/// Logs a failed call; the provider's own words might quote a secret, so they are left out.
pub(crate) fn report(query: &Query, view: &View, context: &CallContext, error: &CallError) {
    let (plugin, request_id, caller_pid) = (&view.name, query.request_id, query.caller_pid);
    let code = error.code();
    let is_impatient = error.is_overdue() && context.limit < full_limit(query, view);
    if is_impatient {
        // The caller's own deadline was shorter than the plugin's timeout: the plugin is not at fault.
        tracing::debug!(%plugin, %code, %request_id, caller_pid, "request abandoned by its caller");
    } else {
        let lines = &view.record.failure_lines;
        peer_event!(lines, WARN, %plugin, %code, %request_id, caller_pid, "request failed");
    }
}

#[cfg(test)]
mod tests;
