//! The candidates of a query: the plugins that could hold what it matches, in rank order.

use std::sync::Arc;

use keyway_secrets::Pattern;

use super::rank;
use crate::model::{Kind, PluginName};
use crate::plugin::{Availability, View};
use crate::registry::Snapshot;

/// A plugin that could hold what a query matches.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) view: Arc<View>,
    /// What it is asked: the ids of both its realm and the query, if one pattern can say it. For a plugin whose realm is not
    /// known, the query.
    pub(crate) query: Pattern,
}

/// Whom a query concerns.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In rank order.
    pub(crate) candidates: Vec<Candidate>,
    /// Plugins that are no candidates because they are disabled, available or untrusted, and could hold a match.
    pub(crate) excluded: Vec<Arc<View>>,
}

impl Plan {
    /// The plan for `query`. The plugin `except` is no candidate: a query of its own process would wait for itself.
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
}

impl Candidate {
    pub(super) fn new(view: &Arc<View>, query: &Pattern) -> Self {
        let narrowed = view.realm.as_ref().map(|realm| realm.narrow(query));
        Self {
            query: narrowed.unwrap_or_else(|| query.clone()),
            view: Arc::clone(view),
        }
    }

    /// What [`rank::order`] compares.
    pub(super) fn key(&self) -> (crate::model::Rank, &str) {
        (self.view.rank, self.view.name.as_str())
    }
}

/// What a plugin is to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Candidate,
    /// It could hold a match, and does not count.
    Excluded,
    None,
}

/// What `view` is to `query`.
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
