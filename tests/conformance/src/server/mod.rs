//! The server that is tested.

mod service;

use anyhow::{Context, Result};
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use keyway_rpc::http1::{ServeConfig, serve};
use keyway_rpc::{Compression, Router};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tower_service::Service;

use self::service::{Conformance, Query};
use crate::frame;
use crate::suite::{
    ConformanceServiceServer, HttpVersion, ServerCompatRequest, ServerCompatResponse,
};

/// Reads what to serve, says where, and serves until it is told to stop.
///
/// # Errors
///
/// The suite's request cannot be read, or the server cannot be started.
pub async fn run() -> Result<()> {
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
    tokio::select! {
        served = listen(request.http_version(), listener, service) => served,
        _ = terminate.recv() => Ok(()),
    }
}

fn router(limit: usize) -> Router {
    let router = Router::new()
        .add_service(ConformanceServiceServer::new(Conformance))
        .compression(Compression::Gzip { min_size: 0 });
    if limit > 0 {
        router.max_message_size(limit)
    } else {
        router
    }
}

/// Serves HTTP/1.1 by this workspace's own server, and HTTP/2 by `hyper_util`'s, which also
/// understands HTTP/1.1 on the same port.
async fn listen(version: HttpVersion, listener: TcpListener, service: WithQuery) -> Result<()> {
    let connections = TcpListenerStream::new(listener);
    if version == HttpVersion::HttpVersion1 {
        let connections = connections.map(|io| io.map(TokioIo::new));
        let make_service = move |_: &_| service.clone();
        serve(
            connections,
            make_service,
            ServeConfig::default(),
            std::future::pending(),
        )
        .await;
        return Ok(());
    }
    let mut connections = connections;
    let mut tasks = JoinSet::new();
    while let Some(io) = connections.next().await {
        tasks.spawn(serve_auto(io?, service.clone()));
        while tasks.try_join_next().is_some() {}
    }
    Ok(())
}

async fn serve_auto(io: TcpStream, service: WithQuery) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(service);
    if let Err(error) = builder.serve_connection(TokioIo::new(io), service).await {
        eprintln!("a connection failed: {error}");
    }
}

/// Puts the query string of a request where handlers find it: the suite wants to hear about it.
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
