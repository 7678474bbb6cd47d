//! The ids that one provider may answer for.

use keyway_secrets::{Id, Pattern};

/// What a provider registered for, cut to what configuration allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Realm {
    registered: Pattern,
    /// Only where no single pattern says what is in both.
    limit: Option<Pattern>,
}

impl Realm {
    pub(crate) fn new(registered: Pattern, limit: Option<&Pattern>) -> Self {
        match limit.map(|limit| (limit, registered.intersection(limit))) {
            None => Self {
                registered,
                limit: None,
            },
            Some((_, Some(both))) => Self {
                registered: both,
                limit: None,
            },
            Some((limit, None)) => Self {
                registered,
                limit: Some(limit.clone()),
            },
        }
    }

    /// Whether the provider has to be asked. With a limit that no single pattern can express this may say yes for a query
    /// that nothing in the realm matches, which costs a request and nothing else.
    pub(crate) fn overlaps(&self, query: &Pattern) -> bool {
        self.parts().all(|part| part.overlaps(query))
    }

    /// Whether the provider may answer for `id`. Exact.
    pub(crate) fn matches(&self, id: &Id) -> bool {
        self.parts().all(|part| part.matches(id))
    }

    /// Whether no id at all is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.limit
            .as_ref()
            .is_some_and(|limit| !limit.overlaps(&self.registered))
    }

    /// The question for the provider: exactly the ids of both realm and query where one pattern can say it, else the query.
    pub(crate) fn narrow(&self, query: &Pattern) -> Pattern {
        self.parts()
            .try_fold(query.clone(), |narrowed, part| narrowed.intersection(part))
            .unwrap_or_else(|| query.clone())
    }

    fn parts(&self) -> impl Iterator<Item = &Pattern> {
        std::iter::once(&self.registered).chain(&self.limit)
    }
}

impl std::fmt::Display for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // With a limit beside it, the limit is what a person configured and expects to read.
        write!(f, "{}", self.limit.as_ref().unwrap_or(&self.registered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    fn realm(registered: &str, limit: Option<&str>) -> Realm {
        Realm::new(pattern(registered), limit.map(pattern).as_ref())
    }

    #[test]
    fn configuration_cuts_a_realm() {
        let cut = realm("**", Some("team/**"));
        assert_eq!(cut.to_string(), "team/**");
        assert!(cut.matches(&"team/a".parse().expect("an id")));
        assert!(!cut.matches(&"other/a".parse().expect("an id")));
        assert!(!cut.overlaps(&pattern("other/*")));
        assert_eq!(cut.narrow(&pattern("*/a")).as_str(), "team/a");
    }

    #[test]
    fn what_no_single_pattern_says_is_still_exact_for_ids() {
        let cut = realm("a/**/c", Some("a/b/**"));
        assert!(cut.matches(&"a/b/c".parse().expect("an id")));
        assert!(!cut.matches(&"a/b/d".parse().expect("an id")));
        assert!(!cut.matches(&"a/x/c".parse().expect("an id")));
        assert!(!cut.is_empty());
    }

    #[test]
    fn a_realm_outside_its_limit_is_empty() {
        assert!(realm("a/**", Some("b/**")).is_empty());
        assert!(!realm("a/**", None).is_empty());
    }

    #[test]
    fn the_question_is_the_exact_intersection_or_the_query() {
        assert_eq!(realm("a/*", None).narrow(&pattern("**")).as_str(), "a/*");
        assert_eq!(realm("**", None).narrow(&pattern("a/b")).as_str(), "a/b");
        let cut = realm("a/**/c", Some("a/b/**"));
        let question = cut.narrow(&pattern("**"));
        assert!(
            question.matches(&"a/b/c".parse().expect("an id")),
            "{question}"
        );
    }
}
