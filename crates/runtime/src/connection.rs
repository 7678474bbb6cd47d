//! A plugin's connection: the one function that makes it from any byte stream, and what it is once it exists.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyway_mux::{Listener, Role, Session};
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_rpc::http1::{ServeConfig, serve};
use keyway_rpc::{Error, Request, Response, Router};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::engine::Engine;
use crate::name::PluginName;
use crate::plugin::Handle;
use crate::registration::{Generation, Registration, RegistrationError, RegistrationRequest};
use crate::server::health;
use crate::task::OwnedTask;

/// How long a plugin whose registration was refused has to read the answer and close.
const REFUSAL_GRACE: Duration = Duration::from_secs(2);

/// Decides whether a plugin may register; the one thing in which launched and hand-started plugins differ.
pub(crate) trait Admission: Send + Sync + 'static {
    /// The name that the plugin was launched with.
    fn launched_as(&self) -> Option<&PluginName>;

    /// Accepts a registration that keeps the general rules, or says why not. Called at most once for a connection, before the
    /// plugin gets its answer; what it claims must be given back when the value is dropped.
    fn admit(
        &self,
        registration: &Registration,
        handle: &Arc<Handle>,
    ) -> Result<(), RegistrationError>;
}

/// Why no plugin came out of a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    #[error("it did not register within {0:?}")]
    TimedOut(Duration),
    #[error("its registration was refused: {0}")]
    Refused(RegistrationError),
    #[error("its connection ended before it registered: {0}")]
    Ended(String),
}

/// A plugin that is registered. Dropping it closes the connection at once.
#[derive(Debug)]
pub(crate) struct PluginConnection {
    registration: Registration,
    handle: Arc<Handle>,
    session: Session,
    driver: Driver,
    /// Answers the plugin's own calls for as long as the connection lives.
    _server: OwnedTask<()>,
}

type Driver = OwnedTask<Result<(), keyway_mux::SessionError>>;

/// Makes a plugin out of a connection: yamux with us as the server, HTTP on its streams, and a registration that must come
/// within the configured time. It does not matter where the byte stream comes from.
pub(crate) async fn open<I>(
    io: I,
    admission: Arc<dyn Admission>,
    engine: Arc<Engine>,
) -> Result<PluginConnection, OpenError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limit = engine.config().start_timeout;
    let (session, driver) = Session::new(io, Role::Server, keyway_mux::Config::default());
    let mut driver = OwnedTask::spawn(driver);
    let (service, registered) = RegistrationService::new(session.clone(), admission, engine);
    let router = service.into_router();
    let server = OwnedTask::spawn(serve_plugin(session.clone(), router));
    let outcome = tokio::select! {
        biased;
        Ok(outcome) = registered => outcome,
        ended = &mut driver => return Err(OpenError::Ended(describe_end(ended))),
        () = tokio::time::sleep(limit) => return Err(OpenError::TimedOut(limit)),
    };
    match outcome {
        Ok((registration, handle)) => Ok(PluginConnection {
            registration,
            handle,
            session,
            driver,
            _server: server,
        }),
        Err(error) => {
            // Streams in flight are finished first, so the plugin gets to read why. How the session ends then is its affair.
            let _ = timeout(REFUSAL_GRACE, session.close()).await;
            Err(OpenError::Refused(error))
        }
    }
}

impl PluginConnection {
    /// What the plugin said about itself.
    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// For calling the plugin.
    pub(crate) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.handle)
    }

    /// Resolves when the plugin can be asked no more, with the reason. Cancel safe. To be called again only until then.
    pub(crate) async fn ended(&mut self) -> String {
        let Self {
            session,
            driver,
            handle,
            ..
        } = self;
        tokio::select! {
            biased;
            ended = driver => describe_end(ended),
            () = session.peer_draining() => "it said that it is leaving".into(),
            error = handle.found_useless() => error.to_string(),
        }
    }

    /// Lets requests in flight finish for at most `limit`, then closes the connection.
    pub(crate) async fn close(self, limit: Duration) {
        // The session may have failed already; closed is closed.
        let _ = timeout(limit, self.session.close()).await;
    }
}

fn describe_end(
    ended: Result<Result<(), keyway_mux::SessionError>, tokio::task::JoinError>,
) -> String {
    match ended {
        Ok(Ok(())) => "it closed its connection".into(),
        Ok(Err(keyway_mux::SessionError::Io(error))) => format!("its connection failed: {error}"),
        Ok(Err(error)) => format!("its connection failed: {error}"),
        Err(error) => format!("its connection failed: {error}"),
    }
}

