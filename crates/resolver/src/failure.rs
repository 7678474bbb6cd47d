//! The failed providers of a query, decoded from a response or an error of the daemon.

use std::time::Duration;

use http::HeaderMap;
use keyway_proto::keyway::v1 as wire;
use keyway_proto::limits::MAX_RETRY_AFTER;
use keyway_proto::{FAILED_PROVIDERS_HEADER, FAILURES_HEADER};
use keyway_rpc::{BinaryMetadata as _, Error};
use percent_encoding::percent_decode_str;
use prost::Message as _;

/// A provider that failed a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderFailure {
    /// Name of the plugin. Empty in the last entry if more providers failed than are listed; its message then has the number.
    pub name: String,
    /// The kind of the failure.
    pub kind: FailureKind,
    /// The failure in words for the user; empty if the daemon sent none. It may hold control characters.
    pub message: String,
    /// An action for the user, in the provider's words; may be empty. It may hold control characters.
    pub remedy: String,
    /// The delay before a retry can succeed, at most 1 h.
    pub retry_after: Option<Duration>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident,)*) => {
        /// The kind of a provider's failure.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FailureKind {
            $($(#[doc = $doc])* $kind,)*
            /// The daemon gives no kind, or one that this crate does not know.
            #[default]
            Unknown,
        }

        impl From<wire::FailureKind> for FailureKind {
            fn from(kind: wire::FailureKind) -> Self {
                match kind {
                    $(wire::FailureKind::$kind => Self::$kind,)*
                    wire::FailureKind::Unspecified => Self::Unknown,
                }
            }
        }

        impl FailureKind {
            /// Returns the name on the wire without its prefix, such as `LOCKED`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => wire::FailureKind::$kind.name(),)*
                    Self::Unknown => wire::FailureKind::Unspecified.name(),
                }
            }
        }
    };
}

kinds! {
    /// The plugin has as many calls in flight as its concurrency limit.
    Busy,
    /// The provider can return single ids only.
    CannotList,
    /// Providers of equal rank returned different values.
    Conflict,
    /// The store does not give this secret to this user.
    Denied,
    /// The plugin is not running.
    Down,
    /// The provider is misconfigured.
    Fatal,
    /// The provider failed for any other reason.
    Internal,
    /// The store cannot hold such an id.
    Invalid,
    /// The store is locked.
    Locked,
    /// The provider needs to prompt the user, and prompts were forbidden.
    NeedsUser,
    /// The store's quota is exhausted.
    Quota,
    /// The plugin's executable is not allowed to run.
    Refused,
    /// The plugin is starting.
    Starting,
    /// The store or the provider took too long.
    TimedOut,
    /// The provider is not logged in at its store.
    Unauthenticated,
    /// The store cannot be reached.
    Unavailable,
}

impl From<wire::ProviderFailure> for ProviderFailure {
    fn from(failure: wire::ProviderFailure) -> Self {
        let retry_after = failure
            .retry_after
            .and_then(|time| Duration::try_from(time).ok());
        Self {
            kind: failure.kind().into(),
            retry_after: retry_after.map(|time| time.min(MAX_RETRY_AFTER)),
            name: failure.name.unwrap_or_default(),
            message: failure.message.unwrap_or_default(),
            remedy: failure.remedy.unwrap_or_default(),
        }
    }
}

/// Decodes the failures of an error.
pub(crate) fn from_error(error: &Error) -> Vec<ProviderFailure> {
    let headers = error.received_metadata();
    match error.detail::<wire::Failures>() {
        Ok(Some(failures)) => with_names(failures, headers),
        // A detail that does not decode is that of another version.
        Ok(None) | Err(_) => from_headers(headers),
    }
}

