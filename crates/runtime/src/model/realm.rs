//! The ids that one provider may return.

use std::fmt;

use keyway_secrets::{Id, Pattern};

/// The effective realm of a provider: the union of its patterns, each intersected with the configured limit.
///
/// All intersections are made once, in [`new`](Self::new). Membership of an id is always exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Realm {
    /// The registered or described patterns, without those that another one includes.
    registered: Vec<Pattern>,
    /// The configured patterns, likewise; `None`: the configuration does not cut.
    limit: Option<Vec<Pattern>>,
    /// The intersections that are not empty.
    parts: Vec<Part>,
    is_everything: bool,
}

/// The intersection of a registered pattern with a configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The set of one pattern.
    Single(Pattern),
    /// It takes more than one pattern, so the two are kept side by side.
    Both { registered: Pattern, limit: Pattern },
}

impl Realm {
    /// Creates the union of `registered`, each intersected with the union of `limit`.
    pub(crate) fn new(registered: &[Pattern], limit: Option<&[Pattern]>) -> Self {
        let registered = without_included(registered);
        let limit = limit.map(without_included);
        let parts: Vec<Part> = match &limit {
            None => registered.iter().cloned().map(Part::Single).collect(),
            Some(limit) => {
                let pairs = registered
                    .iter()
                    .flat_map(|pattern| limit.iter().map(move |cut| (pattern, cut)));
                let mut parts = Vec::new();
                for part in pairs.filter_map(|(pattern, cut)| Part::new(pattern, cut)) {
                    if !parts.contains(&part) {
                        parts.push(part);
                    }
                }
                parts
            }
        };
        let everything = Pattern::everything();
        let is_everything = parts
            .iter()
            .any(|part| matches!(part, Part::Single(pattern) if pattern.covers(&everything)));
        Self {
            registered,
            limit,
            parts,
            is_everything,
        }
    }

    /// Returns `true` if some id of the realm matches `query`, so that the provider has to be called.
    ///
    /// Exact, except where neither the realm nor its intersection with the query can be said by one pattern. Then it may be
    /// true for a query without a matching id, which costs one call.
    pub(crate) fn overlaps(&self, query: &Pattern) -> bool {
        match query.as_id() {
            Some(id) => self.matches(&id),
            None => self.parts.iter().any(|part| part.overlaps(query)),
        }
    }

    /// Returns `true` if the realm contains `id`. Exact.
    pub(crate) fn matches(&self, id: &Id) -> bool {
        self.is_registered(id)
            && self
                .limit
                .as_ref()
                .is_none_or(|limit| limit.iter().any(|pattern| pattern.matches(id)))
    }

    /// Returns `true` if the provider itself registered `id`, although the configuration may cut it. Exact.
    pub(crate) fn is_registered(&self, id: &Id) -> bool {
        self.registered.iter().any(|pattern| pattern.matches(id))
    }

    /// Returns the query for the provider: exactly the ids of both realm and `query` if one pattern can express them, else `query`.
    pub(crate) fn narrow(&self, query: &Pattern) -> Pattern {
        if query.as_id().is_some() {
            // In the realm or not, nothing of it can be cut.
            return query.clone();
        }
        let overlapping = self.parts.iter().filter(|part| part.overlaps(query));
        let pieces: Option<Vec<Pattern>> =
            overlapping.map(|part| part.intersection(query)).collect();
        let pieces = pieces.unwrap_or_default();
        // If one piece includes all others, it remains at the end of this pass.
        let widest = pieces
            .iter()
            .reduce(|widest, piece| if piece.covers(widest) { piece } else { widest });
        widest
            .filter(|widest| pieces.iter().all(|piece| widest.covers(piece)))
            .unwrap_or(query)
            .clone()
    }

    /// Returns `true` if no id is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns `true` if every id is in the realm.
    pub(crate) fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// Returns the patterns for a user to read. Where a part takes more than one pattern, the text is `A within B`.
    pub(crate) fn patterns(&self) -> Vec<String> {
        self.parts.iter().map(ToString::to_string).collect()
    }

