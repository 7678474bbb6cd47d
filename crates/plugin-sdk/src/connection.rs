//! One plugin connection over any byte stream: registration, serving, draining.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use keyway_http::{Exchange, Limits, serve};
use keyway_local::with_causes;
use keyway_mux::{Connector, Listener, Session, SessionError};
use keyway_proto::plugins::v1::{RegisterPluginResponse, RegisterServiceClient};
use keyway_proto::registration::InvalidRegistration;
use keyway_rpc::{Code, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Admission, AdmissionControl};
use crate::daemon::Daemon;
use crate::registration::RegistrationRequest;
use crate::service::{self, PluginRouter, Role, ShutdownRequested};

/// Timeout of the registration on a connection that the plugin opened.
pub(crate) const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a call if the daemon gives none.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of requests in flight when the connection ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason why a connection ended after a successful registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The daemon called `Shutdown`.
    ShutdownRequested,
    /// The daemon closed the connection, or the connection broke.
    Disconnected,
    /// This process received a signal to stop.
    Signalled,
}

/// Error of registering a plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The daemon's response is missing or invalid.
    #[error("the registration of `{name}` failed")]
    Failed {
        /// Name of the plugin.
        name: String,
        /// The code of the call.
        code: Code,
        /// The error of the call.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The registration is invalid and was not sent.
    #[error("the plugin cannot register")]
    Invalid(#[from] InvalidRegistration),
    /// The connection ended before the daemon responded.
    #[error("the daemon closed the connection before `{name}` was registered")]
    Lost {
        /// Name of the plugin.
        name: String,
        /// The cause, unless the connection was closed cleanly.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The daemon refused the registration.
    #[error(
        "the daemon refused to register `{name}`: {} ({code})",
        format_reason(message)
    )]
    Refused {
        /// Name of the plugin.
        name: String,
        /// The code of the response.
        code: Code,
        /// The daemon's message; may be empty.
        message: String,
    },
    /// The daemon did not respond in time.
    #[error("the daemon did not respond to the registration of `{name}` within {:.1} s", waited.as_secs_f64())]
    TimedOut {
        /// Name of the plugin.
        name: String,
        /// The timeout that passed.
        waited: Duration,
    },
}

fn format_reason(message: &str) -> &str {
    if message.is_empty() {
        "no reason given"
    } else {
        message
    }
}

impl RegisterError {
    /// Returns `true` if a later attempt may succeed: the daemon was stopping, or has not yet noticed that an earlier
    /// connection of this plugin is closed.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::TimedOut { .. } => true,
            Self::Invalid(_) => false,
            Self::Failed { code, .. } => *code == Code::Unavailable,
            Self::Refused { code, .. } => matches!(code, Code::AlreadyExists | Code::Unavailable),
        }
    }
}

/// Serves a role on a byte stream: registers it, serves until the connection ends or `stop` resolves, and drains.
pub(crate) async fn run<T>(
    io: T,
    role: &dyn Role,
    registration: &RegistrationRequest,
    daemon: &Daemon,
    stop: impl Future<Output = ()>,
) -> Result<Ended, RegisterError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut stop = std::pin::pin!(stop);
    let connection = Connection::start(io, role, registration);
    let registered = tokio::select! {
        biased;
        () = &mut stop => Ok(Some(Ended::Signalled)),
        ended = connection.session.closed() => Err(RegisterError::Lost {
            name: registration.name.clone(),
            source: ended.err().map(Into::into),
        }),
        // Before the shutdown branch: if both have arrived, calls that came between them wait for admission.
        response = connection.register(registration) => response.map(|()| None),
        () = connection.shutdown.requested() => Ok(Some(Ended::ShutdownRequested)),
    };
    let ended = match registered {
        Ok(None) => Ok(tokio::select! {
            () = &mut stop => Ended::Signalled,
            () = connection.shutdown.requested() => Ended::ShutdownRequested,
            ended = connection.session.closed() => {
                log_disconnect(ended.err());
                Ended::Disconnected
            }
            never = connection.report(daemon) => match never {},
        }),
        Ok(Some(ended)) => Ok(ended),
        Err(error) => Err(error),
    };
    connection.finish().await;
    ended
}

