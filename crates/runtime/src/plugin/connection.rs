//! A plugin's connection: one function makes it of any byte stream, and its owner decides about the registration.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use http::HeaderMap;
use keyway_http::{Health, Limits, serve};
use keyway_local::{format_duration, is_stopped, with_causes};
use keyway_mux::{Listener, OpenError as OpenStreamError, PeerSuspension, Session};
use keyway_proto::health::v1::VersionServiceServer;
use keyway_proto::keyway::v1::HostServiceServer;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_rpc::{Error, Request, Response, Router};
use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::calls::Handle;
use super::notices::Notices;
use super::registration::{Generation, Registration, RegistrationError, RegistrationRequest};
use crate::config::{PluginSettings, VersionInfo};
use crate::model::PluginName;
use crate::version::Version;
use crate::wait::OwnedTask;

/// The name of the daemon towards plugins.
const ENGINE_NAME: &str = "keyway";

/// The time that a plugin whose registration was refused has to read the response and close.
const REFUSAL_GRACE: Duration = Duration::from_secs(2);

/// Error of opening a plugin's connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    #[error("no registration within {}", format_duration(*.0))]
    TimedOut(Duration),
    #[error("registration refused")]
    Refused(#[source] RegistrationError),
    #[error("connection ended before the registration: {0}")]
    Ended(String),
}

/// A plugin whose valid registration waits for its response. Dropping it closes the connection at once.
pub(crate) struct Registrant {
    registration: Registration,
    link: Link,
    notices: Notices,
    reply: Reply,
}

/// A plugin that has registered. Dropping it closes the connection at once.
#[derive(Debug)]
pub(crate) struct PluginConnection {
    registration: Arc<Registration>,
    handle: Arc<Handle>,
    link: Link,
}

/// The session of a connection and the tasks that serve it.
#[derive(Debug)]
struct Link {
    session: Session,
    driver: Driver,
    /// Serves the plugin's own calls for as long as the connection lives.
    _server: OwnedTask<()>,
}

type Driver = OwnedTask<Result<(), keyway_mux::SessionError>>;

/// The response to a registration.
struct Welcome {
    engine_version: String,
    request_timeout: Duration,
}

type Reply = oneshot::Sender<Result<Welcome, RegistrationError>>;

/// The known facts of a connection before it is a plugin's.
pub(crate) struct OpenOptions<'a> {
    /// The name that the plugin was launched with.
    pub(crate) launched_as: Option<&'a PluginName>,
    /// The process at the other end.
    pub(crate) process: Option<Pid>,
    /// Limit for the registration.
    pub(crate) limit: Duration,
    /// The time for which the connection may be idle until the plugin is pinged.
    pub(crate) keep_alive: Duration,
    /// The daemon's own version.
    pub(crate) version: VersionInfo,
}

/// Makes a plugin of a byte stream: yamux with the daemon as the server, HTTP on its streams, and a registration that keeps the
/// rules and arrives in time.
pub(crate) async fn open<I>(io: I, options: OpenOptions<'_>) -> Result<Registrant, OpenError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (session, driver) = Session::server(io, session_config(&options));
    let OpenOptions {
        launched_as,
        limit,
        version,
        ..
    } = options;
    let mut driver = OwnedTask::spawn(driver);
    let (service, registered) = RegistrationService::new();
    let notices = Notices::new();
    let router = service
        .into_router(version)
        .add_service(HostServiceServer::new(notices.clone()));
    let server = OwnedTask::spawn(serve_plugin(session.clone(), router));
    let (request, reply) = tokio::select! {
        biased;
        Ok(registered) = registered => registered,
        ended = &mut driver => return Err(OpenError::Ended(describe_end(ended))),
        () = tokio::time::sleep(limit) => return Err(OpenError::TimedOut(limit)),
    };
    let link = Link {
        session,
        driver,
        _server: server,
    };
    match request.validate(launched_as) {
        Ok(registration) => Ok(Registrant {
            registration,
            link,
            notices,
            reply,
        }),
        Err(error) => Err(refuse(link, reply, error).await),
    }
}

/// A plugin whose process is stopped, by SIGSTOP or a debugger, has not failed: it stays connected, and only its calls time out.
/// The process of a connection that is open either lives or has left the connection to a child, so a pid that is used
/// again is harmless: another process that is stopped delays the end of a silent plugin.
fn session_config(options: &OpenOptions<'_>) -> keyway_mux::Config {
    let (process, keep_alive) = (options.process, options.keep_alive);
    let suspension = PeerSuspension::checked_by(move || process.is_some_and(is_stopped));
    keyway_mux::Config::new()
        .keep_alive(Some(keep_alive))
        .keep_alive_timeout(keep_alive / 3)
        .write_timeout(keep_alive / 3)
        .peer_suspension(suspension)
}

async fn refuse(link: Link, reply: Reply, error: RegistrationError) -> OpenError {
    // A plugin that has gone needs no response.
    let _ = reply.send(Err(error.clone()));
    // Streams in flight are finished first, so the plugin gets to read the reason.
    link.session.close();
    let _ = timeout(REFUSAL_GRACE, link.session.closed()).await;
    OpenError::Refused(error)
}

impl Registrant {
    /// Returns the registration of the plugin.
    pub(crate) fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Accepts the registration: from now on the plugin is called.
    pub(crate) fn accept(
        self,
        settings: &PluginSettings,
        engine_version: &str,
    ) -> PluginConnection {
        let Self {
            registration,
            link,
            notices,
            reply,
        } = self;
        let registration = Arc::new(registration);
        let welcome = Welcome {
            engine_version: engine_version.to_owned(),
            request_timeout: registration.request_timeout(settings),
        };
        let handle = Handle::new(Arc::clone(&registration), link.session.clone(), settings);
        notices.accept(&handle);
        // A plugin that has gone is noticed by the end of its session.
        let _ = reply.send(Ok(welcome));
        PluginConnection {
            registration,
            handle,
            link,
        }
    }

