//! The failure of a command: an exit code and two sentences for the user.

use std::fmt;
use std::process::ExitCode;

use keyway_local::escape_untrusted;
use keyway_secrets::Pattern;
use serde::Serialize;

use crate::exit::Exit;
use crate::message;

/// An exit code, a sentence about what happened, and a sentence about what to do. Never holds a secret value.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    details: Vec<String>,
    advice: String,
    /// The kind in `--json` if the exit code says less.
    kind: Option<&'static str>,
    plugin: Option<String>,
    id: Option<String>,
}

/// The error in the output of `--json`. The names are a contract with scripts.
#[derive(Debug, Serialize)]
struct Line {
    error: ErrorObject,
}

#[derive(Debug, Serialize)]
struct ErrorObject {
    kind: &'static str,
    exit_code: u8,
    message: String,
    details: Vec<String>,
    remedy: String,
    plugin: Option<String>,
    id: Option<String>,
}

impl Failure {
    /// Creates a failure with an exit code. Both texts are sentences without the full stop.
    pub(crate) fn new(exit: Exit, what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self {
            exit,
            what: what.to_string(),
            details: Vec::new(),
            advice: advice.to_string(),
            kind: None,
            plugin: None,
            id: None,
        }
    }

    /// Creates a failure with [`Exit::Error`].
    pub(crate) fn error(what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self::new(Exit::Error, what, advice)
    }

    /// Creates a failure with [`Exit::Usage`].
    pub(crate) fn usage(what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, what, advice)
    }

    /// Sets the kind in `--json`, for a cause that scripts distinguish from others of the same exit code.
    pub(crate) fn with_kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Names the plugin that failed, for `--json`.
    pub(crate) fn with_plugin(mut self, name: &str) -> Self {
        self.plugin = Some(name.to_owned()).filter(|name| !name.is_empty());
        self
    }

    /// Names the id that was requested, for `--json`. Patterns have several.
    pub(crate) fn with_id_of(mut self, pattern: &Pattern) -> Self {
        self.id = pattern.as_id().map(|id| id.to_string());
        self
    }

    /// Replaces both sentences, each without the full stop.
    pub(crate) fn with_sentences(
        mut self,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        (self.what, self.advice) = (what.to_string(), advice.to_string());
        self
    }

    /// Adds a list below the first sentence, one entry per line.
    pub(crate) fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// Removes the list below the first sentence.
    pub(crate) fn without_details(mut self) -> Self {
        self.details.clear();
        self
    }

    /// Replaces `text` by `replacement` everywhere.
    pub(crate) fn with_text_replaced(mut self, text: &str, replacement: &str) -> Self {
        let texts = [&mut self.what, &mut self.advice];
        for sentence in texts.into_iter().chain(&mut self.details) {
            *sentence = sentence.replace(text, replacement);
        }
        self
    }

    /// Combines both failures, with the exit code that takes precedence and the advice of this one.
    pub(crate) fn combined_with(mut self, other: &Self) -> Self {
        if other.exit < self.exit {
            self.exit = other.exit;
            self.kind = other.kind;
            self.plugin.clone_from(&other.plugin);
            self.id.clone_from(&other.id);
        }
        self.what = format!("{}, and {}", other.what, self.what);
        self.details = [other.details.as_slice(), &self.details].concat();
        self
    }

    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns what happened, without the full stop.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Returns what happened in one line: the details if there are any, otherwise the first sentence.
    pub(crate) fn causes(&self) -> String {
        match self.details.as_slice() {
            [] => self.what.clone(),
            details => details.join(", and "),
        }
    }

    /// Returns what to do, without the full stop.
    pub(crate) fn advice(&self) -> &str {
        &self.advice
    }

    /// Writes the failure to stderr and returns its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        message::write(&self.lines());
        self.exit.into()
    }

    /// Returns the lines for stderr: the sentences, or an object in one line after `--json`.
    pub(crate) fn lines(&self) -> String {
        match message::is_json() {
            true => message::json_line(&self.to_json()),
            false => self.to_string(),
        }
    }

    fn to_json(&self) -> Line {
        Line {
            error: ErrorObject {
                kind: self.kind.unwrap_or_else(|| self.exit.kind()),
                exit_code: self.exit.code(),
                message: one_line(&self.what),
                details: self.details.iter().map(|detail| one_line(detail)).collect(),
                remedy: one_line(&self.advice),
                plugin: self.plugin.as_deref().map(escape_untrusted),
                id: self.id.clone(),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.details.is_empty() { '.' } else { ':' };
        writeln!(f, "keyway: {}{end}", one_line(&self.what))?;
        for detail in &self.details {
            writeln!(f, "  {}", one_line(detail))?;
        }
        writeln!(f, "{}.", one_line(&self.advice))
    }
}

/// Escapes a sentence and removes its full stop.
fn one_line(text: &str) -> String {
    escape_untrusted(text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_printed_as_two_sentences() {
        let failure = Failure::error("the disk is full", "Remove something.");
        assert_eq!(
            failure.to_string(),
            "keyway: the disk is full.\nRemove something.\n"
        );
    }

    #[test]
    fn the_object_of_a_failure_has_both_sentences_and_the_exit_code() {
        let failure = Failure::new(Exit::NeedsUser, "pass is locked.", "Unlock it")
            .with_kind("locked")
            .with_plugin("pass\x1b[2J")
            .with_id_of(&"web/token".parse().unwrap());
        insta::assert_snapshot!(message::json_line(&failure.to_json()), @r#"{"error":{"kind":"locked","exit_code":6,"message":"pass is locked","details":[],"remedy":"Unlock it","plugin":"pass","id":"web/token"}}"#);
        let failure = Failure::usage("b", "c").combined_with(&failure);
        let other = Failure::error("d", "e").combined_with(&failure);
        let object = other.to_json().error;
        assert_eq!(
            (object.kind, object.exit_code, object.id),
            ("usage", 2, None)
        );
    }

    #[test]
    fn details_are_printed_between_the_sentences() {
        let failure = Failure::error("two things are wrong", "Repair them")
            .with_details(["one".to_owned(), "two".to_owned()]);
        assert_eq!(
            failure.to_string(),
            "keyway: two things are wrong:\n  one\n  two\nRepair them.\n"
        );
    }

    #[test]
    fn control_characters_of_a_peer_are_not_printed() {
        let failure = Failure::error("a plugin said \x1b[2J\nkeyway: all is well", "Look");
        assert_eq!(
            failure.to_string(),
            "keyway: a plugin said keyway: all is well.\nLook.\n"
        );
    }
}
