//! The multiplexer beside the bare socket pair and other multiplexers.

mod beside;
mod bulk;
mod calls;
mod counted;
mod idle;
mod others;

pub use self::beside::{Latencies, latencies};
pub use self::bulk::{BULK, bulk};
pub use self::calls::calls;
pub use self::counted::{Counted, Counts, SystemCalls, counted_calls};
pub use self::idle::idle;

use keyway_mux::{Config, Session};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::spawn_local;

/// Both ends of a session on two connections, their drivers in local tasks.
fn sessions_on<T>(near: T, far: T) -> (Session, Session)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = || Config::default().max_streams(32 * 1024);
    let (client, client_driver) = Session::client(near, config());
    let (server, server_driver) = Session::server(far, config());
    spawn_local(client_driver);
    spawn_local(server_driver);
    (client, server)
}

/// Both ends of a session over a socket pair.
fn sessions() -> (Session, Session) {
    let (near, far) = UnixStream::pair().expect("a socket pair");
    sessions_on(near, far)
}

/// Serves one call and drops the stream, as HTTP servers do: its end leaves with the response.
async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    echo(&mut stream).await;
}

/// Serves one call and shuts the stream down.
async fn respond_and_shut_down(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    echo(&mut stream).await;
    stream
        .shutdown()
        .await
        .expect("the stream can be shut down");
}

/// Reads 64 bytes and sends them back.
async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut buffer = [0; 64];
    stream
        .read_exact(&mut buffer)
        .await
        .expect("the client sends a request");
    stream
        .write_all(&buffer)
        .await
        .expect("the client reads the response");
}

/// Makes one call as the client and drops the stream. Its end leaves with the next request; `shutdown` would wait until
/// it has left alone.
async fn request(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    exchange(&mut stream).await;
}

/// Makes one call as the client and shuts the stream down.
async fn request_and_shut_down(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    exchange(&mut stream).await;
    stream
        .shutdown()
        .await
        .expect("the stream can be shut down");
}

/// Sends 64 bytes and reads the response.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut buffer = [7; 64];
    stream.write_all(&buffer).await.expect("the server reads");
    stream
        .read_exact(&mut buffer)
        .await
        .expect("the server responds");
    assert_eq!(buffer, [7; 64]);
}

/// Serves every stream of a session in a task.
async fn serve(server: Session) {
    while let Ok(Some(stream)) = server.accept().await {
        spawn_local(respond(stream));
    }
}