/// Decodes the failures of a partial result.
pub(crate) fn from_headers(headers: &HeaderMap) -> Vec<ProviderFailure> {
    let binary = headers.get_binary(FAILURES_HEADER).unwrap_or_default();
    let failures = binary
        .first()
        .and_then(|bytes| wire::Failures::decode(bytes.as_ref()).ok());
    with_names(failures.unwrap_or_default(), headers)
}

/// Adds the providers that only the header of names has: of daemons that describe no failure, and of long lists. A failure
/// that cannot be decoded must not make a result look complete.
fn with_names(failures: wire::Failures, headers: &HeaderMap) -> Vec<ProviderFailure> {
    let mut failures: Vec<ProviderFailure> =
        failures.providers.into_iter().map(Into::into).collect();
    for name in names(headers) {
        if !failures.iter().any(|failure| failure.name == name) {
            failures.push(ProviderFailure {
                name,
                ..ProviderFailure::default()
            });
        }
    }
    failures
}

/// Returns the percent-decoded names of failed providers, in the daemon's order.
fn names(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let lines = headers.get_all(FAILED_PROVIDERS_HEADER).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned())
        .filter(|name| !name.is_empty())
        .map(|name| percent_decode_str(&name).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(name: &str, kind: wire::FailureKind) -> wire::ProviderFailure {
        wire::ProviderFailure {
            name: Some(name.to_owned()),
            kind: Some(kind.into()),
            ..wire::ProviderFailure::default()
        }
    }

    fn names_of(failures: &[ProviderFailure]) -> Vec<&str> {
        failures
            .iter()
            .map(|failure| failure.name.as_str())
            .collect()
    }

    #[test]
    fn names_are_split_and_percent_decoded() {
        let mut headers = HeaderMap::new();
        assert!(from_headers(&headers).is_empty());
        headers.append(FAILED_PROVIDERS_HEADER, "a, b,,".parse().unwrap());
        headers.append(FAILED_PROVIDERS_HEADER, "c%2Cd%20%C3%A4".parse().unwrap());
        let failures = from_headers(&headers);
        assert_eq!(names_of(&failures), ["a", "b", "c,d ä"]);
        assert_eq!(failures[0].kind, FailureKind::Unknown);
    }

    #[test]
    fn names_of_the_header_complete_the_detail() {
        let failures = wire::Failures {
            providers: vec![failure("vault", wire::FailureKind::Locked)],
        };
        let mut headers = HeaderMap::new();
        headers.insert(FAILED_PROVIDERS_HEADER, "vault,later".parse().unwrap());
        let failures = with_names(failures, &headers);
        assert_eq!(names_of(&failures), ["vault", "later"]);
        assert_eq!(failures[0].kind, FailureKind::Locked);
    }

    #[test]
    fn an_invalid_failures_header_leaves_the_names() {
        let mut headers = HeaderMap::new();
        headers.insert(FAILURES_HEADER, "!!".parse().unwrap());
        headers.insert(FAILED_PROVIDERS_HEADER, "vault".parse().unwrap());
        assert_eq!(names_of(&from_headers(&headers)), ["vault"]);
    }

    #[test]
    fn unknown_kinds_and_invalid_durations_are_dropped() {
        let failure = wire::ProviderFailure {
            kind: Some(99),
            retry_after: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            ..wire::ProviderFailure::default()
        };
        let failure = ProviderFailure::from(failure);
        assert_eq!(failure, ProviderFailure::default());
        let long = wire::ProviderFailure {
            retry_after: Some(prost_types::Duration {
                seconds: i64::MAX,
                nanos: 0,
            }),
            ..wire::ProviderFailure::default()
        };
        assert_eq!(
            ProviderFailure::from(long).retry_after,
            Some(MAX_RETRY_AFTER)
        );
    }

    #[test]
    fn each_kind_has_the_name_of_the_wire() {
        for number in 0..=20 {
            let Ok(kind) = wire::FailureKind::try_from(number) else {
                continue;
            };
            assert_eq!(FailureKind::from(kind).name(), kind.name());
        }
    }
}
