//! Status codes, and their two (different) relations to HTTP statuses.

use std::fmt;
use std::str::FromStr;

use http::StatusCode;

/// The code of a failed call: the sixteen codes that Connect shares with gRPC.
///
/// The numbers are those of gRPC ([`Code::number`]); the wire of Connect uses the names
/// ([`Code::as_str`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "the protocol fixes the sixteen codes"
)]
#[repr(u8)]
pub enum Code {
    /// The caller cancelled the call.
    Canceled = 1,
    /// An error that fits no other code, or that carried none.
    Unknown = 2,
    /// The request is wrong, whatever the state of the system.
    InvalidArgument = 3,
    /// The deadline passed before the call ended.
    DeadlineExceeded = 4,
    /// The requested entity does not exist.
    NotFound = 5,
    /// The entity to create exists already.
    AlreadyExists = 6,
    /// The caller is known and may not do this.
    PermissionDenied = 7,
    /// A quota, a limit or the space is exhausted.
    ResourceExhausted = 8,
    /// The system is not in the state that the call needs; retrying does not help until it is.
    FailedPrecondition = 9,
    /// The call was aborted because of a concurrent one.
    Aborted = 10,
    /// The call went past a valid range.
    OutOfRange = 11,
    /// The method does not exist or is not offered.
    Unimplemented = 12,
    /// An invariant of the system is broken.
    Internal = 13,
    /// The service cannot be reached now; a retry may help.
    Unavailable = 14,
    /// Data was lost for good.
    DataLoss = 15,
    /// The caller has no valid credentials.
    Unauthenticated = 16,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Canceled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Returns the name on the wire, for example `not_found`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canceled => "canceled",
            Self::Unknown => "unknown",
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out_of_range",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data_loss",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    /// Returns the number of the code in gRPC, 1 to 16.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the code with this gRPC number; `None` for 0 (ok) and for numbers above 16.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Returns the HTTP status of an error with this code.
    ///
    /// Connect protocol, "Error Codes".
    #[must_use]
    pub fn http_status(self) -> StatusCode {
        let status = match self {
            Self::Canceled => 499,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::DeadlineExceeded => 504,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::PermissionDenied => 403,
            Self::ResourceExhausted => 429,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::Unauthenticated => 401,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
        };
        StatusCode::from_u16(status).expect("every status of the table is between 100 and 999")
    }

    /// Returns the code that a client infers from an HTTP status if the response carries no usable
    /// error object.
    ///
    /// This is *not* the inverse of [`Code::http_status`]: a 404 without an error object means
    /// that no such route exists (`unimplemented`), not that a thing was not found. Connect
    /// protocol, "HTTP to Error Code".
    #[must_use]
    pub fn from_http_status(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a [`Code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an RPC code")]
#[non_exhaustive]
pub struct ParseCodeError;

impl FromStr for Code {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        Self::ALL
            .into_iter()
            .find(|code| code.as_str() == text)
            .ok_or(ParseCodeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_round_trip() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
            assert_eq!(code.as_str().parse(), Ok(code));
            assert_eq!(code.to_string(), code.as_str());
        }
        assert_eq!(Code::from_number(0), None);
        assert_eq!(Code::from_number(17), None);
        assert_eq!("CANCELED".parse::<Code>(), Err(ParseCodeError));
        assert_eq!("code_17".parse::<Code>(), Err(ParseCodeError));
    }

    #[test]
    fn statuses_outside_the_table_are_unknown() {
        for status in [
            200, 204, 302, 409, 412, 413, 415, 418, 431, 500, 505, 800, 999,
        ] {
            let status = StatusCode::from_u16(status).expect("between 100 and 999");
            assert_eq!(Code::from_http_status(status), Code::Unknown, "{status}");
        }
    }
}
