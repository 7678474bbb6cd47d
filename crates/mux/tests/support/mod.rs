//! Pairs of sessions for the tests.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::Duration;

use keyway_mux::{Config, Role, Session, SessionError};
use tokio::{net::UnixStream, task::JoinHandle};

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

/// One end on a socket.
pub(crate) fn end(io: UnixStream, role: Role, config: Config) -> End {
    let (session, driver) = Session::new(io, role, config);
    End {
        session,
        driver: tokio::spawn(driver),
    }
}

/// Fails a test that hangs, long before anybody gives up on it.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not end within 20 seconds"),
    }
}

/// Waits until a condition holds that other tasks bring about.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    bounded(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
