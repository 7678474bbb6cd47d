//! All four operations against brute force: every id up to a length, over a small alphabet.
//!
//! The letters `a` and `b` occur in the patterns, `z` represents all components that do not. Patterns of up to four
//! components that differ at all differ on an id of at most eight components.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::canonical::Canonical;
use super::element::elements;
use super::steps::{MAX_STEPS, Steps};
use super::{Pattern, contain, intersection, overlap};
use crate::Id;

/// Long enough to distinguish patterns of five components.
static LONG_IDS: LazyLock<Vec<Id>> = LazyLock::new(|| ids(&["a", "b", "z"], 8));

/// As long as the shortest common id of two patterns of six components can be. With one literal in the patterns two
/// letters are enough, which keeps the number of ids small.
static LONGEST_IDS: LazyLock<Vec<Id>> = LazyLock::new(|| ids(&["a", "z"], 12));

/// Returns the ids over `letters` with 1 to `longest` components.
fn ids(letters: &[&str], longest: usize) -> Vec<Id> {
    words(letters, longest)
        .iter()
        .map(|word| word.parse().unwrap())
        .collect()
}

fn words(letters: &[&str], longest: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last = vec![String::new()];
    for _ in 0..longest {
        let extend = |word: &String| {
            letters
                .iter()
                .map(|l| {
                    if word.is_empty() {
                        (*l).to_owned()
                    } else {
                        format!("{word}/{l}")
                    }
                })
                .collect::<Vec<_>>()
        };
        last = last.iter().flat_map(extend).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// Returns one bit per id: whether it matches.
fn language(pattern: &Pattern, ids: &[Id]) -> Vec<u64> {
    ids.chunks(64)
        .map(|chunk| {
            chunk.iter().enumerate().fold(0, |bits, (n, id)| {
                bits | u64::from(pattern.matches(id)) << n
            })
        })
        .collect()
}

/// Matches by the definition, without optimisation.
fn matches_by_definition(pattern: &[&str], id: &[&str]) -> bool {
    match pattern {
        [] => id.is_empty(),
        ["**", rest @ ..] => (0..=id.len()).any(|n| matches_by_definition(rest, &id[n..])),
        [first, rest @ ..] => id.split_first().is_some_and(|(given, left)| {
            (*first == "*" || first == given) && matches_by_definition(rest, left)
        }),
    }
}

/// Compares every operation on two patterns with their languages.
fn check_pair(p: &Pattern, q: &Pattern, lp: &[u64], lq: &[u64], ids: &[Id]) -> Option<Pattern> {
    let common: Vec<u64> = lp.iter().zip(lq).map(|(a, b)| a & b).collect();
    let overlaps = common.iter().any(|&bits| bits != 0);
    assert_eq!(p.overlaps(q), overlaps, "{p} overlaps {q}");
    assert_eq!(p.covers(q), common == lq, "{p} covers {q}");
    assert_eq!(q.covers(p), common == lp, "{q} covers {p}");
    let intersection = p.intersection(q);
    if let Some(found) = &intersection {
        assert_eq!(language(found, ids), common, "{p} and {q} share {found}");
    }
    intersection
}

#[test]
fn matching_agrees_with_the_definition() {
    let ids = ids(&["a", "b"], 5);
    for text in words(&["a", "b", "*", "**"], 5) {
        let pattern: Pattern = text.parse().unwrap();
        let elements: Vec<_> = pattern.components().collect();
        for id in &ids {
            let components: Vec<_> = id.components().collect();
            assert_eq!(
                pattern.matches(id),
                matches_by_definition(&elements, &components),
                "{pattern} matches {id}"
            );
        }
    }
}

#[test]
fn all_operations_agree_on_every_pair_of_small_patterns() {
    let ids = ids(&["a", "b", "z"], 7);
    let patterns: Vec<Pattern> = words(&["a", "b", "*", "**"], 3)
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    let languages: Vec<_> = patterns
        .iter()
        .map(|pattern| language(pattern, &ids))
        .collect();
    // The languages of all patterns, to prove that `None` is returned only if no pattern describes the common ids.
    let expressible: HashSet<_> = words(&["a", "b", "*", "**"], 6)
        .iter()
        .filter(|text| Canonical::new(text).render() == **text)
        .map(|text| language(&text.parse().unwrap(), &ids))
        .collect();
    for (p, lp) in patterns.iter().zip(&languages) {
        for (q, lq) in patterns.iter().zip(&languages) {
            if check_pair(p, q, lp, lq, &ids).is_none() {
                let common: Vec<u64> = lp.iter().zip(lq).map(|(a, b)| a & b).collect();
                let empty = common.iter().all(|&bits| bits == 0);
                assert!(
                    empty || !expressible.contains(&common),
                    "{p} and {q} share one pattern that was not found"
                );
            }
        }
    }
}

#[test]
fn canonical_texts_are_equal_exactly_if_the_sets_are() {
    let ids = ids(&["a", "b", "z"], 7);
    let mut by_language: HashMap<Vec<u64>, String> = HashMap::new();
    for text in words(&["a", "b", "*", "**"], 4) {
        let canonical = Canonical::new(&text).render();
        let language = language(&text.parse().unwrap(), &ids);
        let first = by_language
            .entry(language)
            .or_insert_with(|| canonical.clone());
        assert_eq!(*first, canonical, "written {text}");
    }
}

const TWO_WORDS: &[&str] = &["a", "b", "*", "**"];
const ONE_WORD: &[&str] = &["a", "*", "**"];

fn small_pattern(
    components: &'static [&'static str],
    longest: usize,
) -> impl Strategy<Value = Pattern> {
    prop::collection::vec(prop::sample::select(components), 1..=longest)
        .prop_map(|parts| parts.join("/").parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn all_operations_agree_on_random_larger_pairs(p in small_pattern(TWO_WORDS, 5), q in small_pattern(TWO_WORDS, 5)) {
        check_pair(&p, &q, &language(&p, &LONG_IDS), &language(&q, &LONG_IDS), &LONG_IDS);
    }

    #[test]
    fn all_operations_agree_on_random_longest_pairs(p in small_pattern(ONE_WORD, 6), q in small_pattern(ONE_WORD, 6)) {
        check_pair(&p, &q, &language(&p, &LONGEST_IDS), &language(&q, &LONGEST_IDS), &LONGEST_IDS);
    }

    #[test]
    fn intersection_with_a_covering_realm_is_the_query(rest in small_pattern(TWO_WORDS, 6)) {
        let realm: Pattern = "a/**".parse().unwrap();
        let query: Pattern = format!("a/{rest}").parse().unwrap();
        prop_assert_eq!(realm.intersection(&query), Some(query.clone()));
        prop_assert_eq!(Pattern::everything().intersection(&query), Some(query));
    }
}

#[test]
fn intersections_of_typical_realms_and_queries() {
    let check = |a: &str, b: &str, expected: Option<&str>| {
        let (a, b): (Pattern, Pattern) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(
            a.intersection(&b).as_ref().map(Pattern::as_str),
            expected,
            "{a} and {b}"
        );
        assert_eq!(
            b.intersection(&a).as_ref().map(Pattern::as_str),
            expected,
            "{b} and {a}"
        );
    };
    check("**", "a/*/b", Some("a/*/b"));
    check("a/**", "*/b", Some("a/b"));
    check("a/**", "**/b", Some("a/**/b"));
    check("a/**/c", "a/b/**", Some("a/b/**/c"));
    check("a/*", "a/b", Some("a/b"));
    check("*/*/**", "a/**", Some("a/*/**"));
    check(
        "**/mcp/auth/**",
        "docker/*/auth/foo/bar/*",
        Some("docker/mcp/auth/foo/bar/*"),
    );
    check("docker/**", "**/mcp/auth/**", Some("docker/**/mcp/auth/**"));
    check("a/*/**", "**/*/b", Some("a/**/b"));
    check("a/b/**/d", "a/**/c/d", Some("a/b/**/c/d"));
    check("a/b", "a/c", None);
    check("a/**", "b/**", None);
    check("a/**", "**/a", None); // `a`, and `a` twice with anything between.
    check("**/a/**", "**/b/**", None);
}

/// Repeats `motif` up to the largest number of components.
fn hostile(motif: &[&str]) -> Pattern {
    let components = motif.iter().cycle().take(Pattern::MAX_COMPONENTS);
    components
        .copied()
        .collect::<Vec<_>>()
        .join("/")
        .parse()
        .unwrap()
}

/// Checks that the operations that must be exact on every pair of patterns stay within their steps, and returns the steps of the
/// intersection.
fn count_steps(p: &Pattern, q: &Pattern) -> usize {
    let (left, right) = (elements(p.as_str()), elements(q.as_str()));
    let overlaps = overlap::overlaps(&left, &right, &mut Steps::default());
    assert!(overlaps.is_some(), "{p} overlaps {q}");
    let (left, right) = (Canonical::new(p.as_str()), Canonical::new(q.as_str()));
    let covers = contain::covers(&left, &right, &mut Steps::default());
    assert!(covers.is_some(), "{p} covers {q}");
    let mut steps = Steps::default();
    if let Some(common) = intersection(p, q, &mut steps) {
        assert!(
            p.covers(&common) && q.covers(&common),
            "{p} and {q} share {common}"
        );
    }
    steps.taken()
}

#[test]
fn operations_on_hostile_patterns_stay_within_their_steps() {
    let patterns = [
        hostile(&["**", "a"]),
        hostile(&["**", "b"]),
        hostile(&["a", "**"]),
        hostile(&["**", "*"]),
        hostile(&["**", "b", "a"]),
        hostile(&["*", "**", "a", "*"]),
        hostile(&["**", "a", "*", "*"]),
        hostile(&["**", "a", "**", "b"]),
        hostile(&["a"]),
        hostile(&["*"]),
        format!("b/**/{}", hostile(&["a"]).as_str().split_at(240).0)
            .trim_end_matches('/')
            .parse()
            .unwrap(),
        "a/**/b".parse().unwrap(),
        "*/**/a/*".parse().unwrap(),
        "team/**".parse().unwrap(),
    ];
    let longest: Vec<Id> = ["a", "b"]
        .map(|component| hostile(&[component]).as_id().unwrap())
        .into();
    for p in &patterns {
        for q in &patterns {
            assert!(count_steps(p, q) <= MAX_STEPS);
            assert_eq!(p.overlaps(q), q.overlaps(p));
        }
        for id in &longest {
            let matches = overlap::matches(p.as_str(), id.as_str(), &mut Steps::default());
            assert!(matches.is_some(), "{p} matches {id}");
        }
    }
}

#[test]
fn an_ordinary_realm_is_cut_exactly_from_the_longest_query() {
    let realm: Pattern = "team/**".parse().unwrap();
    let query = hostile(&["**", "b", "a"]);
    assert_eq!(realm.intersection(&query), None, "one component too many");
    let shorter = query.as_str().trim_end_matches("/b");
    let shared = realm.intersection(&shorter.parse().unwrap());
    assert_eq!(
        shared.map(String::from),
        Some(format!("team/{shorter}")),
        "the largest size"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn operations_on_repeated_motifs_stay_within_their_steps(
        left in prop::collection::vec(prop::sample::select(TWO_WORDS), 1..=5),
        right in prop::collection::vec(prop::sample::select(TWO_WORDS), 1..=5),
        realm in small_pattern(TWO_WORDS, 5),
    ) {
        let (left, right) = (hostile(&left), hostile(&right));
        for other in [&right, &realm] {
            prop_assert!(count_steps(&left, other) <= MAX_STEPS);
            prop_assert!(count_steps(other, &left) <= MAX_STEPS);
        }
    }
}