/// Logs the end of a session: a clean close at DEBUG; a loss with requests in flight, a violation of the protocol or a
/// silent peer at WARN.
fn log_disconnect(error: Option<SessionError>) {
    match error {
        None => tracing::debug!("daemon connection closed"),
        Some(SessionError::ConnectionLost { .. }) => {
            tracing::warn!("daemon connection lost with requests in flight");
        }
        Some(error) => tracing::warn!(error = %with_causes(&error), "daemon connection failed"),
    }
}

/// A running connection. Its tasks are aborted on drop.
struct Connection {
    session: Session,
    admission: AdmissionControl,
    shutdown: ShutdownRequested,
    tasks: JoinSet<()>,
}

impl Connection {
    fn start<T>(io: T, role: &dyn Role, registration: &RegistrationRequest) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = keyway_mux::Config::new()
            .drain_timeout(DRAIN_TIMEOUT)
            // A daemon that is silent is stopped or hangs. Without it the plugin has no work, and its end closes the connection.
            .keep_alive_timeout(Duration::MAX)
            .write_timeout(Duration::MAX);
        let (session, driver) = Session::client(io, config);
        let (admission, control) = Admission::pending(registration.timeout);
        let (router, shutdown) = service::router(role, admission);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // `session.closed()` returns the same result.
            let _ = driver.await;
        });
        tasks.spawn(serve_calls(session.clone(), router));
        Self {
            session,
            admission: control,
            shutdown,
            tasks,
        }
    }

    /// Registers, and admits calls once the daemon has accepted.
    async fn register(&self, registration: &RegistrationRequest) -> Result<(), RegisterError> {
        let name = &registration.name;
        let waited = registration.timeout;
        let client =
            RegisterServiceClient::new(Exchange::new(Connector::new(self.session.clone())));
        let deadline = Instant::now() + waited;
        let request = registration.to_request().deadline_at(deadline);
        let result = timeout_at(deadline, client.register_plugin(request)).await;
        let response = match result {
            Ok(Ok(response)) => response.into_message(),
            Ok(Err(error)) if error.code() == Code::DeadlineExceeded => {
                return Err(RegisterError::TimedOut {
                    name: name.clone(),
                    waited,
                });
            }
            Ok(Err(error)) => return Err(self.register_error(name, error).await),
            Err(_) => {
                return Err(RegisterError::TimedOut {
                    name: name.clone(),
                    waited,
                });
            }
        };
        let daemon = DaemonVersion(&response);
        tracing::debug!(%name, %daemon, "registered");
        self.admission.open(request_timeout(&response));
        Ok(())
    }

    /// Sends the reports of the provider.
    async fn report(&self, daemon: &Daemon) -> Infallible {
        daemon.report(&self.session).await;
        std::future::pending().await
    }

    /// Converts the error of the call: neither a closed connection nor an error of this end, which has a source, is a refusal.
    async fn register_error(&self, name: &str, error: Error) -> RegisterError {
        let name = name.to_owned();
        if error.code() == Code::Unavailable && self.session.is_closing() {
            let source = self.session.closed().await.err().map(Into::into);
            return RegisterError::Lost { name, source };
        }
        let code = error.code();
        if error.source().is_some() {
            let source = error.into();
            return RegisterError::Failed { name, code, source };
        }
        RegisterError::Refused {
            name,
            code,
            message: error.message().to_owned(),
        }
    }

    /// Sends GoAway, lets requests in flight finish, and closes. Bounded by the session's drain timeout.
    async fn finish(mut self) {
        // Calls that still wait for the registration fail at once instead of being drained.
        drop(self.admission);
        self.session.close();
        if let Err(error) = self.session.closed().await {
            tracing::debug!(%error, "unclean close");
        }
        self.tasks.shutdown().await;
    }
}

/// Serves the daemon's calls, each on its own stream.
async fn serve_calls(session: Session, router: PluginRouter) {
    let config = Limits::default()
        .drain_timeout(DRAIN_TIMEOUT)
        .drop_delivers(true);
    serve(
        Listener::new(session),
        |_, _| router.clone(),
        config,
        std::future::pending(),
    )
    .await;
}

fn request_timeout(response: &RegisterPluginResponse) -> Duration {
    let given = response
        .request_timeout
        .and_then(|timeout| Duration::try_from(timeout).ok());
    given
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(DEFAULT_REQUEST_TIMEOUT)
}

/// Formats the daemon's name and version for the log.
struct DaemonVersion<'a>(&'a RegisterPluginResponse);

impl fmt::Display for DaemonVersion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(response) = self;
        write!(
            f,
            "{} {}",
            response.engine_name(),
            response.engine_version()
        )
    }
}
