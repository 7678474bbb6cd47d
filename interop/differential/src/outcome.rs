//! The observation of an application of one operation.

use std::fmt;

use serde::Deserialize;

/// The outcome of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its kind.
    pub saw: Saw,
    /// The bytes of a read before it.
    pub bytes: u64,
    /// Human-readable error text of the implementation; not compared.
    pub text: String,
}

/// The kinds of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Saw {
    /// Success.
    Done,
    /// A read met the end of the stream.
    End,
    /// The stream was reset, or refused after it was opened.
    Reset,
    /// No stream could be opened because the other end accepts none.
    Refused,
    /// The session has ended.
    Lost,
    /// A read met an end, which may be that of the session.
    EndOrLost,
    /// Expected only: the session's end, a reset or a refusal, whichever is observed first.
    Cut,
    /// The write side was closed by this end before.
    Closed,
    /// Other bytes than were sent; `bytes` is the position.
    Wrong,
    /// The implementation has no such operation.
    Unsupported,
    /// Another error.
    Other,
    /// The stream was never opened or accepted.
    Unknown,
    /// Nothing happened within the time limit.
    Stuck,
}

impl Outcome {
    /// An outcome without bytes.
    pub fn of(saw: Saw) -> Self {
        Self::after(0, saw)
    }

    /// An outcome after so many bytes.
    pub fn after(bytes: u64, saw: Saw) -> Self {
        Self {
            saw,
            bytes,
            text: String::new(),
        }
    }

    /// The same with the error text of the implementation.
    #[must_use]
    pub fn with_text(mut self, text: impl fmt::Display) -> Self {
        self.text = text.to_string();
        self
    }

    /// The same with an error and its causes.
    #[must_use]
    pub fn because(self, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.with_text(text)
    }

    /// Returns `true` if this is what a model expects. The rules of the comparison:
    ///
    /// - How many bytes a read took before an end or an error counts, and the bytes themselves.
    /// - When a session ends while a stream is open or about to be, its users may see a reset, a
    ///   refusal or the session's end ([`Saw::Cut`]).
    /// - A refusal may show when the stream is opened, or later as a reset.
    /// - HashiCorp's library shows the end of a session as an end of each stream. It reports
    ///   [`Saw::EndOrLost`] then, which equals both.
    pub fn meets(&self, expected: &Self) -> bool {
        let is_met = match expected.saw {
            Saw::Cut => matches!(
                self.saw,
                Saw::Reset | Saw::Refused | Saw::Lost | Saw::EndOrLost
            ),
            Saw::Refused => matches!(self.saw, Saw::Refused | Saw::Reset),
            Saw::Lost | Saw::End => self.saw == expected.saw || self.saw == Saw::EndOrLost,
            other => self.saw == other,
        };
        is_met && self.bytes == expected.bytes
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.saw {
            Saw::Done => "done",
            Saw::End => "the end of the stream",
            Saw::Reset => "a reset",
            Saw::Refused => "a refusal",
            Saw::Lost => "the session's end",
            Saw::EndOrLost => "an end, of the stream or of the session",
            Saw::Cut => "a reset or the session's end",
            Saw::Closed => "its own close",
            Saw::Wrong => "WRONG BYTES",
            Saw::Unsupported => "an unsupported operation",
            Saw::Other => "another error",
            Saw::Unknown => "an unknown stream",
            Saw::Stuck => "NOTHING WITHIN THE TIME LIMIT",
        };
        match (self.saw, self.bytes) {
            (Saw::Done, 0) => write!(f, "done"),
            (Saw::Done, bytes) => write!(f, "{bytes} bytes"),
            (Saw::Wrong, position) => write!(f, "{what} at position {position}"),
            (_, bytes) => write!(f, "{what} after {bytes} bytes"),
        }?;
        match self.text.as_str() {
            "" => Ok(()),
            text => write!(f, " ({text})"),
        }
    }
}
