//! gRPC on one stream of a session: tonic's server takes the listener, its channel the connector.
//!
//! The service is written by hand and only knows its path, so that nothing has to be generated.
//!
//! ```text
//! cargo run -p keyway-mux --example tonic_channel --features tonic
//! ```

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response};
use keyway_mux::{Config, Connector, Listener, Role, Session, StreamInfo};
use tokio::net::UnixStream;
use tonic::{body::Body, server::NamedService, transport::Endpoint};
use tower_service::Service;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Answers every call with status OK and the number of its stream.
#[derive(Clone)]
struct WhichStream;

impl NamedService for WhichStream {
    const NAME: &'static str = "example.WhichStream";
}

impl Service<Request<Body>> for WhichStream {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let info = request.extensions().get::<StreamInfo>();
        let stream = info.map_or(0, |info| info.id().get());
        let mut response = Response::new(Body::default());
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        headers.insert("stream", stream.into());
        ready(Ok(response))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (near, far) = UnixStream::pair()?;
    let (client, client_driver) = Session::new(near, Role::Client, Config::default());
    let (server, server_driver) = Session::new(far, Role::Server, Config::default());
    let drivers = [tokio::spawn(client_driver), tokio::spawn(server_driver)];
    let router = tonic::transport::Server::builder().add_service(WhichStream);
    let serving = tokio::spawn(router.serve_with_incoming(Listener::new(server)));

    let connector = Connector::new(client.clone());
    let mut channel = Endpoint::from_static("http://peer")
        .connect_with_connector(connector)
        .await?;
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let call = Request::post("/example.WhichStream/Ask").body(Body::default())?;
    let response = channel.call(call).await?;
    print_line(&format!(
        "answered on stream {:?}",
        response.headers()["stream"]
    ));

    drop(response);
    drop(channel);
    client.close().await?;
    serving.await??;
    for driver in drivers {
        driver.await??;
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn print_line(line: &str) {
    println!("{line}");
}
