//! All four operations against brute force: every id up to a length, over a small alphabet.
//!
//! The letters `a` and `b` occur in the patterns, `z` represents all components that do not. Patterns of up to four
//! components that differ at all differ on an id of at most eight components.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::Pattern;
use super::canonical::Canonical;
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

/// Repeats `parts` 24 times in one pattern.
fn hostile(parts: &str) -> Pattern {
    vec![parts; 24].join("/").parse().unwrap()
}

#[test]
fn hostile_patterns_take_bounded_work() {
    let patterns = [
        hostile("**/a"),
        hostile("**/b"),
        hostile("a/**"),
        hostile("**/*"),
        hostile("*/**/a/*"),
        hostile("**/a/*/*"),
        hostile("**/a/**/b"),
        format!("**/a/{}", hostile("*")).parse().unwrap(),
        format!("**/a/{}/**", hostile("*")).parse().unwrap(),
        format!("b/**/{}/b", hostile("a/**/*")).parse().unwrap(),
    ];
    let started = Instant::now();
    let nearly: Id = format!("{}/z", ["a"; 200].join("/")).parse().unwrap();
    assert!(!hostile("**/a").matches(&nearly));
    assert!(hostile("a/**").matches(&nearly));
    for p in &patterns {
        for q in &patterns {
            assert_eq!(p.overlaps(q), q.overlaps(p));
            if let Some(common) = p.intersection(q) {
                assert!(p.covers(&common) && q.covers(&common));
            }
        }
    }
    // Not a measurement: an exponential algorithm would need years.
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "took {:?}",
        started.elapsed()
    );
}
