//! Why a daemon gave no secret.

use keyway_rpc::{Code, Error as RpcError};
use keyway_secrets::Id;

use crate::{ProviderFailure, failure};

#[cfg(feature = "socket")]
use crate::socket::{ConnectError, SocketError};

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Providers of equal rank returned different values.
    #[error("{message}")]
    Conflict {
        /// The daemon's words, which name the providers.
        message: String,
        /// The providers in conflict, and those that failed.
        failures: Vec<ProviderFailure>,
    },
    /// The caller may not read this.
    #[error("access was denied: {message}")]
    Denied {
        /// The daemon's reason.
        message: String,
    },
    /// The daemon does not accept the request.
    #[error("the daemon refused the request: {message}")]
    Invalid {
        /// The daemon's reason.
        message: String,
    },
    /// The response holds what was not asked for, or cannot be read.
    #[error("the response of the daemon is invalid: {message}")]
    InvalidResponse {
        /// What is wrong with it.
        message: String,
    },
    /// Every provider that could hold it was asked, and none does.
    #[error("no secret was found: {message}")]
    NotFound {
        /// The daemon's words.
        message: String,
    },
    /// There is no daemon to ask, or none that may be asked.
    #[cfg(feature = "socket")]
    #[error(transparent)]
    NotRunning(#[from] ConnectError),
    /// The response did not come in time.
    #[error("the daemon did not answer in time: {message}")]
    TimedOut {
        /// What the daemon waited for.
        message: String,
    },
    /// The daemon is reached, and cannot answer now; or the connection to it broke.
    #[error("{message}")]
    Unavailable {
        /// What the daemon says, or how the connection broke.
        message: String,
        /// The failure itself.
        #[source]
        source: RpcError,
    },
    /// Providers that could hold it failed, so any value of another provider may be the wrong one.
    #[error("{message}")]
    Uncertain {
        /// The daemon's words.
        message: String,
        /// The providers that failed, in the order of their rank.
        failures: Vec<ProviderFailure>,
    },
    /// The daemon does not offer what was asked of it.
    #[error("the daemon does not support this: {message}")]
    Unsupported {
        /// The daemon's words.
        message: String,
    },
    /// Any other failure.
    #[error("{0}")]
    Other(#[source] RpcError),
}

impl ResolveError {
    /// Whether another try may succeed without a change by the user.
    pub fn is_transient(&self) -> bool {
        match self {
            #[cfg(feature = "socket")]
            Self::NotRunning(_) => true,
            Self::TimedOut { .. } | Self::Unavailable { .. } | Self::Uncertain { .. } => true,
            _ => false,
        }
    }

    /// The providers that failed or are in conflict, if the daemon names them.
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

/// Tells providers that failed from a daemon that is not there, and from a connection that broke.
fn unavailable(error: RpcError) -> ResolveError {
    #[cfg(feature = "socket")]
    let message = match error.cause() {
        Some(SocketError::Connect(error)) => return ResolveError::NotRunning(error.clone()),
        Some(broken) => broken.to_string(),
        None => error.message().to_owned(),
    };
    #[cfg(not(feature = "socket"))]
    let message = error.message().to_owned();
    match failure::of_error(&error) {
        failures if failures.is_empty() => ResolveError::Unavailable {
            message,
            source: error,
        },
        failures => ResolveError::Uncertain { message, failures },
    }
}

/// A conflict names its providers. Without names it is the state of something else, such as a plugin that cannot be turned
/// off.
fn failed_precondition(error: RpcError) -> ResolveError {
    match failure::of_error(&error) {
        failures if failures.is_empty() => ResolveError::Other(error),
        failures => ResolveError::Conflict {
            message: error.message().to_owned(),
            failures,
        },
    }
}

/// Why [`Resolver::get_one`](crate::Resolver::get_one) gave no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetOneError {
    /// The response holds more than one secret with the id, which only daemons of another make send.
    #[error("{id} is provided by {}", .providers.join(" and by "))]
    Ambiguous {
        /// The id asked for.
        id: Id,
        /// The providers.
        providers: Vec<String>,
    },
    /// There is no result.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}
