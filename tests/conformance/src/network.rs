//! The network between the suite's peers and these: TCP alone, or one multiplexed session as well.

use std::io;

use anyhow::{Context, Result};
use keyway_mux::{Config, Session};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// The transport of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Each connection is a TCP connection.
    Direct,
    /// Each connection is also a stream of one yamux session within this process.
    ThroughMux,
}

impl Network {
    /// Reads the arguments of the process.
    ///
    /// # Errors
    ///
    /// An argument is not understood.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut network = Self::Direct;
        for argument in arguments {
            anyhow::ensure!(argument == "--through-mux", "unknown argument `{argument}`");
            network = Self::ThroughMux;
        }
        Ok(network)
    }
}

/// A byte stream of any kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Both ends of a session over a socket pair; the tasks are its drivers.
pub(crate) fn session_pair(tasks: &mut JoinSet<()>) -> Result<(Session, Session)> {
    let (near, far) = UnixStream::pair().context("making a socket pair")?;
    let (client, client_driver) = Session::client(near, Config::default());
    let (server, server_driver) = Session::server(far, Config::default());
    for driver in [client_driver, server_driver] {
        tasks.spawn(async move {
            if let Err(error) = driver.await {
                eprintln!("the session failed: {error}");
            }
        });
    }
    Ok((client, server))
}

/// Opens a stream for each TCP connection and copies between the two.
pub(crate) async fn bridge_to_session(listener: TcpListener, session: Session) -> Result<()> {
    let mut copies = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.context("accepting a connection")?;
        let stream = session.open().await.context("opening a stream")?;
        copies.spawn(copy(tcp, stream));
        while copies.try_join_next().is_some() {}
    }
}

/// Connects every stream to the local port that its first two bytes name, and copies between the
/// two.
pub(crate) async fn bridge_from_session(session: Session) {
    let mut copies = JoinSet::new();
    while let Ok(Some(mut stream)) = session.accept().await {
        copies.spawn(async move {
            let connected = async {
                let port = stream.read_u16().await?;
                TcpStream::connect(("127.0.0.1", port)).await
            };
            match connected.await {
                Ok(tcp) => copy(tcp, stream).await,
                Err(error) => eprintln!("bridging a stream failed: {error}"),
            }
        });
        while copies.try_join_next().is_some() {}
    }
}

/// Opens a stream to a local port, by the other end of the session.
pub(crate) async fn dial(session: &Session, port: u16) -> io::Result<impl Io + use<>> {
    let mut stream = session.open().await.map_err(io::Error::other)?;
    stream.write_u16(port).await?;
    Ok(stream)
}

/// An error here means that one side disconnected, which the other side detects.
async fn copy(mut tcp: TcpStream, mut stream: impl Io) {
    if let Err(error) = tcp.set_nodelay(true) {
        eprintln!("TCP_NODELAY: {error}");
    }
    let _ = copy_bidirectional(&mut tcp, &mut stream).await;
}
