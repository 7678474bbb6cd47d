//! gRPC on the streams of a session, in both directions: tonic's server takes the listener, its channels the
//! connector.
//!
//! The service is implemented without generated code.
//!
//! ```text
//! cargo run -p keyway-mux --example tonic_channel --features connector,hyper,tonic
//! ```

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response};
use keyway_mux::{Config, Connector, Listener, Session, StreamInfo};
use tokio::{
    net::{UnixStream, unix::UCred},
    sync::oneshot,
    task::JoinSet,
};
use tonic::{
    body::Body,
    server::NamedService,
    transport::{Channel, Endpoint, Server},
};
use tower_service::Service;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Responds to every call with status OK, the id of its stream, and whether the caller is known.
#[derive(Clone)]
struct Identity;

impl NamedService for Identity {
    const NAME: &'static str = "example.Identity";
}

impl Service<Request<Body>> for Identity {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Methods of generated services find it in the extensions of their `tonic::Request`.
        let info = request.extensions().get::<StreamInfo>();
        let stream = info.map_or(0, |info| info.id().get());
        let is_known = info.and_then(|info| info.peer::<UCred>()).is_some();
        let known = if is_known { "yes" } else { "no" };
        let mut response = Response::new(Body::default());
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        headers.insert("stream", stream.into());
        headers.insert("known", HeaderValue::from_static(known));
        ready(Ok(response))
    }
}

/// Serves the other end's calls until it is stopped, or the other end closes.
async fn serve(
    session: Session,
    stopped: oneshot::Receiver<()>,
) -> Result<(), tonic::transport::Error> {
    let listener = Listener::new(session.clone());
    let last_call = async move {
        tokio::select! {
            _ = stopped => {}
            // The other end's close waits for the connections that its channels keep.
            () = session.peer_draining() => {}
        }
        // Later calls are refused at once, instead of waiting for a stopped server.
        session.go_away();
    };
    Server::builder()
        // HTTP/2 ends a connection whose callers cancel more calls than this before their start.
        .http2_max_pending_accept_reset_streams(Some(200))
        .add_service(Identity)
        .serve_with_incoming_shutdown(listener, last_call)
        .await
}

/// A channel is one stream; it can make many calls at a time.
async fn channel(session: &Session) -> Result<Channel, Error> {
    // The name is ignored.
    let endpoint = Endpoint::from_static("http://peer");
    let connector = Connector::new(session.clone());
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// Makes a call as the clients of generated services do.
async fn call(mut channel: Channel) -> Result<String, Error> {
    poll_fn(|cx| channel.poll_ready(cx)).await?;
    let call = Request::post("/example.Identity/Get").body(Body::default())?;
    let response = channel.call(call).await?;
    let [stream, known] = ["stream", "known"].map(|name| &response.headers()[name]);
    Ok(format!(
        "response on stream {stream:?}, caller known: {known:?}"
    ))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (near, far) = UnixStream::pair()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the example shows the credentials of its own process"
    )]
    let (near_peer, far_peer) = (near.peer_cred()?, far.peer_cred()?);
    let (left, left_driver) = Session::client(near, Config::default());
    let (right, right_driver) = Session::server(far, Config::default());
    let (left, right) = (left.with_peer(near_peer), right.with_peer(far_peer));
    let drivers = [tokio::spawn(left_driver), tokio::spawn(right_driver)];
    let (stop, stopped) = oneshot::channel();
    // The left end stops when the right one does.
    let (_never, not_stopped) = oneshot::channel();
    let mut servers = JoinSet::new();
    servers.spawn(serve(left.clone(), not_stopped));
    servers.spawn(serve(right.clone(), stopped));

    print_line(&call(channel(&left).await?).await?);
    print_line(&call(channel(&right).await?).await?);

    let _ = stop.send(());
    while let Some(served) = servers.join_next().await {
        served??;
    }
    right.close();
    right.closed().await?;
    for driver in drivers {
        driver.await??;
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn print_line(line: &str) {
    println!("{line}");
}