    /// Refuses the registration and closes the connection.
    pub(crate) async fn refuse(self, error: RegistrationError) -> OpenError {
        refuse(self.link, self.reply, error).await
    }
}

impl PluginConnection {
    /// Returns the registration of the plugin.
    pub(crate) fn registration(&self) -> &Arc<Registration> {
        &self.registration
    }

    /// Returns the handle that calls the plugin.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Resolves with the reason when the plugin takes no more requests. To be called again only until then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn ended(&mut self) -> String {
        let Self { link, handle, .. } = self;
        tokio::select! {
            biased;
            ended = &mut link.driver => describe_end(ended),
            () = link.session.peer_draining() => describe_draining(&link.session),
            error = handle.unsupported() => with_causes(&error),
        }
    }

    /// Lets requests in flight finish for at most `limit`, then closes the connection.
    pub(crate) async fn close(self, limit: Duration) {
        // A session that failed is closed.
        self.link.session.close();
        let _ = timeout(limit, self.link.session.closed()).await;
    }
}

/// Returns why a session takes no new streams. One that has failed counts as draining before its driver has ended.
fn describe_draining(session: &Session) -> String {
    match session.open().now_or_never() {
        Some(Err(OpenStreamError::Session(error))) => {
            format!("connection failed: {}", with_causes(&error))
        }
        Some(Err(OpenStreamError::Closed)) => "connection closed by the plugin".into(),
        _ => "shutdown announced by the plugin".into(),
    }
}

fn describe_end(
    ended: Result<Result<(), keyway_mux::SessionError>, tokio::task::JoinError>,
) -> String {
    match ended {
        Ok(Ok(())) => "connection closed by the plugin".into(),
        Ok(Err(error)) => format!("connection failed: {}", with_causes(&error)),
        Err(error) => format!("connection failed: {error}"),
    }
}

/// Serves the calls of one plugin until its session ends.
async fn serve_plugin(session: Session, router: Router) {
    let service = router.with_fallback(Health);
    // The owner of the connection reports why the session ended, with the plugin's name.
    let served = serve(
        Listener::new(session),
        |_, _| service.clone(),
        Limits::default().drop_delivers(true),
        pending(),
    )
    .await;
    tracing::debug!(?served, "plugin connection closed");
}

/// The one handler behind the three registration paths of a connection.
#[derive(Clone)]
struct RegistrationService(Arc<Mutex<Option<Registrations>>>);

/// Empty after the first registration: one connection registers once.
type Registrations = oneshot::Sender<(RegistrationRequest, Reply)>;

impl RegistrationService {
    fn new() -> (Self, oneshot::Receiver<(RegistrationRequest, Reply)>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    fn into_router(self, version: VersionInfo) -> Router {
        let version = Arc::new(Version(version));
        Router::new()
            .add_service(VersionServiceServer::<Version>::new(version))
            .add_service(plugins::RegisterServiceServer::new(self.clone()))
            .add_service(resolver::RegisterServiceServer::new(self.clone()))
            .add_service(resolver::EngineServiceServer::new(EngineService(self)))
    }

    /// Hands the registration to the owner of the connection and waits for the decision, which is bounded by the owner.
    async fn register(&self, request: RegistrationRequest) -> Result<Welcome, Error> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(sender) = sender else {
            return Err(RegistrationError::Twice.into());
        };
        let (reply, decision) = oneshot::channel();
        // If the owner has stopped waiting, the decision below fails as well.
        let _ = sender.send((request, reply));
        match decision.await {
            Ok(decision) => Ok(decision?),
            Err(_) => Err(Error::deadline_exceeded("the registration came too late")),
        }
    }

    async fn register_legacy(
        &self,
        generation: Generation,
        message: resolver::RegisterPluginRequest,
    ) -> Result<Response<resolver::RegisterPluginResponse>, Error> {
        let request = RegistrationRequest::legacy(generation, message);
        let welcome = self.register(request).await?;
        Ok(Response::new(resolver::RegisterPluginResponse {
            engine_name: Some(ENGINE_NAME.into()),
            engine_version: Some(welcome.engine_version),
            request_timeout: welcome.request_timeout.try_into().ok(),
        }))
    }
}

impl plugins::RegisterService for RegistrationService {
    async fn register_plugin(
        &self,
        request: Request<plugins::RegisterPluginRequest>,
    ) -> Result<Response<plugins::RegisterPluginResponse>, Error> {
        let headers: HeaderMap = request.metadata().clone();
        let request = RegistrationRequest::current(request.into_message(), &headers);
        let welcome = self.register(request).await?;
        Ok(Response::new(plugins::RegisterPluginResponse {
            engine_name: Some(ENGINE_NAME.into()),
            engine_version: Some(welcome.engine_version),
            request_timeout: welcome.request_timeout.try_into().ok(),
        }))
    }
}

impl resolver::RegisterService for RegistrationService {
    async fn register_plugin(
        &self,
        request: Request<resolver::RegisterPluginRequest>,
    ) -> Result<Response<resolver::RegisterPluginResponse>, Error> {
        self.register_legacy(Generation::ResolverRegister, request.into_message())
            .await
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
            .await
    }
}

#[cfg(test)]
mod tests;
