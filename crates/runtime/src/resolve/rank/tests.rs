use std::collections::{BTreeMap, BTreeSet};

use keyway_secrets::{Id, Pattern};
use proptest::prelude::*;

use super::model::{
    PENDING, Provider, SETTLED, Said, State, Truth, any_id, any_pattern, any_providers, holds, ids,
    precedes, ranks, truth,
};
use super::*;
use crate::model::Class;

/// The providers that could hold `id`, in order, with their responses.
fn candidates<'a>(providers: &'a [Provider], id: &Id) -> Vec<Candidate<'a, u8>> {
    let with_realm = providers.iter().filter_map(|one| {
        let (patterns, cut) = one.known_realm()?;
        Some((one, Realm::new(&patterns, cut.as_deref())))
    });
    let mut candidates: Vec<Candidate<'a, u8>> = with_realm
        .filter(|(_, realm)| realm.matches(id))
        .map(|(one, _)| Candidate {
            rank: one.rank(),
            name: &one.name,
            response: match one.says(id, true) {
                Said::Value(value) => Response::Value(value),
                Said::Nothing => Response::Nothing,
                Said::Failed => Response::Failed,
                Said::Pending => Response::Pending,
            },
        })
        .collect();
    candidates.sort_by(|a, b| order((a.rank, a.name), (b.rank, b.name)));
    candidates
}

