//! A query, and its candidates: the plugins that could hold a matching secret, in rank order.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyway_local::{MemoryBudget, Reservation};
use keyway_proto::MAY_ASK_USER_HEADER;
use keyway_rpc::{Error, Request};
use keyway_secrets::{ParsePatternError, Pattern};
use tokio::time::Instant;

use super::failure::Failure;
use super::rank;
use crate::caller::Caller;
use crate::model::{Kind, PluginName, RequestId};
use crate::plugin::{Availability, View};
use crate::registry::Snapshot;

/// The longest time before a caller stops waiting at which its response is due.
const MAX_LEAD: Duration = Duration::from_millis(100);

/// A query of a client, and how long the client waits.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) pattern: Pattern,
    pub(crate) request_id: RequestId,
    /// The calling process, for the log.
    pub(crate) caller_pid: Option<i32>,
    /// The end of the caller's wait.
    pub(crate) deadline: Option<Instant>,
    /// `true` if providers may ask the user.
    pub(crate) may_ask_user: bool,
    /// The reservation for the responses in the memory budget.
    pub(crate) reservation: Reservation,
    /// The memory for responses that several callers share.
    pub(crate) budget: Arc<MemoryBudget>,
    /// The failure of the first response that can never fit into the memory.
    pub(super) too_large: Arc<OnceLock<Failure>>,
}

impl Query {
    /// Creates the query of `caller`, whose responses are counted against `budget`.
    pub(crate) fn new<M>(
        caller: &Caller,
        request: &Request<M>,
        pattern: Pattern,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        let may_ask_user = request.metadata().get(MAY_ASK_USER_HEADER);
        Self {
            pattern,
            request_id: caller.request_id,
            caller_pid: caller.peer.pid(),
            deadline: request.deadline().map(due),
            may_ask_user: may_ask_user.is_none_or(|value| value != "0"),
            reservation: budget.reservation(),
            budget,
            too_large: Arc::default(),
        }
    }

    /// Returns a query without a deadline that may ask the user.
    #[cfg(test)]
    pub(super) fn for_tests(pattern: &str) -> Self {
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        Self {
            pattern: pattern.parse().expect("a pattern"),
            request_id: RequestId::next(),
            caller_pid: None,
            deadline: None,
            may_ask_user: true,
            reservation: budget.reservation(),
            budget,
            too_large: Arc::default(),
        }
    }

    /// Returns `true` if it is for one id.
    pub(crate) fn is_single(&self) -> bool {
        self.pattern.as_id().is_some()
    }

    /// Returns `true` if a provider may ask the user: never for a pattern.
    pub(super) fn may_ask_user(&self) -> bool {
        self.may_ask_user && self.is_single()
    }
}

/// Reads the pattern of a request. It is not repeated in an error: an invalid pattern may hold anything.
///
/// # Errors
///
/// `invalid_argument` if the text is too long or not a pattern.
pub(crate) fn pattern(text: Option<&str>) -> Result<Pattern, Error> {
    let pattern = text.unwrap_or_default().parse();
    pattern.map_err(|error: ParsePatternError| {
        Error::invalid_argument(format!("the pattern is not valid: {error}"))
    })
}

/// Returns when a query is decided for a caller that waits until `deadline`: earlier, so that the response arrives in time and
/// names the provider that did not respond.
fn due(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - (left / 10).min(MAX_LEAD)
}

/// A plugin that could hold a secret that matches a query.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) view: Arc<View>,
    /// The query for this plugin: the ids of both its realm and the query, if one pattern can express them. If its realm is not
    /// known, the query itself.
    pub(crate) query: Pattern,
}

/// The plugins that a query concerns.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In rank order.
    pub(crate) candidates: Vec<Candidate>,
    /// Plugins that are not candidates because they are disabled, available or untrusted, and could hold a match.
    pub(crate) excluded: Vec<Arc<View>>,
}

impl Plan {
    /// Creates the plan for `query`. The plugin `except` is not a candidate: a query of its own process would wait for itself.
    pub(crate) fn new(snapshot: &Snapshot, query: &Pattern, except: Option<&PluginName>) -> Self {
        let mut plan = Self::default();
        let others = snapshot.values().filter(|view| Some(&view.name) != except);
        for view in others {
            match membership(view, query) {
                Membership::Candidate => plan.candidates.push(Candidate::new(view, query)),
                Membership::Excluded => plan.excluded.push(Arc::clone(view)),
                Membership::None => {}
            }
        }
        plan.candidates
            .sort_by(|a, b| rank::order(a.key(), b.key()));
        plan
    }

    /// Excludes the candidates that are excluded in `now`, because the user disabled them meanwhile, and for which `is_lost` returns
    /// that the call has ended without a response. A response that a plugin gave before it stopped counts.
    pub(super) fn exclude(&mut self, now: &Snapshot, is_lost: impl Fn(&PluginName) -> bool) {
        let excluded = |candidate: &Candidate| {
            let name = &candidate.view.name;
            excluded(now, name).filter(|_| is_lost(name)).cloned()
        };
        self.excluded
            .extend(self.candidates.iter().filter_map(excluded));
        self.candidates
            .retain(|candidate| excluded(candidate).is_none());
    }
}

/// Returns the view of a plugin, if it is excluded.
pub(super) fn excluded<'a>(now: &'a Snapshot, name: &PluginName) -> Option<&'a Arc<View>> {
    let view = now.get(name)?;
    matches!(view.availability, Availability::Excluded).then_some(view)
}

impl Candidate {
    pub(super) fn new(view: &Arc<View>, query: &Pattern) -> Self {
        let narrowed = view.realm.as_ref().map(|realm| realm.narrow(query));
        Self {
            query: narrowed.unwrap_or_else(|| query.clone()),
            view: Arc::clone(view),
        }
    }

    /// Returns the candidate that a plugin is after its start, if it is one; `view` is `None` if the plugin is gone.
    pub(super) fn after_start(view: Option<Arc<View>>, query: &Pattern) -> Option<Self> {
        let view = view?;
        let is_candidate = membership(&view, query) == Membership::Candidate;
        is_candidate.then(|| Self::new(&view, query))
    }

    /// Returns the key that [`rank::order`] compares.
    pub(super) fn key(&self) -> (crate::model::Rank, &str) {
        (self.view.rank, self.view.name.as_str())
    }
}

/// The relation of a plugin to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Candidate,
    /// It could hold a match, and does not count.
    Excluded,
    None,
}

/// Returns the relation of `view` to `query`.
///
/// A plugin of which neither kind nor realm is known may be anything while its first start is awaited. Once that start has failed,
/// it counts for every id if it is required, and for none otherwise.
pub(super) fn membership(view: &View, query: &Pattern) -> Membership {
    if view.kind == Some(Kind::AccessControl) {
        return Membership::None;
    }
    let is_match = match (&view.realm, &view.availability) {
        (Some(realm), _) => realm.overlaps(query),
        (None, Availability::Starting { is_awaited, .. }) => *is_awaited,
        (None, Availability::Failed { .. }) => view.settings.required,
        (None, Availability::Excluded) => true,
        (None, Availability::Running(_)) => false,
    };
    match &view.availability {
        _ if !is_match => Membership::None,
        Availability::Excluded => Membership::Excluded,
        _ => Membership::Candidate,
    }
}

#[cfg(test)]
mod tests;