/// Answers the calls of one plugin until its session ends.
async fn serve_plugin(session: Session, router: Router) {
    let service = health::WithHealth::new(router);
    // That the session failed is told by who waits for its end, with the plugin's name.
    let served = serve(
        Listener::new(session),
        |_| service.clone(),
        ServeConfig::default(),
        pending(),
    )
    .await;
    tracing::debug!(?served, "a plugin's connection is not served any more");
}

type Outcome = Result<(Registration, Arc<Handle>), RegistrationError>;

/// The one handler behind the three registration paths of a connection.
#[derive(Clone)]
struct RegistrationService(Arc<RegistrationState>);

struct RegistrationState {
    session: Session,
    admission: Arc<dyn Admission>,
    engine: Arc<Engine>,
    /// Empty once a registration came: one connection registers once.
    outcome: Mutex<Option<oneshot::Sender<Outcome>>>,
}

impl RegistrationService {
    fn new(
        session: Session,
        admission: Arc<dyn Admission>,
        engine: Arc<Engine>,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        let outcome = Mutex::new(Some(sender));
        (
            Self(Arc::new(RegistrationState {
                session,
                admission,
                engine,
                outcome,
            })),
            receiver,
        )
    }

    fn into_router(self) -> Router {
        Router::new()
            .add_service(plugins::RegisterServiceServer::new(self.clone()))
            .add_service(resolver::RegisterServiceServer::new(self.clone()))
            .add_service(resolver::EngineServiceServer::new(EngineService(self)))
    }

    /// Registers, or says why not; the accepted registration's time-out is what the plugin is told.
    fn register(&self, request: RegistrationRequest) -> Result<Duration, Error> {
        let state = &self.0;
        let sender = state
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(sender) = sender else {
            return Err(RegistrationError::Twice.into());
        };
        let outcome = state.judge(request);
        let answer = match &outcome {
            Ok((registration, _)) => Ok(state.engine.config().timeout_of(&registration.name)),
            Err(error) => Err(error.clone().into()),
        };
        // Nobody waits for it any more: the time is up, and the connection about to close.
        let _ = sender.send(outcome);
        answer
    }
}

impl RegistrationState {
    fn judge(&self, request: RegistrationRequest) -> Outcome {
        let registration = request.validate(self.admission.launched_as())?;
        let limit = self.engine.config().plugin(&registration.name).concurrency;
        let handle = Handle::new(&registration, self.session.clone(), limit);
        self.admission.admit(&registration, &handle)?;
        Ok((registration, handle))
    }
}

impl plugins::RegisterService for RegistrationService {
    fn register_plugin(
        &self,
        request: Request<plugins::RegisterPluginRequest>,
    ) -> impl Future<Output = Result<Response<plugins::RegisterPluginResponse>, Error>> + Send {
        let answer = self.register(RegistrationRequest::current(request.into_message()));
        let (engine_name, engine_version) = self.0.engine.introduction();
        async move {
            let request_timeout = answer?.try_into().ok();
            Ok(Response::new(plugins::RegisterPluginResponse {
                engine_name,
                engine_version,
                request_timeout,
            }))
        }
    }
}

impl RegistrationService {
    fn register_legacy(
        &self,
        generation: Generation,
        message: resolver::RegisterPluginRequest,
    ) -> Result<Response<resolver::RegisterPluginResponse>, Error> {
        let request_timeout = self
            .register(RegistrationRequest::legacy(generation, message))?
            .try_into()
            .ok();
        let (engine_name, engine_version) = self.0.engine.introduction();
        Ok(Response::new(resolver::RegisterPluginResponse {
            engine_name,
            engine_version,
            request_timeout,
        }))
    }
}

impl resolver::RegisterService for RegistrationService {
    async fn register_plugin(
        &self,
        request: Request<resolver::RegisterPluginRequest>,
    ) -> Result<Response<resolver::RegisterPluginResponse>, Error> {
        self.register_legacy(Generation::ResolverRegister, request.into_message())
    }
}

/// The oldest path; the trait has the same method name and needs a type of its own.
struct EngineService(RegistrationService);

impl resolver::EngineService for EngineService {
    async fn register_plugin(
        &self,
        request: Request<resolver::RegisterPluginRequest>,
    ) -> Result<Response<resolver::RegisterPluginResponse>, Error> {
        self.0
            .register_legacy(Generation::Engine, request.into_message())
    }
}