/// A verdict with names in place of positions; `None` while undecided.
fn named<V>(verdict: &Verdict, candidates: &[Candidate<'_, V>]) -> Option<Truth> {
    let name = |index: &usize| candidates[*index].name.to_owned();
    Some(match verdict {
        Verdict::Value { index } => Truth::Value { by: name(index) },
        Verdict::NotFound => Truth::NotFound,
        Verdict::Uncertain { failed } => Truth::Uncertain {
            failed: failed.iter().map(name).collect(),
        },
        Verdict::Conflict { indices } => Truth::Conflict {
            between: indices.iter().map(name).collect(),
        },
        Verdict::Undecided { .. } => return None,
    })
}

/// Returns the truths that remain possible, for every way in which the pending candidates may respond.
fn possible_truths(providers: &[Provider], id: &Id) -> BTreeSet<Truth> {
    let pending: Vec<&str> = providers
        .iter()
        .filter(|one| one.says(id, true) == Said::Pending)
        .map(|one| one.name.as_str())
        .collect();
    let choices = [Said::Value(0), Said::Value(1), Said::Nothing, Said::Failed];
    let n_ways = choices
        .len()
        .pow(u32::try_from(pending.len()).expect("few"));
    (0..n_ways)
        .map(|way| {
            truth(providers, id, |one| {
                let place = pending.iter().position(|name| *name == one.name);
                match place {
                    Some(place) => choices[way >> (2 * place) & 3],
                    None => one.says(id, true),
                }
            })
        })
        .collect()
}

/// Returns `true` if both are uncertain, or equal.
fn is_same(a: &Truth, b: &Truth) -> bool {
    matches!((a, b), (Truth::Uncertain { .. }, Truth::Uncertain { .. })) || a == b
}

fn all_states() -> Vec<State> {
    SETTLED.into_iter().chain(PENDING).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn one_id_is_decided_as_the_rule_says(providers in any_providers(SETTLED.to_vec()), id in any_id()) {
        let candidates = candidates(&providers, &id);
        let decided = named(&decide(&candidates), &candidates);
        prop_assert_eq!(decided, Some(truth(&providers, &id, |one| one.says(&id, true))));
        prop_assert_eq!(callable(&candidates), Vec::<usize>::new());
    }

    #[test]
    fn an_id_is_decided_exactly_when_no_outstanding_response_matters(
        providers in any_providers(all_states()), id in any_id(),
    ) {
        let candidates = candidates(&providers, &id);
        let verdict = decide(&candidates);
        let possible = possible_truths(&providers, &id);
        match named(&verdict, &candidates) {
            Some(decided) => {
                for possible in &possible {
                    prop_assert!(is_same(possible, &decided), "{:?} became {:?}", decided, possible);
                    if let (Truth::Uncertain { failed: then }, Truth::Uncertain { failed }) = (possible, &decided) {
                        prop_assert!(failed.is_subset(then));
                    }
                }
            }
            None => {
                let first = possible.first().expect("at least one");
                prop_assert!(possible.iter().any(|other| !is_same(first, other)), "only {:?} is possible", first);
            }
        }
        if let Verdict::Undecided { waiting } = verdict {
            let of_id = providers.iter().filter(|one| one.could_hold(&id)).collect();
            let says = |one: &&Provider| one.says(&id, true);
            let deciding = ranks(of_id).into_iter().find(|rank| !rank.iter().all(|one| says(one) == Said::Nothing));
            let expected: BTreeSet<&str> = deciding.expect("an undecided rank").iter()
                .filter(|one| says(one) == Said::Pending).map(|one| one.name.as_str()).collect();
            let waiting: BTreeSet<&str> = waiting.iter().map(|index| candidates[*index].name).collect();
            prop_assert_eq!(waiting, expected);
        }
    }

    #[test]
    fn an_interactive_provider_is_called_after_every_higher_rank_returned_nothing(
        providers in any_providers(all_states()), id in any_id(),
    ) {
        let candidates = candidates(&providers, &id);
        let is_undecided = matches!(decide(&candidates), Verdict::Undecided { .. });
        let expected: BTreeSet<&str> = providers.iter()
            .filter(|one| is_undecided && one.could_hold(&id) && one.says(&id, true) == Said::Pending)
            .filter(|one| {
                let mut higher = providers.iter().filter(|other| other.could_hold(&id) && precedes(other, one));
                !one.is_interactive || higher.all(|other| other.says(&id, true) == Said::Nothing)
            })
            .map(|one| one.name.as_str())
            .collect();
        let callable: BTreeSet<&str> = callable(&candidates).iter().map(|index| candidates[*index].name).collect();
        // A failed candidate of its own rank has decided the id, so that no prompt is shown in vain.
        prop_assert_eq!(callable, expected);
    }

    #[test]
    fn responses_in_any_order_lead_to_one_verdict_that_stays(
        providers in any_providers(SETTLED.to_vec()), id in any_id(),
        order in Just((0..5).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let complete = candidates(&providers, &id);
        let at_last = named(&decide(&complete), &complete).expect("decided");
        let mut partial = complete.clone();
        for candidate in &mut partial {
            candidate.response = Response::Pending;
        }
        let mut is_decided = false;
        for arriving in order.into_iter().filter(|index| *index < complete.len()) {
            partial[arriving].response = complete[arriving].response;
            match named(&decide(&partial), &partial) {
                Some(decided) => {
                    prop_assert!(is_same(&decided, &at_last), "{:?} became {:?}", decided, at_last);
                    is_decided = true;
                }
                None => prop_assert!(!is_decided, "a verdict was taken back"),
            }
        }
        prop_assert_eq!(named(&decide(&partial), &partial), Some(at_last));
    }

    #[test]
    fn lower_ranks_never_matter(
        providers in any_providers(SETTLED.to_vec()), id in any_id(),
        responses in prop::collection::vec(any_response(), 5), added in prop::collection::vec(any_response(), 0..3),
    ) {
        let before = candidates(&providers, &id);
        let deciding = match decide(&before) {
            Verdict::Value { index } => index,
            Verdict::Uncertain { failed: indices } | Verdict::Conflict { indices } => indices[0],
            Verdict::NotFound | Verdict::Undecided { .. } => return Ok(()),
        };
        let rank = before[deciding].rank;
        let mut after = before.clone();
        for (candidate, response) in after.iter_mut().zip(responses) {
            if candidate.rank < rank {
                candidate.response = response;
            }
        }
        let lowest = Rank { priority: -1, class: Class::External, interactive: true };
        after.extend(added.into_iter().map(|response| Candidate { rank: lowest, name: "x", response }));
        prop_assert_eq!(decide(&after), decide(&before));
    }

    #[test]
    fn a_pattern_is_decided_as_the_rule_says(
        providers in any_providers(SETTLED.to_vec()), query in any_pattern(),
    ) {
        let realms = realms(&providers);
        let candidates = pattern_candidates(&providers, &realms, &query);
        let verdict = decide_pattern(&candidates);
        let expected = PatternTruth::of(&providers, &query);
        prop_assert_eq!(PatternTruth::named(&verdict, &candidates), expected);
        prop_assert!(verdict.certain.is_sorted());
    }
}

fn any_response() -> impl Strategy<Value = Response<u8>> {
    prop_oneof![
        (0..2_u8).prop_map(Response::Value),
        Just(Response::Nothing),
        Just(Response::Failed),
        Just(Response::Pending),
    ]
}

fn realms(providers: &[Provider]) -> Vec<Option<Realm>> {
    let known = providers.iter().map(Provider::known_realm);
    known
        .map(|known| known.map(|(patterns, cut)| Realm::new(&patterns, cut.as_deref())))
        .collect()
}

/// The providers whose realm overlaps `query`, in order, with the parts of their responses that count.
fn pattern_candidates<'a>(
    providers: &'a [Provider],
    realms: &'a [Option<Realm>],
    query: &Pattern,
) -> Vec<PatternCandidate<'a, u8>> {
    let mut candidates: Vec<PatternCandidate<'a, u8>> = providers
        .iter()
        .zip(realms)
        .filter_map(|(one, realm)| Some((one, realm.as_ref()?)))
        .filter(|(_, realm)| realm.overlaps(query))
        .map(|(one, realm)| {
            let matching = || {
                ids(2)
                    .into_iter()
                    .filter(|id| realm.matches(id) && query.matches(id))
            };
            let value = |id: Id| match one.says(&id, false) {
                Said::Value(value) => Some((id, value)),
                _ => None,
            };
            let expired: BTreeSet<Id> = matching().filter(|id| one.expired.contains(id)).collect();
            PatternCandidate {
                rank: one.rank(),
                name: &one.name,
                realm,
                is_required: one.is_required,
                values: matching().filter_map(value).collect(),
                gap: if one.fails_for_patterns() {
                    Gap::Others
                } else if expired.is_empty() {
                    Gap::None
                } else {
                    Gap::Ids(expired)
                },
            }
        })
        .collect();
    candidates.sort_by(|a, b| order((a.rank, a.name), (b.rank, b.name)));
    candidates
}

