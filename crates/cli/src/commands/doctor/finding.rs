//! The result of one check.

use std::fmt;

use keyway_local::escape_untrusted;
use serde::Serialize;

use crate::failure::Failure;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// Nothing was found.
    Ok,
    /// Works, and may not be what the user wants.
    Note,
    /// Does not work.
    Wrong,
}

/// What a check found. `Display` is a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    level: Level,
    /// What was found, without a full stop; empty if that is nothing.
    what: String,
    /// What to do, without a full stop; empty if that is nothing.
    advice: String,
}

impl Finding {
    /// The check `check` found nothing.
    pub(super) fn ok(check: &'static str) -> Self {
        Self {
            check,
            level: Level::Ok,
            what: String::new(),
            advice: String::new(),
        }
    }

    /// Something does not work. Both texts are sentences without the full stop.
    pub(super) fn wrong(
        check: &'static str,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        Self {
            level: Level::Wrong,
            what: what.to_string(),
            advice: advice.to_string(),
            ..Self::ok(check)
        }
    }

    /// Something works, and may not be what the user wants.
    pub(super) fn note(
        check: &'static str,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        Self {
            level: Level::Note,
            ..Self::wrong(check, what, advice)
        }
    }

    /// A command would fail like this.
    pub(super) fn failure(check: &'static str, failure: &Failure) -> Self {
        let details = failure.causes();
        let what = match failure.what() {
            what if what == details => details,
            what => format!("{what}: {details}"),
        };
        Self::wrong(check, what, failure.advice().trim_end_matches('.'))
    }

    /// Returns how serious it is.
    pub(super) fn level(&self) -> Level {
        self.level
    }
}

/// The findings of a check, or that there are none.
pub(super) fn or_ok(check: &'static str, found: Vec<Finding>) -> Vec<Finding> {
    match found.is_empty() {
        true => vec![Finding::ok(check)],
        false => found,
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => return writeln!(f, "ok     {}", self.check),
            Level::Note => "note",
            Level::Wrong => "wrong",
        };
        let what = escape_untrusted(&self.what);
        let advice = escape_untrusted(&self.advice);
        writeln!(f, "{level:<7}{}: {what}. {advice}.", self.check)
    }
}
