//! The life of one plugin connection, from the first byte to the last, whatever the byte stream is.

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use keyway_mux::{Connector, Listener, Session, SessionError};
use keyway_proto::plugins::v1::{RegisterPluginResponse, RegisterServiceClient};
use keyway_proto::registration::InvalidRegistration;
use keyway_rpc::http1::{Exchange, ServeConfig, serve};
use keyway_rpc::{Code, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::causes::with_causes;
use crate::gate::{Gate, Key};
use crate::introduction::Introduction;
use crate::service::{self, PluginRouter, Role, ShutdownRequested};

/// How long registration may take on a connection that the plugin made itself.
pub(crate) const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take if the daemon did not say.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests that are being answered may take at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection ended after a successful registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The daemon asked for it.
    Asked,
    /// The connection ended: the daemon is gone.
    Lost,
    /// This process was told to stop.
    Stopped,
}

/// Why a plugin could not register.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The plugin broke a rule of registrations, so nothing was sent.
    #[error("the plugin cannot register: {0}")]
    Invalid(#[from] InvalidRegistration),
    /// The connection ended first.
    #[error("the daemon closed the connection before `{name}` was registered{}", because(source.as_deref()))]
    Lost {
        /// The plugin.
        name: String,
        /// Why, where it was not a clean end.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The daemon said no.
    #[error("the daemon refused to register `{name}`: {} ({code})", words(message))]
    Refused {
        /// The plugin.
        name: String,
        /// The kind of refusal.
        code: Code,
        /// What the daemon said.
        message: String,
    },
    /// The daemon did not answer.
    #[error("the daemon did not answer the registration of `{name}` within {:.1} s", waited.as_secs_f64())]
    TimedOut {
        /// The plugin.
        name: String,
        /// How long it was waited for.
        waited: Duration,
    },
}

fn because(source: Option<&(dyn StdError + Send + Sync)>) -> String {
    source
        .map(|error| format!(": {}", with_causes(error)))
        .unwrap_or_default()
}

fn words(message: &str) -> &str {
    if message.is_empty() {
        "it gave no reason"
    } else {
        message
    }
}

impl RegisterError {
    /// Whether a later attempt may succeed: the daemon was going, or has not yet noticed that an earlier connection of
    /// this plugin is gone.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::TimedOut { .. } => true,
            Self::Invalid(_) => false,
            Self::Refused { code, .. } => matches!(code, Code::AlreadyExists | Code::Unavailable),
        }
    }
}

/// Serves a role on a byte stream: registers it, answers until the connection ends or `stop` resolves, and drains.
pub(crate) async fn run<T>(
    io: T,
    role: &dyn Role,
    introduction: &Introduction,
    stop: impl Future<Output = ()>,
) -> Result<Ended, RegisterError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut stop = std::pin::pin!(stop);
    let connection = Connection::start(io, role, introduction);
    let registered = tokio::select! {
        biased;
        () = &mut stop => Ok(Some(Ended::Stopped)),
        ended = connection.session.closed() => Err(RegisterError::Lost {
            name: introduction.name.clone(),
            source: ended.err().map(Into::into),
        }),
        // Ahead of the request to stop: when both have arrived, calls that came between them wait for the gate.
        answer = connection.register(introduction) => answer.map(|()| None),
        () = connection.shutdown.requested() => Ok(Some(Ended::Asked)),
    };
    let ended = match registered {
        Ok(None) => Ok(tokio::select! {
            () = &mut stop => Ended::Stopped,
            () = connection.shutdown.requested() => Ended::Asked,
            ended = connection.session.closed() => {
                tell(ended.err());
                Ended::Lost
            }
        }),
        Ok(Some(ended)) => Ok(ended),
        Err(error) => Err(error),
    };
    connection.finish().await;
    ended
}

/// A daemon that goes when nobody waits for an answer is no fault. One that is killed in the middle of requests, breaks the
/// protocol, or falls silent, is worth a line.
fn tell(error: Option<SessionError>) {
    match error {
        None => tracing::debug!("the daemon closed the connection"),
        Some(SessionError::ConnectionLost { .. }) => {
            tracing::warn!("the daemon is gone, and requests that were being answered with it");
        }
        Some(error) => tracing::warn!(
            "the connection to the daemon broke: {}",
            with_causes(&error)
        ),
    }
}

/// A running connection. Its tasks end with it.
struct Connection {
    session: Session,
    key: Key,
    shutdown: ShutdownRequested,
    tasks: JoinSet<()>,
}

impl Connection {
    fn start<T>(io: T, role: &dyn Role, introduction: &Introduction) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = keyway_mux::Config::new().drain_timeout(DRAIN_TIMEOUT);
        let (session, driver) = Session::new(io, keyway_mux::Role::Client, config);
        let (gate, key) = Gate::closed(introduction.registration_timeout);
        let (router, shutdown) = service::router(role, gate);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // How the session ended is what `session.closed()` says, too.
            let _ = driver.await;
        });
        tasks.spawn(answer(session.clone(), router));
        Self {
            session,
            key,
            shutdown,
            tasks,
        }
    }

    /// Registers, and lets calls through when the daemon has agreed.
    async fn register(&self, introduction: &Introduction) -> Result<(), RegisterError> {
        let name = &introduction.name;
        let waited = introduction.registration_timeout;
        let client =
            RegisterServiceClient::new(Exchange::new(Connector::new(self.session.clone())));
        let mut request = introduction.request();
        let deadline = Instant::now() + waited;
        request.set_deadline(deadline);
        let answer = timeout_at(deadline, client.register_plugin(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response.into_message(),
            Ok(Err(error)) if error.code() == Code::DeadlineExceeded => {
                return Err(RegisterError::TimedOut {
                    name: name.clone(),
                    waited,
                });
            }
            Ok(Err(error)) => return Err(self.refused(name, &error).await),
            Err(_) => {
                return Err(RegisterError::TimedOut {
                    name: name.clone(),
                    waited,
                });
            }
        };
        let engine = Engine(&response);
        tracing::debug!(%name, %engine, "registered");
        self.key.open(request_timeout(&response));
        Ok(())
    }

    /// What a failed call means: a connection that is gone is not a refusal.
    async fn refused(&self, name: &str, error: &Error) -> RegisterError {
        let name = name.to_owned();
        if error.code() == Code::Unavailable && !self.session.is_open() {
            let source = self.session.closed().await.err().map(Into::into);
            return RegisterError::Lost { name, source };
        }
        RegisterError::Refused {
            name,
            code: error.code(),
            message: error.message().to_owned(),
        }
    }

    /// Tells the daemon that nothing new is accepted, lets running requests finish, and closes. Bounded by the
    /// session's drain time.
    async fn finish(mut self) {
        // Calls that still wait for a registration are answered at once, and not waited for.
        drop(self.key);
        if let Err(error) = self.session.close().await {
            tracing::debug!(%error, "the connection did not end cleanly");
        }
        self.tasks.shutdown().await;
    }
}

/// Answers the daemon's requests, each on a stream of its own.
async fn answer(session: Session, router: PluginRouter) {
    let config = ServeConfig::default().drain_timeout(DRAIN_TIMEOUT);
    serve(
        Listener::new(session),
        |_| router.clone(),
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

/// The daemon's introduction, for the log.
struct Engine<'a>(&'a RegisterPluginResponse);

impl fmt::Display for Engine<'_> {
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
