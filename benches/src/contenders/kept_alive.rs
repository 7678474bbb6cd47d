//! A tower service over one HTTP/1.1 connection of hyper, for clients that are generic over one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tower_service::Service;

/// The connection; its clones share it.
pub(super) struct KeptAlive<B>(Arc<Mutex<SendRequest<B>>>);

impl<B> KeptAlive<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    pub(super) async fn connect(io: UnixStream) -> Self {
        let (sender, connection) = handshake(TokioIo::new(io))
            .await
            .expect("a handshake sends nothing");
        spawn_local(connection);
        Self(Arc::new(Mutex::new(sender)))
    }
}

impl<B> Clone for KeptAlive<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Body + Send + 'static> Service<Request<B>> for KeptAlive<B> {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let sender = Arc::clone(&self.0);
        Box::pin(async move {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
            let host = HeaderValue::from_static("localhost");
            request.headers_mut().insert(HOST, host);
            let mut sender = sender.lock().await;
            sender.ready().await?;
            sender.send_request(request).await
        })
    }
}
