//! HTTP on one socket in both directions: each end serves requests and makes some.
//!
//! ```text
//! cargo run -p keyway-mux --example hyper_both_ways --features connector,hyper-util
//! ```

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use keyway_mux::{Config, Connector, Listener, Session};
use tokio::{net::UnixStream, task::JoinSet};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Responds to every request with the end's name and the path.
async fn serve(session: Session, name: &'static str) {
    let mut listener = Listener::new(session);
    let mut connections = JoinSet::new();
    while let Some(Ok(stream)) = listener.next().await {
        let respond = move |request: Request<Incoming>| async move {
            let text = format!("{name} received {}", request.uri().path());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        };
        let server = hyper::server::conn::http1::Builder::new();
        connections.spawn(server.serve_connection(stream, service_fn(respond)));
    }
    while connections.join_next().await.is_some() {}
}

/// Sends a request to the other end, on a fresh stream.
async fn request(session: Session, path: &str) -> Result<String, Error> {
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build::<_, Full<Bytes>>(Connector::new(session));
    let response = client.get(format!("http://peer{path}").parse()?).await?;
    Ok(String::from_utf8(
        response.into_body().collect().await?.to_bytes().to_vec(),
    )?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (near, far) = UnixStream::pair()?;
    let (left, left_driver) = Session::client(near, Config::default());
    let (right, right_driver) = Session::server(far, Config::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { left_driver.await.map_err(Error::from) });
    tasks.spawn(async move { right_driver.await.map_err(Error::from) });
    let serving = [
        tokio::spawn(serve(left.clone(), "left")),
        tokio::spawn(serve(right.clone(), "right")),
    ];

    print_line(&request(left.clone(), "/from/left").await?);
    print_line(&request(right, "/from/right").await?);

    left.close();
    left.closed().await?;
    for server in serving {
        server.await?;
    }
    while let Some(driver) = tasks.join_next().await {
        driver??;
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn print_line(line: &str) {
    println!("{line}");
}
