//! The failure of a command: an exit code and two sentences for the user.

use std::fmt;
use std::process::ExitCode;

use keyway_local::escape_untrusted;

use crate::exit::Exit;
use crate::stdio;

/// An exit code, a sentence about what happened, and a sentence about what to do. Never holds a secret value.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    details: Vec<String>,
    advice: String,
}

impl Failure {
    /// Creates a failure with an exit code. Both texts are sentences without the full stop.
    pub(crate) fn new(exit: Exit, what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self {
            exit,
            what: what.to_string(),
            details: Vec::new(),
            advice: advice.to_string(),
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

    /// Adds a list below the first sentence, one entry per line.
    pub(crate) fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
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
        self.exit = self.exit.min(other.exit);
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
        // With stderr closed the exit code alone reports the failure.
        let _ = stdio::write_stderr(self.to_string().as_bytes());
        self.exit.into()
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
