//! The bytes of a Connect call by hyper, with nothing that knows Connect around it.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyway_mux::{Config, Session};
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::spawn_local;

use super::{Contender, Payload};

/// One connection for all calls.
pub struct HyperKeptAlive {
    sender: SendRequest<Full<Bytes>>,
    message: Bytes,
}

/// A fresh stream of one multiplexed session for each call, with hyper's connection in a task of
/// its own, as hyper's documentation has it.
pub struct HyperFreshStream {
    session: Session,
    message: Bytes,
}

impl Contender for HyperKeptAlive {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        spawn_local(serve(TokioIo::new(far)));
        let sender = connect(TokioIo::new(near)).await;
        Self {
            sender,
            message: Payload::sample().encode_to_vec().into(),
        }
    }

    async fn call(&mut self) {
        let response = exchange(&mut self.sender, self.message.clone()).await;
        assert_eq!(response, self.message);
    }
}

impl Contender for HyperFreshStream {
    async fn start() -> Self {
        let (session, server) = sessions();
        spawn_local(async move {
            while let Ok(Some(stream)) = server.accept().await {
                spawn_local(serve(stream));
            }
        });
        Self {
            session,
            message: Payload::sample().encode_to_vec().into(),
        }
    }

    async fn call(&mut self) {
        let stream = self.session.open().await.expect("the session is open");
        let mut sender = connect(stream).await;
        let response = exchange(&mut sender, self.message.clone()).await;
        assert_eq!(response, self.message);
    }
}

/// Both ends of a session over a socket pair, their drivers in local tasks.
pub(super) fn sessions() -> (Session, Session) {
    let (near, far) = UnixStream::pair().expect("a socket pair");
    let (client, client_driver) = Session::client(near, Config::default());
    let (server, server_driver) = Session::server(far, Config::default());
    spawn_local(client_driver);
    spawn_local(server_driver);
    (client, server)
}

async fn connect(io: impl Read + Write + Unpin + 'static) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("a handshake sends nothing");
    spawn_local(connection);
    sender
}

async fn exchange(sender: &mut SendRequest<Full<Bytes>>, message: Bytes) -> Bytes {
    let request = Request::post("/bench.Echo/Echo")
        .header("host", "localhost")
        .header("content-type", "application/proto")
        .header("connect-protocol-version", "1")
        .body(Full::new(message))
        .expect("a valid request");
    sender.ready().await.expect("the connection is open");
    let response = sender
        .send_request(request)
        .await
        .expect("the server responds");
    response
        .into_body()
        .collect()
        .await
        .expect("the body is complete")
        .to_bytes()
}

async fn serve(io: impl Read + Write + Unpin + 'static) {
    let mut builder = http1::Builder::new();
    builder.auto_date_header(false);
    let ended = builder.serve_connection(io, service_fn(echo)).await;
    ended.expect("the client is well-behaved");
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let message = request
        .into_body()
        .collect()
        .await
        .expect("the body is complete")
        .to_bytes();
    let response = Response::builder()
        .header("content-type", "application/proto")
        .body(Full::new(message))
        .expect("a valid response");
    Ok(response)
}
