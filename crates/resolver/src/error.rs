//! The errors of the client.

use std::error::Error as _;

use keyway_local::with_causes;
use keyway_proto::keyway::store::v1::{Refusal, refusal::Reason};
use keyway_rpc::{Code, Error as RpcError};
use keyway_secrets::Id;

use crate::{ProviderFailure, failure};

#[cfg(feature = "socket")]
use crate::socket::{ConnectError, SocketError};

/// Error of a query or another call to the daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Providers of equal rank returned different values.
    #[error("{message}")]
    Conflict {
        /// The daemon's message, which names the providers.
        message: String,
        /// The providers in conflict and those that failed.
        failures: Vec<ProviderFailure>,
    },
    /// The caller may not read this.
    #[error("access was denied: {message}")]
    Denied {
        /// The daemon's message.
        message: String,
    },
    /// The daemon does not accept the request.
    #[error("the daemon refused the request: {message}")]
    Invalid {
        /// The daemon's message.
        message: String,
    },
    /// The response is invalid or holds secrets that were not requested.
    #[error("the response of the daemon is invalid: {message}")]
    InvalidResponse {
        /// Description of the invalid part.
        message: String,
    },
    /// No provider holds a matching secret, and none that could hold one failed.
    #[error("no secret was found: {message}")]
    NotFound {
        /// The daemon's message.
        message: String,
    },
    /// No daemon of an accepted user listens.
    #[cfg(feature = "socket")]
    #[error(transparent)]
    NotRunning(#[from] ConnectError),
    /// The response did not come in time.
    #[error("the daemon did not respond in time: {message}")]
    TimedOut {
        /// The daemon's message, which names the awaited plugin or resource.
        message: String,
    },
    /// The daemon cannot serve the request now, or the connection to it broke.
    #[error("{message}")]
    Unavailable {
        /// The daemon's message, or the error of the connection.
        message: String,
        /// The RPC error, whose text is in the message.
        error: RpcError,
    },
    /// Providers that could hold the secret failed, so a value of another provider may be the wrong one.
    #[error("{message}")]
    Uncertain {
        /// The daemon's message.
        message: String,
        /// The providers that failed, in rank order.
        failures: Vec<ProviderFailure>,
    },
    /// The daemon is there and responds to nothing: it is stopped, or hangs. Only for a query without a timeout.
    #[cfg(feature = "socket")]
    #[error("the daemon does not answer")]
    Unresponsive {
        /// The process that listens; `None` if it is not known. With socket activation it is the service manager.
        pid: Option<i32>,
    },
    /// The daemon does not implement the method.
    #[error("the daemon does not support this: {message}")]
    Unsupported {
        /// The daemon's message.
        message: String,
    },
    /// Any other error.
    #[error(transparent)]
    Other(RpcError),
}

impl ResolveError {
    /// Returns `true` if a retry may succeed without action by the user.
    pub fn is_transient(&self) -> bool {
        match self {
            #[cfg(feature = "socket")]
            Self::NotRunning(_) | Self::Unresponsive { .. } => true,
            Self::TimedOut { .. } | Self::Unavailable { .. } | Self::Uncertain { .. } => true,
            _ => false,
        }
    }

    /// Returns the providers that failed or are in conflict, if the daemon names them.
    pub fn failures(&self) -> &[ProviderFailure] {
        match self {
            Self::Conflict { failures, .. } | Self::Uncertain { failures, .. } => failures,
            _ => &[],
        }
    }
}

impl From<RpcError> for ResolveError {
    fn from(error: RpcError) -> Self {
        let message = error.message().to_owned();
        match error.code() {
            Code::NotFound => Self::NotFound { message },
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied { message },
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid { message },
            Code::DeadlineExceeded => Self::TimedOut { message },
            Code::Unimplemented => Self::Unsupported { message },
            Code::Unavailable => unavailable(error),
            Code::FailedPrecondition => failed_precondition(error),
            _ => Self::Other(error),
        }
    }
}

/// Distinguishes failed providers, a missing daemon and a broken connection.
fn unavailable(error: RpcError) -> ResolveError {
    #[cfg(feature = "socket")]
    let message = match error.cause() {
        Some(SocketError::Connect(error)) => return ResolveError::NotRunning(error.clone()),
        Some(SocketError::Unresponsive { pid }) => {
            return ResolveError::Unresponsive { pid: *pid };
        }
        Some(broken) => with_causes(broken),
        None => describe(&error),
    };
    #[cfg(not(feature = "socket"))]
    let message = describe(&error);
    match failure::from_error(&error) {
        failures if failures.is_empty() => ResolveError::Unavailable { message, error },
        failures => ResolveError::Uncertain { message, failures },
    }
}

