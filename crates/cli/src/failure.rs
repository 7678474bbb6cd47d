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
pub(crate) struct Failure(Box<Content>);

#[derive(Clone, Debug)]
struct Content {
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
        Self(Box::new(Content {
            exit,
            what: what.to_string(),
            details: Vec::new(),
            advice: advice.to_string(),
            kind: None,
            plugin: None,
            id: None,
        }))
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
        self.0.kind = Some(kind);
        self
    }

    /// Names the plugin that failed, for `--json`.
    pub(crate) fn with_plugin(mut self, name: &str) -> Self {
        self.0.plugin = Some(name.to_owned()).filter(|name| !name.is_empty());
        self
    }

    /// Names the id that was requested, for `--json`. Patterns have several.
    pub(crate) fn with_id_of(mut self, pattern: &Pattern) -> Self {
        self.0.id = pattern.as_id().map(|id| id.to_string());
        self
    }

    /// Replaces both sentences, each without the full stop.
    pub(crate) fn with_sentences(
        mut self,
        what: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        (self.0.what, self.0.advice) = (what.to_string(), advice.to_string());
        self
    }

    /// Adds a list below the first sentence, one entry per line.
    pub(crate) fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.0.details.extend(details);
        self
    }

    /// Removes the id, if the failure is about several.
    pub(crate) fn without_id(mut self) -> Self {
        self.0.id = None;
        self
    }

    /// Removes the list below the first sentence.
    pub(crate) fn without_details(mut self) -> Self {
        self.0.details.clear();
        self
    }

    /// Replaces `text` by `replacement` everywhere.
    pub(crate) fn with_text_replaced(mut self, text: &str, replacement: &str) -> Self {
        let texts = [&mut self.0.what, &mut self.0.advice];
        for sentence in texts.into_iter().chain(&mut self.0.details) {
            *sentence = sentence.replace(text, replacement);
        }
        self
    }

    /// Combines both failures, with the exit code that takes precedence and the advice of this one.
    pub(crate) fn combined_with(mut self, other: &Self) -> Self {
        if other.0.exit < self.0.exit {
            self.0.exit = other.0.exit;
            self.0.kind = other.0.kind;
            self.0.plugin.clone_from(&other.0.plugin);
            self.0.id.clone_from(&other.0.id);
        }
        self.0.what = format!("{}, and {}", other.0.what, self.0.what);
        self.0.details = [other.0.details.as_slice(), &self.0.details].concat();
        self
    }

    /// Returns the exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// Returns the id that was requested, if it was one.
    pub(crate) fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// Returns what happened, without the full stop.
    pub(crate) fn what(&self) -> &str {
        &self.0.what
    }

    /// Returns what happened in one line: the details if there are any, otherwise the first sentence.
    pub(crate) fn causes(&self) -> String {
        match self.0.details.as_slice() {
            [] => self.0.what.clone(),
            details => details.join(", and "),
        }
    }

    /// Returns what to do, without the full stop.
    pub(crate) fn advice(&self) -> &str {
        &self.0.advice
    }

    /// Writes the failure to stderr and returns its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        message::write(&self.lines());
        self.0.exit.into()
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
                kind: self.0.kind.unwrap_or_else(|| self.0.exit.kind()),
                exit_code: self.0.exit.code(),
                message: one_line(&self.0.what),
                details: self
                    .0
                    .details
                    .iter()
                    .map(|detail| one_line(detail))
                    .collect(),
                remedy: one_line(&self.0.advice),
                plugin: self.0.plugin.as_deref().map(escape_untrusted),
                id: self.0.id.clone(),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.0.details.is_empty() { '.' } else { ':' };
        writeln!(f, "keyway: {}{end}", one_line(&self.0.what))?;
        for detail in &self.0.details {
            writeln!(f, "  {}", one_line(detail))?;
        }
        writeln!(f, "{}.", one_line(&self.0.advice))
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