    /// Returns the pattern that matches exactly this realm, if there is one.
    pub(crate) fn single(&self) -> Option<&Pattern> {
        match self.parts.as_slice() {
            [Part::Single(pattern)] => Some(pattern),
            _ => None,
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl Part {
    fn new(registered: &Pattern, limit: &Pattern) -> Option<Self> {
        if !registered.overlaps(limit) {
            return None;
        }
        Some(match registered.intersection(limit) {
            Some(pattern) => Self::Single(pattern),
            None => Self::Both {
                registered: registered.clone(),
                limit: limit.clone(),
            },
        })
    }

    fn overlaps(&self, query: &Pattern) -> bool {
        match self {
            Self::Single(pattern) => pattern.overlaps(query),
            Self::Both { registered, limit } => {
                if !registered.overlaps(query) || !limit.overlaps(query) {
                    return false;
                }
                if let Some(narrowed) = registered.intersection(query) {
                    return narrowed.overlaps(limit);
                }
                match limit.intersection(query) {
                    Some(narrowed) => narrowed.overlaps(registered),
                    None => true,
                }
            }
        }
    }

    /// Returns the intersection with `query`, if one pattern can express it.
    fn intersection(&self, query: &Pattern) -> Option<Pattern> {
        match self {
            Self::Single(pattern) => pattern.intersection(query),
            Self::Both { registered, limit } => {
                let one_by_one = |first: &Pattern, second: &Pattern| {
                    query.intersection(first)?.intersection(second)
                };
                one_by_one(registered, limit).or_else(|| one_by_one(limit, registered))
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(pattern) => pattern.fmt(f),
            Self::Both { registered, limit } => write!(f, "{registered} within {limit}"),
        }
    }
}

/// Returns the patterns without those that another one includes. Of several ways to write one set the first remains.
fn without_included(patterns: &[Pattern]) -> Vec<Pattern> {
    let mut kept: Vec<Pattern> = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        if kept.iter().any(|wide| wide.covers(pattern)) {
            continue;
        }
        kept.retain(|narrow| !pattern.covers(narrow));
        kept.push(pattern.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts
            .iter()
            .map(|text| text.parse().expect("a pattern"))
            .collect()
    }

    fn realm(registered: &[&str], limit: Option<&[&str]>) -> Realm {
        Realm::new(&patterns(registered), limit.map(patterns).as_deref())
    }

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    fn id(text: &str) -> Id {
        text.parse().expect("an id")
    }

    #[test]
    fn the_configuration_cuts_a_realm() {
        let cut = realm(&["**"], Some(&["team/**"]));
        assert_eq!(cut.to_string(), "team/**");
        assert!(cut.matches(&id("team/a")));
        assert!(!cut.matches(&id("other/a")));
        assert!(cut.is_registered(&id("other/a")));
        assert!(!cut.overlaps(&pattern("other/*")));
        assert_eq!(cut.narrow(&pattern("*/a")).as_str(), "team/a");
        assert!(!cut.is_everything());
        assert_eq!(cut.single().map(Pattern::as_str), Some("team/**"));
    }

    #[test]
    fn a_realm_of_several_patterns_is_their_union() {
        let both = realm(&["a/**", "b/*"], None);
        assert_eq!(both.patterns(), ["a/**", "b/*"]);
        assert_eq!(both.to_string(), "a/**, b/*");
        assert_eq!(both.single(), None);
        assert_eq!(both.narrow(&pattern("a/*")).as_str(), "a/*");
        assert_eq!(both.narrow(&pattern("**")).as_str(), "**");
        let cut = realm(&["**"], Some(&["a/**", "b/*"]));
        assert_eq!(cut.patterns(), both.patterns());
    }

    #[test]
    fn a_pattern_within_another_is_not_repeated() {
        assert_eq!(realm(&["a/b", "a/*", "a/b"], None).patterns(), ["a/*"]);
        assert_eq!(realm(&["a/*"], Some(&["a/**", "a/b"])).patterns(), ["a/*"]);
        let everything = realm(&["a/*", "**/**"], None);
        assert!(everything.is_everything());
        assert_eq!(everything.patterns(), ["**/**"]);
    }

    #[test]
    fn an_intersection_of_several_patterns_is_exact_for_ids() {
        let cut = realm(&["**/a/**"], Some(&["**/b/**"]));
        assert_eq!(cut.single(), None);
        assert_eq!(cut.to_string(), "**/a/** within **/b/**");
        assert!(cut.matches(&id("a/b")) && cut.matches(&id("b/x/a")));
        assert!(!cut.matches(&id("a")) && !cut.matches(&id("b")));
        assert!(cut.overlaps(&pattern("a/*")));
        assert!(!cut.overlaps(&pattern("a/c")));
        assert_eq!(cut.narrow(&pattern("a/*")).as_str(), "a/b");
        assert!(!cut.is_empty());
    }

    #[test]
    fn a_realm_outside_its_limit_is_empty() {
        assert!(realm(&["a/**"], Some(&["b/**"])).is_empty());
        assert!(realm(&["a/**"], Some(&[])).is_empty());
        assert!(realm(&[], None).is_empty());
        assert!(!realm(&["a/**"], None).is_empty());
    }

    /// Every id of up to six components of two words. Three patterns of three components that share an id share one of these: a
    /// pattern without `**` has three components, one with it needs at most two.
    fn small_ids() -> Vec<Id> {
        let mut ids = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..6 {
            ids = ids
                .iter()
                .flat_map(|id| ["a", "b"].map(|word| format!("{id}/{word}")))
                .collect();
            all.extend(ids.iter().map(|id| self::id(&id[1..])));
        }
        all
    }

    fn small_pattern() -> impl Strategy<Value = Pattern> {
        prop::collection::vec(prop::sample::select(&["a", "b", "*", "**"][..]), 1..=3)
            .prop_map(|parts| parts.join("/").parse().expect("a pattern"))
    }

    fn several() -> impl Strategy<Value = Vec<Pattern>> {
        prop::collection::vec(small_pattern(), 0..=3)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_realm_agrees_with_its_definition(
            registered in several(), limit in prop::option::of(several()), query in small_pattern(),
        ) {
            let realm = Realm::new(&registered, limit.as_deref());
            let contains = |id: &Id| {
                registered.iter().any(|pattern| pattern.matches(id))
                    && limit.as_ref().is_none_or(|limit| limit.iter().any(|pattern| pattern.matches(id)))
            };
            let narrowed = realm.narrow(&query);
            let is_single = realm.parts.iter().all(|part| matches!(part, Part::Single(_)));
            let ids = small_ids();
            for id in &ids {
                prop_assert_eq!(realm.matches(id), contains(id), "{}", id);
                if realm.matches(id) && query.matches(id) {
                    prop_assert!(realm.overlaps(&query) && narrowed.matches(id), "{} in {}", id, narrowed);
                    prop_assert!(!realm.is_empty());
                }
                if realm.is_everything() {
                    prop_assert!(realm.matches(id));
                }
                if let Some(single) = realm.single() {
                    prop_assert_eq!(single.matches(id), realm.matches(id));
                }
                if narrowed != query {
                    prop_assert_eq!(narrowed.matches(id), query.matches(id) && realm.matches(id), "{}", id);
                }
            }
            if is_single && realm.overlaps(&query) {
                prop_assert!(ids.iter().any(|id| query.matches(id) && contains(id)), "no shared id");
            }
        }

        #[test]
        fn a_query_of_one_id_is_exact(registered in several(), limit in several()) {
            let realm = Realm::new(&registered, Some(&limit));
            for id in small_ids() {
                prop_assert_eq!(realm.overlaps(&Pattern::from(&id)), realm.matches(&id));
            }
        }
    }
}
