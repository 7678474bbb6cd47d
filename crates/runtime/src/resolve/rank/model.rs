//! The rule of ranking for comparison, in the order of its text: slow, and independent of the code under test.

use std::collections::{BTreeMap, BTreeSet};

use keyway_secrets::{Id, Pattern};
use proptest::prelude::*;

use crate::model::{Class, Rank};

/// A provider: its settings, the state of its plugin and the content of its store.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) priority: i64,
    pub(super) is_launched: bool,
    pub(super) is_interactive: bool,
    pub(super) is_required: bool,
    pub(super) registered: Vec<Pattern>,
    pub(super) configured: Option<Vec<Pattern>>,
    pub(super) state: State,
    /// The store: a value of one byte for each id.
    pub(super) store: BTreeMap<Id, u8>,
    /// Ids whose value in the store has expired.
    pub(super) expired: BTreeSet<Id>,
}

/// Every state of a plugin, and every way in which a running one responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Responds,
    /// Locked, denied, unavailable, late, out of quota, not logged in, in need of the user.
    Fails,
    /// `concurrency` calls in flight until the deadline.
    Busy,
    /// Responds to single ids only.
    CannotList,
    /// INVALID: the store cannot hold the id; a failure for a pattern.
    Invalid,
    /// Returned the first half of its secrets, and reported that or added an id outside its realm.
    Incomplete,
    /// The call is in flight.
    InFlight,
    /// Launching, Registering, Draining for a restart; its realm is known.
    Starting,
    /// Launching for the first time: kind and realm are not known.
    StartingFirst,
    Backoff,
    RetriesExceeded,
    FatalExit,
    Refused,
    Absent,
    /// The first registration failed, or it is absent and was never seen: no registered realm.
    NeverRegistered,
    Untrusted,
    Available,
    Disabled,
}

/// States in which a response is outstanding.
pub(super) const PENDING: [State; 3] = [State::InFlight, State::Starting, State::StartingFirst];

/// The other states.
pub(super) const SETTLED: [State; 15] = [
    State::Responds,
    State::Fails,
    State::Busy,
    State::CannotList,
    State::Invalid,
    State::Incomplete,
    State::Backoff,
    State::RetriesExceeded,
    State::FatalExit,
    State::Refused,
    State::Absent,
    State::NeverRegistered,
    State::Untrusted,
    State::Available,
    State::Disabled,
];

/// The response of a candidate about an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Value(u8),
    Nothing,
    Failed,
    Pending,
}

/// The truth about an id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    Value { by: String },
    NotFound,
    Uncertain { failed: BTreeSet<String> },
    Conflict { between: BTreeSet<String> },
}

impl Provider {
    pub(super) fn rank(&self) -> Rank {
        Rank {
            priority: self.priority,
            class: if self.is_launched {
                Class::Launched
            } else {
                Class::External
            },
            interactive: self.is_interactive,
        }
    }

    /// Returns the patterns of the provider and their limits, as far as the daemon knows them; `None`: no candidate for
    /// any id.
    pub(super) fn known_realm(&self) -> Option<(Vec<Pattern>, Option<Vec<Pattern>>)> {
        let everything = || vec![Pattern::everything()];
        match self.state {
            State::Untrusted | State::Available | State::Disabled => None,
            State::NeverRegistered => match &self.configured {
                Some(configured) => Some((configured.clone(), None)),
                None => self.is_required.then(|| (everything(), None)),
            },
            State::StartingFirst => match &self.configured {
                Some(configured) => Some((configured.clone(), None)),
                None => Some((everything(), None)),
            },
            _ => Some((self.registered.clone(), self.configured.clone())),
        }
    }

    /// "The candidates are the plugins that could hold it."
    pub(super) fn could_hold(&self, id: &Id) -> bool {
        self.known_realm().is_some_and(|(patterns, cut)| {
            patterns.iter().any(|pattern| holds(pattern, id))
                && cut.is_none_or(|cut| cut.iter().any(|pattern| holds(pattern, id)))
        })
    }

    /// Returns its response for an id that it could hold.
    pub(super) fn says(&self, id: &Id, is_single: bool) -> Said {
        let in_store = match self.store.get(id) {
            _ if self.expired.contains(id) => Said::Failed,
            Some(value) => Said::Value(*value),
            None => Said::Nothing,
        };
        match self.state {
            State::Responds => in_store,
            State::CannotList if is_single => in_store,
            State::Invalid if is_single => Said::Nothing,
            State::Incomplete => match in_store {
                Said::Value(value) if self.is_in_first_half(id) => Said::Value(value),
                _ => Said::Failed,
            },
            State::InFlight | State::Starting | State::StartingFirst => Said::Pending,
            _ => Said::Failed,
        }
    }

    /// Returns `true` if an incomplete response holds the id.
    fn is_in_first_half(&self, id: &Id) -> bool {
        let n_kept = self.store.len().div_ceil(2);
        self.store.keys().take(n_kept).any(|kept| kept == id)
    }

    /// Returns `true` if it fails for more of a pattern than for ids that have expired.
    pub(super) fn fails_for_patterns(&self) -> bool {
        self.state != State::Responds
    }
}

