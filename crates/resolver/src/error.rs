//! Why a daemon gave no secret.

use keyway_rpc::{Code, Error as RpcError};
use keyway_secrets::Id;

#[cfg(feature = "socket")]
use crate::socket::{ConnectError, SocketError};

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The caller may not read this.
    #[error("access was denied: {message}")]
    Denied {
        /// The daemon's reason.
        message: String,
    },
    /// The daemon does not accept the question.
    #[error("the daemon refused the request: {message}")]
    Invalid {
        /// The daemon's reason.
        message: String,
    },
    /// The daemon does not offer what was asked of it.
    #[error("the daemon does not support this: {message}")]
    Unsupported {
        /// What it says.
        message: String,
    },
    /// Every provider that could know was asked, and none has it.
    #[error("no secret was found: {message}")]
    NotFound {
        /// The daemon's words.
        message: String,
    },
    /// There is no daemon to ask, or none that may be asked.
    #[cfg(feature = "socket")]
    #[error(transparent)]
    NotRunning(#[from] ConnectError),
    /// The answer did not come in time.
    #[error("the daemon did not answer in time: {message}")]
    TimedOut {
        /// Who was waited for.
        message: String,
    },
    /// The daemon is there, but it or a provider cannot answer now.
    #[error("{message}")]
    Unavailable {
        /// What the daemon says, or how the connection broke.
        message: String,
        /// The providers that failed, where the daemon names them.
        failed_providers: Vec<String>,
        /// The failure itself.
        #[source]
        source: RpcError,
    },
    /// Any other failure.
    #[error("{0}")]
    Other(#[source] RpcError),
}

impl ResolveError {
    /// Whether another try may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            #[cfg(feature = "socket")]
            Self::NotRunning(_) => true,
            Self::TimedOut { .. } | Self::Unavailable { .. } => true,
            _ => false,
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
            _ => Self::Other(error),
        }
    }
}

/// Tells a daemon that is not there from one whose connection broke, and both from one that has a provider which is
/// not there.
fn unavailable(error: RpcError) -> ResolveError {
    #[cfg(feature = "socket")]
    let message = match error.cause() {
        Some(SocketError::Connect(error)) => return ResolveError::NotRunning(error.clone()),
        Some(broken) => broken.to_string(),
        None => error.message().to_owned(),
    };
    #[cfg(not(feature = "socket"))]
    let message = error.message().to_owned();
    ResolveError::Unavailable {
        message,
        failed_providers: crate::client::failed_providers(error.metadata()),
        source: error,
    }
}

/// Why [`Resolver::get_one`](crate::Resolver::get_one) gave no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetOneError {
    /// More than one provider has the id, and none has priority.
    #[error("{id} is provided by {}", .providers.join(" and by "))]
    Ambiguous {
        /// The id asked for.
        id: Id,
        /// Who has it.
        providers: Vec<String>,
    },
    /// No answer.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}
