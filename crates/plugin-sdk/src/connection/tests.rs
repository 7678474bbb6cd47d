//! Calls before, during and after the registration, with a scripted daemon.

use std::sync::Arc;

use keyway_proto::plugins::v1::{
    PluginServiceClient, RegisterPluginRequest, RegisterService, RegisterServiceServer,
    ShutdownRequest,
};
use keyway_proto::resolver::v1::{GetSecretsRequest, ResolverServiceClient};
use keyway_rpc::{Request, Response, Router};
use keyway_secrets::{Envelope, Pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;

use super::*;
use crate::service::Provider;
use crate::{ProviderError, Query, ResultExt, SecretsProvider};

const SECOND: Duration = Duration::from_secs(1);

struct Hello;

impl SecretsProvider for Hello {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let hello = Envelope::new("hello".parse()?, "hello");
        Ok(if query.matches(&hello.id) {
            vec![hello]
        } else {
            vec![]
        })
    }
}

/// Responds to the registration once the test adds a permit.
struct ScriptedRegistration(Arc<Semaphore>);

impl RegisterService for ScriptedRegistration {
    async fn register_plugin(
        &self,
        _: Request<RegisterPluginRequest>,
    ) -> Result<Response<RegisterPluginResponse>, Error> {
        let permit = self
            .0
            .acquire()
            .await
            .map_err(|_| Error::permission_denied("not you"))?;
        permit.forget();
        Ok(Response::new(RegisterPluginResponse::default()))
    }
}

/// The daemon's end of a connection.
struct Daemon {
    session: Session,
    permits: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Daemon {
    fn start(io: DuplexStream) -> Self {
        let (session, driver) = Session::server(io, keyway_mux::Config::new());
        let permits = Arc::new(Semaphore::new(0));
        let registration = ScriptedRegistration(Arc::clone(&permits));
        let service = RegisterServiceServer::<ScriptedRegistration>::new(registration);
        let router = Router::new().add_service(service);
        let listener = Listener::new(session.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = driver.await;
        });
        tasks.spawn(async move {
            let config = Limits::default();
            serve(
                listener,
                |_, _| router.clone(),
                config,
                std::future::pending(),
            )
            .await;
        });
        Self {
            session,
            permits,
            _tasks: tasks,
        }
    }

    fn transport(&self) -> Exchange<Connector> {
        Exchange::new(Connector::new(self.session.clone()))
    }

    async fn get(&self, timeout: Option<Duration>) -> Result<usize, Error> {
        let request = GetSecretsRequest {
            pattern: Some("hello".to_owned()),
        };
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let request = Request::new(request).deadline_at(deadline);
        let client = ResolverServiceClient::new(self.transport());
        Ok(client
            .get_secrets(request)
            .await?
            .into_message()
            .envelopes
            .len())
    }

    async fn shut_down(&self) {
        let client = PluginServiceClient::new(self.transport());
        client.shutdown(ShutdownRequest {}).await.unwrap();
    }

    /// Returns the raw response to `GET /health`.
    async fn health(&self) -> String {
        let mut stream = self.session.open().await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }
}

type Outcome = Result<Ended, RegisterError>;

/// Starts a plugin with a registration `timeout`, and its daemon.
fn start(timeout: Duration) -> (Daemon, tokio::task::JoinHandle<Outcome>) {
    start_with(Hello, timeout, std::future::pending())
}

/// The same for a provider, until `stop` resolves.
fn start_with(
    provider: impl SecretsProvider,
    timeout: Duration,
    stop: impl Future<Output = ()> + Send + 'static,
) -> (Daemon, tokio::task::JoinHandle<Outcome>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (Daemon::start(near), start_on(far, provider, timeout, stop))
}

