//! The server under test.

mod service;

use std::io;

use anyhow::{Context, Result};
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use keyway_http::{Limits, serve};
use keyway_mux::Listener;
use keyway_rpc::{Compression, Router};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tower_service::Service;

use self::service::{Conformance, Query};
use crate::frame;
use crate::network::{Io, Network, bridge_to_session, session_pair};
use crate::suite::{
    ConformanceServiceServer, HttpVersion, ServerCompatRequest, ServerCompatResponse,
};

/// Reads the suite's request, reports the address, and serves until SIGTERM.
///
/// # Errors
///
/// The suite's request cannot be read, or the server cannot be started.
pub async fn run(network: Network) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let request: ServerCompatRequest = frame::read(&mut tokio::io::stdin())
        .await?
        .context("the input ended before a request")?;
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .context("binding a port")?;
    let response = ServerCompatResponse {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr()?.port().into(),
        pem_cert: Vec::new(),
    };
    frame::write(&mut tokio::io::stdout(), &response).await?;
    let service = WithQuery(router(request.message_receive_limit as usize));
    let serving = async {
        let version = request.http_version();
        match network {
            Network::Direct => {
                serve_all(version, TcpListenerStream::new(listener), service).await;
                Ok(())
            }
            Network::ThroughMux => serve_through_mux(version, listener, service).await,
        }
    };
    tokio::select! {
        served = serving => served,
        _ = terminate.recv() => Ok(()),
    }
}

/// The file with the encoded descriptors of the suite's service and messages.
pub const DESCRIPTORS_PATH: &str = concat!(
    env!("OUT_DIR"),
    "/connectrpc.conformance.v1.descriptors.bin"
);

/// Serves the suite's service on a TCP port, with HTTP/1.1 and HTTP/2 by `hyper_util`'s server,
/// until the future is dropped.
pub async fn serve_listener(listener: TcpListener) {
    let connections = TcpListenerStream::new(listener);
    serve_all(HttpVersion::HttpVersion2, connections, WithQuery(router(0))).await;
}

/// Serves the suite's service on a TCP port, with HTTP/1.1 by this workspace's own server, until
/// the future is dropped.
pub async fn serve_listener_http1(listener: TcpListener) {
    let connections = TcpListenerStream::new(listener);
    serve_all(HttpVersion::HttpVersion1, connections, WithQuery(router(0))).await;
}

fn router(limit: usize) -> Router {
    let limit = if limit > 0 { limit } else { 16 * 1024 * 1024 };
    Router::new()
        .add_service(ConformanceServiceServer::new(Conformance))
        .compression(Compression::Gzip { min_size: 0 })
        .max_message_size(limit)
}

/// Every TCP connection becomes a stream of one session, and the streams are served.
async fn serve_through_mux(
    version: HttpVersion,
    listener: TcpListener,
    service: WithQuery,
) -> Result<()> {
    let mut drivers = JoinSet::new();
    let (client, server) = session_pair(&mut drivers)?;
    tokio::select! {
        bridged = bridge_to_session(listener, client) => bridged,
        () = serve_all(version, Listener::new(server), service) => Ok(()),
    }
}

/// Serves HTTP/1.1 by this workspace's own server, and HTTP/2 by `hyper_util`'s, which also
/// understands HTTP/1.1 on the same connections.
async fn serve_all<I: Io + 'static>(
    version: HttpVersion,
    mut connections: impl Stream<Item = io::Result<I>> + Unpin,
    service: WithQuery,
) {
    if version == HttpVersion::HttpVersion1 {
        let make_service = move |_: &_, _| service.clone();
        let forever = std::future::pending();
        serve(connections, make_service, Limits::default(), forever).await;
        return;
    }
    let mut tasks = JoinSet::new();
    while let Some(accepted) = connections.next().await {
        match accepted {
            Ok(io) => drop(tasks.spawn(serve_auto(io, service.clone()))),
            Err(error) => eprintln!("accepting a connection failed: {error}"),
        }
        while tasks.try_join_next().is_some() {}
    }
}

async fn serve_auto(io: impl Io + 'static, service: WithQuery) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection(TokioIo::new(io), service);
    if let Err(error) = connection.await {
        eprintln!("a connection failed: {error}");
    }
}

/// Adds the query string of a request to its extensions, because the suite requires it in the response.
#[derive(Clone)]
struct WithQuery(Router);

impl<B> Service<Request<B>> for WithQuery
where
    Router: Service<Request<B>>,
{
    type Response = <Router as Service<Request<B>>>::Response;
    type Error = <Router as Service<Request<B>>>::Error;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(query) = request.uri().query() {
            let query = Query(query.to_owned());
            request.extensions_mut().insert(query);
        }
        self.0.call(request)
    }
}