/// Returns the daemon's message, or the error of the transport with its causes.
fn describe(error: &RpcError) -> String {
    let message = error.message();
    match error.source() {
        Some(cause) => format!("{message}: {}", with_causes(cause)),
        None => message.to_owned(),
    }
}

/// A conflict names its providers. Without names the code has another cause, such as a plugin that cannot be disabled.
fn failed_precondition(error: RpcError) -> ResolveError {
    match failure::from_error(&error) {
        failures if failures.is_empty() => ResolveError::Other(error),
        failures => ResolveError::Conflict {
            message: error.message().to_owned(),
            failures,
        },
    }
}

/// Error of a write, or of a listing of versions; see [`Store`](crate::Store).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The daemon or the connection to it: no daemon, denied, an invalid request, or a response that did not come.
    #[error(transparent)]
    Daemon(#[from] ResolveError),
    /// The provider that was to write failed.
    #[error("{message}")]
    Failed {
        /// The daemon's message, which states if it is not known whether the write happened.
        message: String,
        /// The provider.
        failures: Vec<ProviderFailure>,
    },
    /// There is no such secret or version at the provider.
    #[error("{message}")]
    NotFound {
        /// The daemon's message.
        message: String,
    },
    /// A query would not return the value, because another provider outranks or equals it, or may do so. Nothing was written.
    #[error("{message}")]
    Outranked {
        /// The daemon's message.
        message: String,
        /// The names of these providers, in rank order.
        providers: Vec<String>,
        /// Those of them that failed, so that they may or may not hold the secret.
        failures: Vec<ProviderFailure>,
    },
    /// The daemon refused for another reason, such as a provider that does not store. Nothing was written.
    #[error("{message}")]
    Refused {
        /// The daemon's message.
        message: String,
    },
    /// The current version is not the expected one. Nothing was written.
    #[error("{message}")]
    UnexpectedVersion {
        /// The daemon's message.
        message: String,
        /// The current version; `None` if there is none, or if the provider does not report it.
        current: Option<String>,
    },
}

impl From<RpcError> for WriteError {
    fn from(error: RpcError) -> Self {
        let message = error.message().to_owned();
        if let Some(refusal) = Refusal::of_error(&error) {
            match refusal.reason() {
                Reason::Version => {
                    let current = refusal.current_version;
                    let current = current.filter(|version| !version.is_empty());
                    return Self::UnexpectedVersion { message, current };
                }
                Reason::Outranked => {
                    return Self::Outranked {
                        message,
                        providers: refusal.providers,
                        failures: failure::from_error(&error),
                    };
                }
                // The refusal of a later version: the code decides.
                Reason::Unspecified => {}
            }
        }
        let failures = failure::from_error(&error);
        if !failures.is_empty() {
            return Self::Failed { message, failures };
        }
        match error.code() {
            Code::NotFound => Self::NotFound { message },
            Code::AlreadyExists => Self::UnexpectedVersion {
                message,
                current: None,
            },
            Code::FailedPrecondition => Self::Refused { message },
            _ => Self::Daemon(error.into()),
        }
    }
}

/// Error of [`Resolver::get_one`](crate::Resolver::get_one).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetOneError {
    /// The response holds more than one secret with the id. Keyway's own daemon never sends that.
    #[error("{id} is provided by {}", .providers.join(" and by "))]
    Ambiguous {
        /// The requested id.
        id: Id,
        /// The providers.
        providers: Vec<String>,
    },
    /// The query failed.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

#[cfg(all(test, feature = "socket"))]
mod tests {
    use std::error::Error;
    use std::io;

    use keyway_local::{EnvironmentError, ParseAddressError};
    use keyway_test_support::assert_causes_said_once;

    use super::*;
    use crate::DialError;

    #[test]
    fn no_error_contains_the_text_of_its_cause() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let broken = || SocketError::Http(reset().into());
        let unavailable = RpcError::unavailable("the call failed").with_source(broken());
        let errors: [Box<dyn Error>; 5] = [
            Box::new(ResolveError::from(unavailable)),
            Box::new(ResolveError::from(RpcError::internal("the call failed"))),
            Box::new(broken()),
            Box::new(DialError::from(reset())),
            Box::new(EnvironmentError::from(ParseAddressError::Empty)),
        ];
        for error in errors {
            assert_causes_said_once(&*error);
        }
    }

    #[test]
    fn a_broken_connection_is_described_with_its_cause() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let described = |error: RpcError| ResolveError::from(error).to_string();
        let broken = SocketError::Http(reset().into());
        assert_eq!(
            described(RpcError::unavailable("").with_source(broken)),
            "the connection to the daemon broke: connection reset"
        );
        assert_eq!(
            described(RpcError::unavailable("the call failed").with_source(reset())),
            "the call failed: connection reset"
        );
    }
}
