//! The classes that foreign implementations are known to fail.

use serde::Deserialize;

use crate::{
    class::Class,
    pairing::{Implementation, Pairing},
    script::End,
    tally::Tallies,
};

/// The committed list.
const LIST: &str = include_str!("../known-failures.toml");

/// Number of scripts of a class that must pass before a line of the list is called stale: an intermittent
/// failure may pass many times.
pub(crate) const ENOUGH: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    fails: Vec<Entry>,
}

/// One line of the list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The implementation, as in the names of pairings.
    pub implementation: String,
    /// The role in which it fails, if not in both.
    pub role: Option<String>,
    /// The class.
    pub class: String,
    /// The ids of the failures, as in the mux's `TESTS.md`.
    pub lesson: String,
    /// The failure.
    pub reason: String,
}

/// The list.
///
/// # Panics
///
/// Panics if it cannot be read, or names an unknown class, implementation or role.
pub fn entries() -> Vec<Entry> {
    let list: List = toml::from_str(LIST).expect("known-failures.toml is a list of failures");
    for entry in &list.fails {
        let class: Result<Class, _> = entry.class.parse();
        class.unwrap_or_else(|why| panic!("known-failures.toml: {why}"));
        let known = [Implementation::Yamux, Implementation::TokioYamux].map(Implementation::name);
        assert!(
            known.contains(&entry.implementation.as_str()),
            "known-failures.toml: unknown implementation {:?}",
            entry.implementation
        );
        let roles = End::BOTH.map(|end| end.to_string());
        let is_role = entry.role.as_ref().is_none_or(|role| roles.contains(role));
        assert!(is_role, "known-failures.toml: {entry:?}");
    }
    list.fails
}

impl Entry {
    fn is_about(&self, pairing: Pairing, class: Class) -> bool {
        let is_implementation = |end: &End| {
            let role = end.to_string();
            pairing.implementation(*end).name() == self.implementation
                && self.role.as_ref().is_none_or(|of| *of == role)
        };
        self.class == class.name() && End::BOTH.iter().any(is_implementation)
    }
}

/// The classes that passed although the list says that they fail, in too few scripts to be sure.
pub(crate) fn doubtful(pairing: Pairing, tallies: &Tallies) -> Vec<Class> {
    let entries = entries();
    let is_known = |class| entries.iter().any(|entry| entry.is_about(pairing, class));
    tallies
        .iter()
        .filter(|(_, tally)| tally.failed == 0 && tally.passed < ENOUGH)
        .map(|(class, _)| *class)
        .filter(|class| is_known(*class))
        .collect()
}

/// Returns the deviations of a campaign from the list: unlisted classes that fail, and listed classes that pass.
pub fn verdict(pairing: Pairing, tallies: &Tallies) -> Vec<String> {
    let entries = entries();
    let known = |class| entries.iter().find(|entry| entry.is_about(pairing, class));
    let mut wrong = Vec::new();
    for (class, tally) in tallies {
        match (&tally.first, known(*class)) {
            (Some(failure), None) => wrong.push(format!(
                "{} of {} scripts of the class {class} failed; the first:\n{failure}",
                tally.failed,
                tally.failed + tally.passed
            )),
            (None, Some(entry)) if tally.passed >= ENOUGH => wrong.push(format!(
                "{pairing} now passes the class {class}: remove its line from known-failures.toml ({}: {})",
                entry.lesson, entry.reason
            )),
            _ => {}
        }
    }
    wrong
}
