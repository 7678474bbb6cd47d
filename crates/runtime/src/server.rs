//! The daemon socket's HTTP: who may connect, and what is served at which path.

pub(crate) mod addresses;
mod half_close;
mod hijack;
pub(crate) mod socket;

use std::convert::Infallible;
use std::future::Future;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use keyway_local::{Credentials, KnownUids};
use keyway_rpc::{Body, Router};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::authority::{Action, Gate, User};
use crate::caller::{Caller, Peer};
use crate::config::Current;
use crate::health;
use crate::manager::ManagerHandle;
use crate::plugin;
use crate::record::{Audit, Outcome};
use addresses::has_other_users;
use socket::Socket;

/// How many connections a daemon serves at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long a connection may be idle, or take to send the head of a request.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// How long to wait after accepting failed, for want of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the daemon's sockets.
pub(crate) struct Server {
    gate: Arc<Gate>,
    settings: Arc<Current>,
    manager: ManagerHandle,
    audit: Arc<Audit>,
    router: Router,
    permits: Arc<Semaphore>,
    known_uids: KnownUids,
}

impl Server {
    pub(crate) fn new(
        gate: Arc<Gate>,
        settings: Arc<Current>,
        manager: ManagerHandle,
        audit: Arc<Audit>,
        router: Router,
    ) -> Arc<Self> {
        Arc::new(Self {
            gate,
            settings,
            manager,
            audit,
            router,
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            known_uids: KnownUids::read(),
        })
    }

    /// Accepts connections at `socket` until `stop` says so, then lets the requests that are being answered finish.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops all its connections.
    pub(crate) async fn serve(self: Arc<Self>, socket: Socket, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let told = stop.clone();
        let mut changes = self.settings.subscribe();
        let is_path_address = socket.address().as_path().is_some();
        loop {
            let permit = Arc::clone(&self.permits).acquire_owned();
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Ok(()) = changes.changed() => self.follow_settings(&socket),
                Some(_) = connections.join_next() => {}
                (permit, accepted) = async { (permit.await, socket.accept().await) } => match accepted {
                    Ok(stream) => {
                        let connection = Arc::clone(&self).connection(stream, is_path_address, told.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(address = %socket.address(), %error, "accepting a connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // The path goes first, so that nobody connects to a daemon that is leaving.
        drop(socket);
        while connections.join_next().await.is_some() {}
    }

    /// Lets the modes of the socket follow `allow_uids`.
    fn follow_settings(&self, socket: &Socket) {
        if let Some(file) = socket.file() {
            let settings = self.settings.load();
            file.set_reachable(has_other_users(&settings.config, &self.known_uids));
        }
    }

    /// One connection: checks who it is, then serves it until it ends or becomes a plugin connection.
    async fn connection(
        self: Arc<Self>,
        stream: UnixStream,
        is_path_address: bool,
        stop: watch::Receiver<bool>,
    ) {
        let Some(peer) = self.admit(&stream, is_path_address) else {
            return;
        };
        let (hijacked, mut hijack) = tokio::sync::mpsc::channel(1);
        let client = Arc::new(half_close::Client::default());
        let stream = half_close::Connection::new(stream, Arc::clone(&client));
        let service = DaemonService {
            router: self.router.clone(),
            gate: Arc::clone(&self.gate),
            audit: Arc::clone(&self.audit),
            peer: Arc::clone(&peer),
            client,
            hijacked,
        };
        // The upgraded stream can only be had after the connection has done with it.
        let uid = peer.uid();
        let serving = self.serve_http(stream, service, stop);
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    tracing::debug!(pid = peer.pid(), %error, "connection ended early");
                }
            }
            () = self.removed(uid) => {
                tracing::warn!(uid, pid = peer.pid(), "connection ended: the uid is not in `allow_uids` any more");
                return;
            }
        }
        if let Some(upgrade) = hijack.recv().await {
            match hijack::stream(upgrade).await {
                Ok(io) => self.external(io, peer).await,
                Err(error) => {
                    tracing::warn!(pid = peer.pid(), %error, "connection did not become a plugin connection");
                }
            }
        }
    }

    /// Waits for the registration of an external plugin and hands it over.
    async fn external<I>(&self, io: I, peer: Arc<Peer>)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let settings = self.settings.load();
        let (limit, version) = (
            settings.config.start_timeout,
            settings.config.version.clone(),
        );
        match plugin::open(io, None, limit, version).await {
            Ok(registrant) => self.manager.connect(registrant, peer).await,
            Err(error) => {
                tracing::warn!(pid = peer.pid(), "external plugin not accepted: {error}");
            }
        }
    }

    /// Resolves when a reload has taken this uid out of those that may connect.
    async fn removed(&self, uid: u32) {
        let mut changes = self.settings.subscribe();
        while self.gate.user(uid) != User::Other {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Refuses other users' processes: the connection just closes.
    fn admit(&self, stream: &UnixStream, is_path_address: bool) -> Option<Arc<Peer>> {
        let credentials = match Credentials::of_peer(stream) {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "connection refused: the kernel gives no credentials");
                return None;
            }
        };
        if self.gate.user(credentials.uid) == User::Other {
            tracing::warn!(
                uid = credentials.uid,
                pid = credentials.raw_pid(),
                "connection of another user refused (`allow_uids`)"
            );
            return None;
        }
        let peer = Peer::identify(stream.as_fd(), credentials, is_path_address);
        Some(Arc::new(peer))
    }

    async fn serve_http(
        &self,
        stream: half_close::Connection,
        service: DaemonService,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_LIMIT)
            .auto_date_header(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .auto_date_header(false);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = &mut connection => return result,
            () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }
}

/// Resolves when the daemon stops. Cancel safe.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender the daemon is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What is served on one connection.
#[derive(Clone)]
struct DaemonService {
    router: Router,
    gate: Arc<Gate>,
    audit: Arc<Audit>,
    peer: Arc<Peer>,
    client: Arc<half_close::Client>,
    /// Takes the connection when it is to become a plugin connection.
    hijacked: tokio::sync::mpsc::Sender<hyper::upgrade::OnUpgrade>,
}

impl hyper::service::Service<Request<Incoming>> for DaemonService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        // Counted at once: hyper looks for the client's end before it polls what is returned here.
        let call = self.client.call();
        let is_http1 = request.version() < Version::HTTP_2;
        let path = request.uri().path();
        let is_health =
            path == health::PATH && matches!(*request.method(), Method::GET | Method::HEAD);
        let is_hijack = path == hijack::PATH;
        request.extensions_mut().insert(Arc::clone(&self.peer));
        let service = self.clone();
        Box::pin(async move {
            let mut response = if is_health {
                health::response()
            } else if is_hijack {
                service.hijack(request).await
            } else {
                service.router.clone().call(request).await?
            };
            if is_http1 && call.is_last() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response)
        })
    }
}

impl DaemonService {
    /// Turns the connection into a plugin connection, if the caller may.
    async fn hijack(&self, mut request: Request<Incoming>) -> Response<Body> {
        let caller = Caller::new(Arc::clone(&self.peer));
        match self.gate.permit(&caller, &Action::Hijack).await {
            Ok(_permitted) => hijack::answer(&mut request, &self.hijacked),
            Err(error) => {
                // That it cannot be recorded is logged; it is refused either way.
                let _ = self
                    .audit
                    .record("connect", &caller, || Outcome::failed(&error));
                hijack::forbid(error.message().to_owned())
            }
        }
    }
}