/// The result of a pattern with names in place of positions.
#[derive(Debug, PartialEq, Eq)]
struct PatternTruth {
    certain: BTreeMap<Id, String>,
    conflicts: BTreeSet<Id>,
    failed: BTreeSet<String>,
    outcome: Outcome,
}

impl PatternTruth {
    /// By the text of the rule.
    fn of(providers: &[Provider], query: &Pattern) -> Self {
        let says = |one: &Provider, id: &Id| one.says(id, false);
        // Patterns of two components that overlap share an id of at most three.
        let overlapping: Vec<&Provider> = providers
            .iter()
            .filter(|one| {
                ids(3)
                    .iter()
                    .any(|id| holds(query, id) && one.could_hold(id))
            })
            .collect();
        let failed: BTreeSet<String> = overlapping
            .iter()
            .filter(|one| {
                let mut matching = ids(2)
                    .into_iter()
                    .filter(|id| holds(query, id) && one.could_hold(id));
                one.fails_for_patterns() || matching.any(|id| says(one, &id) == Said::Failed)
            })
            .map(|one| one.name.clone())
            .collect();
        let (mut certain, mut conflicts) = (BTreeMap::new(), BTreeSet::new());
        for id in ids(2).into_iter().filter(|id| holds(query, id)) {
            let is_returned =
                |one: &&Provider| one.could_hold(&id) && matches!(says(one, &id), Said::Value(_));
            if !providers.iter().any(|one| is_returned(&one)) {
                continue;
            }
            match truth(providers, &id, |one| says(one, &id)) {
                Truth::Value { by } => drop(certain.insert(id, by)),
                Truth::Conflict { .. } => drop(conflicts.insert(id)),
                Truth::Uncertain { .. } | Truth::NotFound => {}
            }
        }
        let is_required_missing = overlapping
            .iter()
            .any(|one| one.is_required && one.fails_for_patterns());
        let is_partial = !failed.is_empty() || !conflicts.is_empty();
        let outcome = if is_required_missing {
            Outcome::Unavailable
        } else if !certain.is_empty() && is_partial {
            Outcome::Partial
        } else if !certain.is_empty() {
            Outcome::Complete
        } else if !failed.is_empty() {
            Outcome::Unavailable
        } else if !conflicts.is_empty() {
            Outcome::Conflict
        } else {
            Outcome::NotFound
        };
        Self {
            certain,
            conflicts,
            failed,
            outcome,
        }
    }

