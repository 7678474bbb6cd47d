//! Expected and observed outcomes, operation by operation.

use std::fmt;

use crate::outcome::{Outcome, Saw};

/// One operation in a transcript.
#[derive(Clone, Debug)]
pub struct Line {
    /// The operation.
    pub what: String,
    /// Its stream.
    pub stream: Option<usize>,
    /// The outcome of the model.
    pub expected: Outcome,
    /// The observation of the application.
    pub seen: Outcome,
}

/// The observations of both applications of a script, beside the expected ones.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The operations in the order of the script, then how the session ended.
    pub lines: Vec<Line>,
}

impl Transcript {
    /// The first line that deviates. A stuck operation may only wait for another one, so an operation with a wrong
    /// outcome comes before it.
    pub fn parting(&self) -> Option<usize> {
        let parts = |line: &Line| !line.seen.meets(&line.expected);
        let is_wrong = |line: &Line| parts(line) && line.seen.saw != Saw::Stuck;
        let wrong = self.lines.iter().position(is_wrong);
        wrong.or_else(|| self.lines.iter().position(parts))
    }

    /// The first deviation, in a form that does not depend on the other operations.
    pub fn symptom(&self) -> Option<(&str, Saw)> {
        let line = &self.lines[self.parting()?];
        Some((&line.what, line.seen.saw))
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parting = self.parting();
        for (number, line) in self.lines.iter().enumerate() {
            let mark = if Some(number) == parting { "->" } else { "  " };
            writeln!(f, "{mark} {number:2} {}: saw {}", line.what, line.seen)?;
            if !line.seen.meets(&line.expected) {
                writeln!(f, "      expected {}", line.expected)?;
            }
        }
        Ok(())
    }
}
