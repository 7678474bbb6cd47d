//! One program on either engine: it is generic over [`Engine`], and the two ends understand each
//! other whichever they run.
//!
//! ```text
//! cargo run -p keyway-mux --example two_engines --features backend-yamux
//! ```

use keyway_mux::{Config, Engine, Role, Session, backend::YamuxSession};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Echoes one stream of any engine.
async fn echo<E>(engine: E) -> Result<(), Error>
where
    E: Engine,
    E::Stream: AsyncRead + AsyncWrite,
{
    let mut stream = engine.accept().await?;
    let mut text = [0; 5];
    stream.read_exact(&mut text).await?;
    stream.write_all(&text).await?;
    stream.shutdown().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (near, far) = UnixStream::pair()?;
    let (client, client_driver) = Session::new(near, Role::Client, Config::default());
    let (server, server_driver) = YamuxSession::new(far, Role::Server);
    let client_driver = tokio::spawn(client_driver);
    let server_driver = tokio::spawn(server_driver);
    let echoing = tokio::spawn(echo(server));

    let mut stream = client.open().await?;
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    print_line(&text);

    echoing.await??;
    drop(stream);
    client.close().await?;
    client_driver.await??;
    server_driver.await??;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn print_line(line: &str) {
    println!("{line}");
}