/// Starts the plugin alone.
fn start_on(
    io: DuplexStream,
    provider: impl SecretsProvider,
    timeout: Duration,
    stop: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<Outcome> {
    tokio::spawn(async move {
        let role = Provider::new(provider, u64::MAX);
        let registration = RegistrationRequest::new("p".to_owned(), timeout, &role).unwrap();
        run(io, &role, &registration, &crate::Daemon::default(), stop).await
    })
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_stopped_for_long_keeps_its_plugins() {
    let (plugin_io, mut near) = tokio::io::duplex(64 * 1024);
    let (mut far, daemon_io) = tokio::io::duplex(64 * 1024);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut connection = JoinSet::new();
    connection.spawn(async move {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = stopped => std::future::pending().await,
        }
    });
    let daemon = Daemon::start(daemon_io);
    let plugin = start_on(plugin_io, Hello, 5 * SECOND, std::future::pending());
    daemon.permits.add_permits(1);
    assert_eq!(daemon.get(None).await.unwrap(), 1);
    stop.send(()).unwrap();
    tokio::time::sleep(600 * SECOND).await;
    assert!(!plugin.is_finished());
    connection.shutdown().await;
    assert_eq!(plugin.await.unwrap().unwrap(), Ended::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_the_registration_and_then_succeed() {
    let (daemon, plugin) = start(5 * SECOND);
    let calls = async { tokio::join!(daemon.get(None), daemon.get(Some(4 * SECOND))) };
    let registration = async {
        tokio::time::sleep(3 * SECOND).await;
        daemon.permits.add_permits(1);
    };
    let ((unbounded, bounded), ()) = tokio::join!(calls, registration);
    assert_eq!((unbounded.unwrap(), bounded.unwrap()), (1, 1));
    daemon.shut_down().await;
    assert_eq!(plugin.await.unwrap().unwrap(), Ended::ShutdownRequested);
}

#[tokio::test(start_paused = true)]
async fn a_call_before_the_registration_ends_at_its_own_deadline() {
    let (daemon, plugin) = start(5 * SECOND);
    let started = Instant::now();
    let error = daemon.get(Some(SECOND)).await.unwrap_err();
    assert_eq!(
        (error.code(), started.elapsed().as_secs()),
        (Code::DeadlineExceeded, 1)
    );
    daemon.permits.add_permits(1);
    assert_eq!(daemon.get(Some(SECOND)).await.unwrap(), 1);
    drop(daemon);
    assert_eq!(plugin.await.unwrap().unwrap(), Ended::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn l20_health_and_shutdown_do_not_wait_for_the_registration() {
    let (daemon, plugin) = start(5 * SECOND);
    let started = Instant::now();
    let response = daemon.health().await;
    assert!(
        response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nok"),
        "{response}"
    );
    daemon.shut_down().await;
    assert_eq!(plugin.await.unwrap().unwrap(), Ended::ShutdownRequested);
    assert!(started.elapsed() <= 2 * SECOND, "draining is bounded");
}

#[tokio::test(start_paused = true)]
async fn l09_a_registration_that_times_out_sends_go_away_and_ends_in_bounded_time() {
    let (daemon, plugin) = start(5 * SECOND);
    let started = Instant::now();
    daemon.session.peer_draining().await;
    assert_eq!(started.elapsed().as_secs(), 5);
    let error = plugin.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the daemon did not respond to the registration of `p` within 5.0 s"
    );
    assert!(error.is_temporary());
    assert!(started.elapsed() <= 8 * SECOND);
}

#[tokio::test]
async fn a_refusal_is_permanent_and_a_lost_connection_is_temporary() {
    let (daemon, plugin) = start(5 * SECOND);
    daemon.permits.close();
    let error = plugin.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the daemon refused to register `p`: not you (permission_denied)"
    );
    assert!(!error.is_temporary());

    let (daemon, plugin) = start(5 * SECOND);
    drop(daemon);
    let error = plugin.await.unwrap().unwrap_err();
    assert!(
        matches!(error, RegisterError::Lost { .. }) && error.is_temporary(),
        "{error}"
    );
}

#[tokio::test]
async fn a_response_that_is_not_http_is_a_failed_registration_with_its_cause() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (session, driver) = Session::server(far, keyway_mux::Config::new());
    tokio::spawn(driver);
    let plugin = start_on(near, Hello, 5 * SECOND, std::future::pending());
    let mut stream = session.accept().await.unwrap().unwrap();
    stream.write_all(b"hello\r\n\r\n").await.unwrap();
    let error = plugin.await.unwrap().unwrap_err();
    assert!(matches!(error, RegisterError::Failed { .. }), "{error}");
    keyway_test_support::assert_causes_said_once(&error);
    let text = with_causes(&error);
    assert!(
        text.starts_with("the registration of `p` failed: unavailable: "),
        "{text}"
    );
    assert!(text.contains("not HTTP/1.1"), "{text}");
}

#[tokio::test]
async fn a_request_in_flight_is_drained_before_the_close() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let provider = Blocking::new();
    let (daemon, plugin) = start_with(provider.clone(), SECOND, async {
        let _ = stopped.await;
    });
    daemon.permits.add_permits(1);
    let drain = async {
        provider.started.acquire().await.unwrap().forget();
        stop.send(()).unwrap();
        daemon.session.peer_draining().await;
        provider.finish.add_permits(1);
    };
    let (result, ()) = tokio::join!(daemon.get(None), drain);
    assert_eq!(result.unwrap(), 1);
    assert_eq!(plugin.await.unwrap().unwrap(), Ended::Signalled);
}

/// Ends a connection with a call in flight by `disconnect`, and returns the end and the logged lines.
async fn disconnect_during_a_call(
    disconnect: impl AsyncFnOnce(Daemon, Arc<Semaphore>),
) -> (Ended, Vec<String>) {
    let lines = crate::log::capture::CapturedLines::start("info");
    let provider = Blocking::new();
    let (daemon, plugin) = start_with(provider.clone(), SECOND, std::future::pending());
    daemon.permits.add_permits(1);
    let client = ResolverServiceClient::new(daemon.transport());
    let call = tokio::spawn(async move {
        let pattern = Some("hello".to_owned());
        client.get_secrets(GetSecretsRequest { pattern }).await
    });
    provider.started.acquire().await.unwrap().forget();
    disconnect(daemon, provider.finish).await;
    let ended = plugin.await.unwrap().unwrap();
    // The result of the call does not matter here.
    let _ = call.await.unwrap();
    (ended, lines.get())
}

#[tokio::test]
async fn m31_a_clean_close_logs_nothing_and_a_lost_connection_one_line() {
    let (ended, lines) = disconnect_during_a_call(async |daemon, finish| {
        let (_, _) = tokio::join!(daemon.shut_down(), async { finish.add_permits(1) });
        daemon.session.closed().await.unwrap();
    })
    .await;
    assert_eq!((ended, lines), (Ended::ShutdownRequested, Vec::new()));

    let (ended, lines) = disconnect_during_a_call(async |daemon, finish| {
        finish.add_permits(1);
        daemon.session.close();
        daemon.session.closed().await.unwrap();
    })
    .await;
    assert_eq!((ended, lines), (Ended::Disconnected, Vec::new()));

    let (ended, lines) = disconnect_during_a_call(async |daemon, _| drop(daemon)).await;
    assert_eq!(ended, Ended::Disconnected);
    assert_eq!(
        lines,
        ["WARN keyway_plugin_sdk::connection: daemon connection lost with requests in flight\n"]
    );
}

/// Adds a permit to `started` when a call starts, and responds once `finish` has one.
#[derive(Clone)]
struct Blocking {
    started: Arc<Semaphore>,
    finish: Arc<Semaphore>,
}

impl Blocking {
    fn new() -> Self {
        Self {
            started: Arc::new(Semaphore::new(0)),
            finish: Arc::new(Semaphore::new(0)),
        }
    }
}

impl SecretsProvider for Blocking {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        self.started.add_permits(1);
        let finish = self.finish.acquire().await;
        finish.or_internal("the test has ended")?.forget();
        Hello.get_secrets(query).await
    }
}