/// "`priority` (higher first), then launched before external, then providers that are not interactive."
pub(super) fn precedes(a: &Provider, b: &Provider) -> bool {
    if a.priority != b.priority {
        return a.priority > b.priority;
    }
    if a.is_launched != b.is_launched {
        return a.is_launched;
    }
    !a.is_interactive && b.is_interactive
}

/// The candidates grouped by rank, the highest first.
pub(super) fn ranks<'a>(mut candidates: Vec<&'a Provider>) -> Vec<Vec<&'a Provider>> {
    let mut ranks = Vec::new();
    while !candidates.is_empty() {
        let (first, rest): (Vec<&'a Provider>, Vec<&'a Provider>) = candidates
            .iter()
            .partition(|one| !candidates.iter().any(|other| precedes(other, one)));
        ranks.push(first);
        candidates = rest;
    }
    ranks
}

/// The rule for one id, of complete responses.
pub(super) fn truth(providers: &[Provider], id: &Id, says: impl Fn(&Provider) -> Said) -> Truth {
    let candidates = providers.iter().filter(|one| one.could_hold(id)).collect();
    for rank in ranks(candidates) {
        let names = |is_one: &dyn Fn(Said) -> bool| -> BTreeSet<String> {
            let those = rank.iter().filter(|one| is_one(says(one)));
            those.map(|one| one.name.clone()).collect()
        };
        let failed = names(&|said| said == Said::Failed);
        if !failed.is_empty() {
            return Truth::Uncertain { failed };
        }
        let returned = names(&|said| matches!(said, Said::Value(_)));
        let values: BTreeSet<u8> = rank
            .iter()
            .filter_map(|one| match says(one) {
                Said::Value(value) => Some(value),
                _ => None,
            })
            .collect();
        match (values.len(), returned.first()) {
            (0, _) | (_, None) => {}
            (1, Some(first)) => return Truth::Value { by: first.clone() },
            _ => return Truth::Conflict { between: returned },
        }
    }
    Truth::NotFound
}

/// Returns `true` if an id matches a pattern, by the definition of its components.
pub(super) fn holds(pattern: &Pattern, id: &Id) -> bool {
    fn rest(pattern: &[&str], id: &[&str]) -> bool {
        match (pattern.split_first(), id.split_first()) {
            (None, None) => true,
            (Some((&"**", others)), _) => {
                rest(others, id) || id.split_first().is_some_and(|(_, id)| rest(pattern, id))
            }
            (Some((&"*", others)), Some((_, id))) => rest(others, id),
            (Some((word, others)), Some((first, id))) => word == first && rest(others, id),
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.components().collect();
    let id: Vec<&str> = id.components().collect();
    rest(&pattern, &id)
}

/// Returns every id of up to `longest` components of two words.
pub(super) fn ids(longest: usize) -> Vec<Id> {
    let mut level = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..longest {
        let next = level
            .iter()
            .flat_map(|id| ["a", "b"].map(|word| format!("{id}/{word}")));
        level = next.collect();
        all.extend(level.iter().map(|id| id[1..].parse().expect("an id")));
    }
    all
}

pub(super) fn any_id() -> impl Strategy<Value = Id> {
    prop::sample::select(ids(2))
}

pub(super) fn any_pattern() -> impl Strategy<Value = Pattern> {
    prop::collection::vec(prop::sample::select(&["a", "b", "*", "**"][..]), 1..=2)
        .prop_map(|parts| parts.join("/").parse().expect("a pattern"))
}

/// Wide realms more often than others, so that providers meet.
fn any_realm() -> impl Strategy<Value = Vec<Pattern>> {
    prop_oneof![
        2 => Just(vec![Pattern::everything()]),
        1 => prop::collection::vec(any_pattern(), 1..=2),
    ]
}

/// Returns up to five providers with distinct names, in any order.
pub(super) fn any_providers(states: Vec<State>) -> impl Strategy<Value = Vec<Provider>> {
    let names = Just(["p", "q", "r", "s", "t"].map(String::from).to_vec()).prop_shuffle();
    (prop::collection::vec(any_provider(states), 0..=5), names).prop_map(
        |(mut providers, names)| {
            for (provider, name) in providers.iter_mut().zip(names) {
                provider.name = name;
            }
            providers
        },
    )
}

/// Healthy half of the time: a rank is passed only if all its candidates have nothing.
fn any_provider(states: Vec<State>) -> impl Strategy<Value = Provider> {
    let state = prop_oneof![prop::sample::select(states), Just(State::Responds),];
    (
        (0..=1_i64, any::<bool>(), any::<bool>(), any::<bool>()),
        any_realm(),
        prop::option::of(any_realm()),
        state,
        prop::collection::btree_map(any_id(), 0..2_u8, 0..4),
        prop::collection::btree_set(any_id(), 0..2),
    )
        .prop_map(
            |(bits, registered, configured, state, store, expired)| Provider {
                name: String::new(),
                priority: bits.0,
                is_launched: bits.1,
                is_interactive: bits.2,
                is_required: bits.3,
                registered,
                configured,
                state,
                store,
                expired,
            },
        )
}