    fn named<V>(verdict: &PatternVerdict, candidates: &[PatternCandidate<'_, V>]) -> Self {
        let name = |index: &usize| candidates[*index].name.to_owned();
        let certain = verdict.certain.iter();
        Self {
            certain: certain
                .map(|(id, index)| (id.clone(), name(index)))
                .collect(),
            conflicts: verdict.conflicts.iter().map(|(id, _)| id.clone()).collect(),
            failed: verdict.failed.iter().map(name).collect(),
            outcome: verdict.outcome,
        }
    }
}

fn rank(priority: i64) -> Rank {
    Rank {
        priority,
        class: Class::Launched,
        interactive: false,
    }
}

fn candidate(priority: i64, name: &str, response: Response<u8>) -> Candidate<'_, u8> {
    Candidate {
        rank: rank(priority),
        name,
        response,
    }
}

#[test]
fn a_failure_decides_before_the_rest_of_its_rank_responds() {
    let verdict = decide(&[
        candidate(1, "a", Response::Pending),
        candidate(1, "b", Response::Failed),
        candidate(0, "c", Response::Value(1)),
    ]);
    assert_eq!(verdict, Verdict::Uncertain { failed: vec![1] });
}

#[test]
fn a_conflict_waits_for_a_candidate_that_may_fail() {
    let mut candidates = [
        candidate(0, "a", Response::Value(1)),
        candidate(0, "b", Response::Value(2)),
        candidate(0, "c", Response::Pending),
    ];
    assert_eq!(decide(&candidates), Verdict::Undecided { waiting: vec![2] });
    candidates[2].response = Response::Nothing;
    assert_eq!(
        decide(&candidates),
        Verdict::Conflict {
            indices: vec![0, 1]
        }
    );
}

#[test]
fn equal_values_are_attributed_to_the_first_name() {
    let verdict = decide(&[
        candidate(0, "a", Response::Nothing),
        candidate(0, "b", Response::Value(1)),
        candidate(0, "c", Response::Value(1)),
    ]);
    assert_eq!(verdict, Verdict::Value { index: 1 });
}

#[test]
fn a_failed_required_provider_fails_a_pattern_and_not_an_id() {
    let realm = Realm::new(&[Pattern::everything()], None);
    let id: Id = "a".parse().expect("an id");
    let provider = |priority, name, is_required, gap| PatternCandidate {
        rank: rank(priority),
        name,
        realm: &realm,
        is_required,
        values: BTreeMap::from([(id.clone(), 1)]),
        gap,
    };
    let mut candidates = [
        provider(1, "a", false, Gap::None),
        provider(0, "b", true, Gap::Others),
    ];
    let verdict = decide_pattern(&candidates);
    assert_eq!(verdict.outcome, Outcome::Unavailable);
    assert_eq!(verdict.failed, [1]);
    candidates[1].is_required = false;
    let verdict = decide_pattern(&candidates);
    assert_eq!(verdict.outcome, Outcome::Partial);
    assert_eq!(verdict.certain, [(id.clone(), 0)]);
    let of_id = [
        candidate(1, "a", Response::Value(1)),
        candidate(0, "b", Response::Failed),
    ];
    assert_eq!(decide(&of_id), Verdict::Value { index: 0 });
}

#[test]
fn an_expired_value_makes_its_id_uncertain_and_no_other() {
    let realm = Realm::new(&[Pattern::everything()], None);
    let [expired, valid]: [Id; 2] = ["a", "b"].map(|id| id.parse().expect("an id"));
    let provider = |priority, name, values, gap| PatternCandidate {
        rank: rank(priority),
        name,
        realm: &realm,
        is_required: true,
        values,
        gap,
    };
    let both = BTreeMap::from([(expired.clone(), 1), (valid.clone(), 1)]);
    let gap = Gap::Ids(BTreeSet::from([expired.clone()]));
    let verdict = decide_pattern(&[
        provider(1, "a", BTreeMap::new(), gap),
        provider(0, "b", both, Gap::None),
    ]);
    assert_eq!(verdict.uncertain, [(expired, vec![0])]);
    assert_eq!(verdict.certain, [(valid, 1)]);
    assert_eq!(
        (verdict.outcome, verdict.failed),
        (Outcome::Partial, vec![0])
    );
}

#[test]
fn values_are_compared_byte_by_byte_and_never_shown() {
    let equal = |a: &[u8], b: &[u8]| ValueBytes(a) == ValueBytes(b);
    assert!(equal(b"not-a-real-token", b"not-a-real-token") && equal(b"", b""));
    assert!(!equal(b"not-a-real-token", b"not-a-real-tokem"));
    assert!(!equal(b"not", b"not-a-real-token") && !equal(b"not-a-real-token", b""));
    assert!(!format!("{:?}", ValueBytes(b"not-a-real-token")).contains("token"));
}
