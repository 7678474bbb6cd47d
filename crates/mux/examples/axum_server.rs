//! An axum router on the streams of a session. Handlers receive the id of the stream and the peer.
//!
//! ```text
//! cargo run -p keyway-mux --example axum_server --features axum,connector,hyper-util
//! ```

use axum::{Router, extract::ConnectInfo, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use keyway_mux::{Config, Connector, Listener, Session, StreamInfo};
use tokio::net::{UnixStream, unix::UCred};

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn peer(ConnectInfo(info): ConnectInfo<StreamInfo>) -> String {
    let uid = info.peer::<UCred>().map(UCred::uid);
    format!(
        "stream {} of a {:?}, uid known: {}",
        info.id(),
        info.role(),
        uid.is_some()
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (near, far) = UnixStream::pair()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the example shows the credentials of its own process"
    )]
    let credentials = far.peer_cred()?;
    let (server, server_driver) = Session::server(far, Config::default());
    let server = server.with_peer(credentials);
    let (client, client_driver) = Session::client(near, Config::default());
    let drivers = [tokio::spawn(server_driver), tokio::spawn(client_driver)];

    // Ends connections that are idle when the client closes the session.
    let session = server.clone();
    let leaving = async move { session.peer_draining().await };
    let router = Router::new().route("/peer", get(peer));
    let serving = tokio::spawn(
        axum::serve(
            Listener::new(server),
            router.into_make_service_with_connect_info::<StreamInfo>(),
        )
        .with_graceful_shutdown(leaving)
        .into_future(),
    );

    let requests = Client::builder(TokioExecutor::new())
        .build::<_, Empty<Bytes>>(Connector::new(client.clone()));
    let response = requests.get("http://peer/peer".parse()?).await?;
    let body = response.into_body().collect().await?.to_bytes();
    print_line(&String::from_utf8(body.to_vec())?);

    client.close();
    client.closed().await?;
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
