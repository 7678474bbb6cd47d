//! The daemon socket's HTTP: who may connect, and what is served at which path.

pub(crate) mod addresses;
mod half_close;
pub(crate) mod health;
mod hijack;
pub(crate) mod socket;

use std::convert::Infallible;
use std::future::Future;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use keyway_local::{Credentials, KnownUids, Rule};
use keyway_rpc::{Body, Router};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::engine::Engine;
use crate::identity::Peer;
use crate::plugin::serve_manual;
use socket::Socket;

/// How many connections a daemon serves at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long a connection may be idle, or take to send the head of a request.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// How long to wait after accepting failed, for want of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who made a request; found in the extensions of each.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Arc<Peer>);

/// Serves the daemon's sockets.
pub(crate) struct Server {
    engine: Arc<Engine>,
    router: Router,
    permits: Arc<Semaphore>,
    known_uids: KnownUids,
}

impl Server {
    pub(crate) fn new(engine: Arc<Engine>, router: Router) -> Arc<Self> {
        Arc::new(Self {
            engine,
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
        loop {
            let permit = Arc::clone(&self.permits).acquire_owned();
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next() => {}
                (permit, accepted) = async { (permit.await, socket.accept().await) } => match accepted {
                    Ok(stream) => {
                        let connection = Arc::clone(&self).connection(
                            stream,
                            socket.address().as_path().is_some(),
                            told.clone(),
                        );
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
            peer: Arc::clone(&peer),
            client,
            hijacked,
        };
        // The upgraded stream can only be had after the connection has done with it, and the task that owns the connection
        // then owns the plugin as well.
        let serving = self.serve_http(stream, service, stop);
        if let Err(error) = serving.await {
            tracing::debug!(pid = peer.pid(), %error, "a connection ended early");
        }
        if let Some(upgrade) = hijack.recv().await {
            match hijack::stream(upgrade).await {
                Ok(io) => serve_manual(io, peer, Arc::clone(&self.engine)).await,
                Err(error) => {
                    tracing::warn!(pid = peer.pid(), %error, "a connection did not become a plugin connection")
                }
            }
        }
    }

    /// Refuses other users' processes. They are told nothing: the connection just closes.
    fn admit(&self, stream: &UnixStream, is_path_address: bool) -> Option<Arc<Peer>> {
        let credentials = match Credentials::of_peer(stream) {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "connection refused: the kernel gives no credentials");
                return None;
            }
        };
        let mut allowed = self.engine.config().allow_uids.clone().into_iter();
        let accepts = |rule: Rule| rule.accepts(credentials.uid, &self.known_uids);
        if !accepts(Rule::Own) && !allowed.any(|uid| accepts(Rule::Uid(uid))) {
            tracing::warn!(
                uid = credentials.uid,
                pid = credentials.raw_pid(),
                "a connection of another user was refused (`allow_uids`)"
            );
            return None;
        }
        Some(Arc::new(Peer::identify(
            stream.as_fd(),
            credentials,
            is_path_address,
        )))
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
        let response = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, health::PATH) => Either::Left(health::response()),
            (_, hijack::PATH) => Either::Left(hijack::answer(&mut request, &self.hijacked)),
            _ => {
                request
                    .extensions_mut()
                    .insert(Caller(Arc::clone(&self.peer)));
                Either::Right(self.router.clone().call(request))
            }
        };
        Box::pin(async move {
            let mut response = match response {
                Either::Left(response) => response,
                Either::Right(response) => response.await?,
            };
            if is_http1 && call.is_last() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response)
        })
    }
}
