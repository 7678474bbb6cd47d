//! The syntax of HTTP/1.1 (RFC 9112): heads, the framing of bodies, chunks. No I/O happens here.
//!
//! Each rule exists once, for both directions. A message that two implementations could read in two ways is refused.

pub(crate) mod chunked;
mod fields;
pub(crate) mod framing;
pub(crate) mod head;

pub use self::fields::has_token;
pub(crate) use self::framing::Framing;

/// The limits of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

impl Limits {
    /// The limits of responses. Servers must stay below them: a client cannot read the error in a longer head.
    pub(crate) const RESPONSE: Self = Self {
        bytes: 64 * 1024,
        fields: MAX_FIELDS,
    };
}

/// The most fields of any head.
pub(crate) const MAX_FIELDS: usize = 100;

/// Error of bytes that are not a message of HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SyntaxError {
    /// They break a rule.
    #[error("{0}")]
    Malformed(&'static str),
    /// A head has more bytes or fields than [`Limits`] allow.
    #[error("{0}")]
    TooLarge(&'static str),
    /// The version is neither 1.0 nor 1.1.
    #[error("the version is neither 1.0 nor 1.1")]
    Version,
}

impl SyntaxError {
    /// Returns a description of the fault.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed(reason) | Self::TooLarge(reason) => reason,
            Self::Version => "the version is neither 1.0 nor 1.1",
        }
    }
}
