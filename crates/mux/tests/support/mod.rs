//! Pairs of sessions for the tests.
//!
//! Tests with paused time poll a future only after a wake-up: with no task awake the
//! runtime jumps to the next timer, so a lost wake-up runs into [`bounded`] at once.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

mod controlled;
mod peer;
mod random;

use std::time::Duration;

use keyway_mux::{Config, Driver, Role, Session, SessionError, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    task::JoinHandle,
};

pub(crate) use keyway_test_support::wire::{Wire, wire};

pub(crate) use keyway_test_support::frame::{Flags, Frame, FrameDecoder, Kind};

pub(crate) use self::{
    controlled::{Control, controlled},
    peer::{Peer, decode_all},
    random::Random,
};

/// A session whose driver runs in a task.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) driver: JoinHandle<Result<(), SessionError>>,
}

/// A client and a server on a socket pair, both with the default configuration.
pub(crate) fn pair() -> (End, End) {
    pair_with(Config::default(), Config::default())
}

/// A client and a server on a socket pair.
pub(crate) fn pair_with(client: Config, server: Config) -> (End, End) {
    let (near, far) = UnixStream::pair().unwrap();
    (
        end(near, Role::Client, client),
        end(far, Role::Server, server),
    )
}

/// A client and a server on a wire in memory, for tests that control the time.
pub(crate) fn wired_pair(capacity: usize, chunk: usize) -> (End, End) {
    wired_pair_with(capacity, chunk, Config::default(), Config::default())
}

/// The same with configurations.
pub(crate) fn wired_pair_with(
    capacity: usize,
    chunk: usize,
    client: Config,
    server: Config,
) -> (End, End) {
    let (near, far) = wire(capacity, chunk);
    (
        end(near, Role::Client, client),
        end(far, Role::Server, server),
    )
}

/// One end on a connection.
pub(crate) fn end<T>(io: T, role: Role, config: Config) -> End
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (session, driver) = match role {
        Role::Client => Session::client(io, config),
        Role::Server => Session::server(io, config),
    };
    End {
        session,
        driver: tokio::spawn(driver),
    }
}

impl End {
    /// Waits for the end, which must be clean.
    pub(crate) async fn finished(self) {
        drop(self.session);
        bounded("the driver", self.driver).await.unwrap().unwrap();
    }
}

/// Closes a session and waits for its end.
pub(crate) async fn close(session: &Session) -> Result<(), SessionError> {
    session.close();
    session.closed().await
}

/// A stream that both ends hold, after one byte each way.
pub(crate) async fn stream(client: &Session, server: &Session) -> (Stream, Stream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut near = bounded("opening", client.open()).await.unwrap();
    near.write_all(b"?").await.unwrap();
    near.flush().await.unwrap();
    let mut far = bounded("accepting", server.accept())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'?');
    far.write_all(b"!").await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'!');
    (near, far)
}

/// Fails a test that hangs, long before the time limit of the test run.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(Duration::from_secs(20), what, future).await
}

/// The same for a test that computes for so long that a busy machine needs more.
pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(Duration::from_secs(300), what, future).await
}

async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not end within {limit:?}"),
    }
}

/// Waits until a condition holds that other tasks cause.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    patiently(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
