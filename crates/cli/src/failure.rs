//! What a command ends with when it does not succeed.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::exit::Exit;
use crate::printable::printable;

/// An exit code, a sentence of what happened, and a sentence of what to do. Never a secret value.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    details: Vec<String>,
    advice: String,
}

impl Failure {
    /// A failure that ends the program with `exit`. Both texts are sentences without the full stop.
    pub(crate) fn new(exit: Exit, what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self {
            exit,
            what: what.to_string(),
            details: Vec::new(),
            advice: advice.to_string(),
        }
    }

    /// A failure without an exit code of its own.
    pub(crate) fn error(what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self::new(Exit::Error, what, advice)
    }

    /// A wrong command line.
    pub(crate) fn usage(what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, what, advice)
    }

    /// With a list below the first sentence, one entry a line.
    pub(crate) fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// With `shown` in every place where `text` stood.
    pub(crate) fn with_text_replaced(mut self, text: &str, shown: &str) -> Self {
        let texts = [&mut self.what, &mut self.advice];
        for sentence in texts.into_iter().chain(&mut self.details) {
            *sentence = sentence.replace(text, shown);
        }
        self
    }

    /// Both failures in one, with the exit code that applies first and the advice of this one.
    pub(crate) fn beside(mut self, other: &Self) -> Self {
        self.exit = self.exit.min(other.exit);
        self.what = format!("{}, and {}", other.what, self.what);
        self.details = [other.details.as_slice(), &self.details].concat();
        self
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What happened, without the full stop.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// What happened, in one line: the list below the first sentence if there is one.
    pub(crate) fn causes(&self) -> String {
        match self.details.as_slice() {
            [] => self.what.clone(),
            details => details.join(", and "),
        }
    }

    /// What to do, without the full stop.
    pub(crate) fn advice(&self) -> &str {
        &self.advice
    }

    /// Writes the failure to stderr and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // Where stderr is closed there is nobody left to tell; the exit code still says it.
        let _ = io::stderr().write_all(self.to_string().as_bytes());
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

/// A sentence without its full stop.
fn one_line(text: &str) -> String {
    printable(text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_two_sentences() {
        let failure = Failure::error("the disk is full", "Remove something.");
        assert_eq!(
            failure.to_string(),
            "keyway: the disk is full.\nRemove something.\n"
        );
    }

    #[test]
    fn details_stand_between_the_sentences() {
        let failure = Failure::error("two things are wrong", "Repair them")
            .with_details(["one".to_owned(), "two".to_owned()]);
        assert_eq!(
            failure.to_string(),
            "keyway: two things are wrong:\n  one\n  two\nRepair them.\n"
        );
    }

    #[test]
    fn what_a_peer_said_cannot_drive_the_terminal() {
        let failure = Failure::error("a plugin said \x1b[2J\nkeyway: all is well", "Look");
        assert_eq!(
            failure.to_string(),
            "keyway: a plugin said keyway: all is well.\nLook.\n"
        );
    }
}
