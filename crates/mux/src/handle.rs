//! The handle of a session: open, accept, ping, close.

mod open;

use std::{any::Any, sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    config::{Config, Role},
    driver::{Connection, Driver, Shared, State},
    error::{OpenError, SessionError, StreamId},
    info::{PeerFacts, StreamInfo},
    io::Stream,
    stats::Stats,
    streams::Key,
};

pub use self::open::Open;

/// One end of a yamux session. Clones are handles of the same session.
///
/// When the last handle is dropped, neither end can open streams any more; the session closes cleanly when the open
/// streams have ended.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use keyway_mux::{Config, Session};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let (near, far) = tokio::net::UnixStream::pair()?;
/// let (client, client_driver) = Session::client(near, Config::default());
/// let client_driver = tokio::spawn(client_driver);
/// let (server, server_driver) = Session::server(far, Config::default());
/// let server_driver = tokio::spawn(server_driver);
///
/// let echo = tokio::spawn(async move {
///     while let Some(mut stream) = server.accept().await? {
///         let mut word = [0; 5];
///         stream.read_exact(&mut word).await?;
///         stream.write_all(&word).await?;
///     }
///     Ok::<_, std::io::Error>(())
/// });
/// let mut stream = client.open().await?;
/// stream.write_all(b"hello").await?;
/// let mut word = [0; 5];
/// stream.read_exact(&mut word).await?;
/// assert_eq!(&word, b"hello");
///
/// drop(stream);
/// client.close();
/// client.closed().await?;
/// echo.await??;
/// client_driver.await??;
/// server_driver.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    handle: Arc<Handle>,
    role: Role,
    peer: Option<PeerFacts>,
}

impl Session {
    /// Starts a session in the client's role on a connection. Nothing happens until the [`Driver`] is polled.
    ///
    /// The other end must be a server.
    pub fn client<T>(io: T, config: Config) -> (Self, Driver)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::new(Box::new(io), Role::Client, config)
    }

    /// Starts a session in the server's role on a connection. Nothing happens until the [`Driver`] is polled.
    ///
    /// The other end must be a client. Both ends can open streams, whatever their role.
    pub fn server<T>(io: T, config: Config) -> (Self, Driver)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::new(Box::new(io), Role::Server, config)
    }

    fn new(io: Box<dyn Connection>, role: Role, config: Config) -> (Self, Driver) {
        let shared = Shared::new(io, role, config);
        let driver = Driver::new(Arc::clone(&shared));
        let session = Self {
            handle: Arc::new(Handle { shared }),
            role,
            peer: None,
        };
        (session, driver)
    }

    /// Attaches the facts of the peer, for instance the credentials that the kernel reports of it.
    ///
    /// Streams that this handle or one of its later clones opens or accepts have the facts in their
    /// [`StreamInfo`]. Facts that were attached before are replaced.
    #[must_use]
    pub fn with_peer<T: Any + Send + Sync>(mut self, facts: T) -> Self {
        self.peer = Some(Arc::new(facts));
        self
    }

    /// Returns the role of this end.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Opens a stream. The peer learns of it with its first bytes, or when it is first read or
    /// flushed.
    ///
    /// Two limits apply:
    ///
    /// | limit | beyond it |
    /// |---|---|
    /// | [`Config::max_unacknowledged`]: streams that the peer has not acknowledged | `open` waits, because peers acknowledge soon |
    /// | [`Config::max_streams`]: all streams of the session | `open` fails, because streams may stay open for any time |
    ///
    /// # Errors
    ///
    /// Returns [`OpenError`] if the session is closing, closed or failed, if the peer accepts no new streams, or at the
    /// second limit. A peer that refuses *this* stream fails its first read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped, it has opened nothing.
    pub fn open(&self) -> Open {
        Open::new(self.clone())
    }

    /// Opens a stream like [`open`](Self::open), without waiting.
    ///
    /// # Errors
    ///
    /// Returns [`OpenError::TooManyUnacknowledged`] where `open` would wait, and the errors of `open`.
    pub fn try_open(&self) -> Result<Stream, OpenError> {
        let key = self.shared().with(State::try_open)?;
        Ok(self.stream(key))
    }

    /// Waits for a stream of the peer and acknowledges it. Returns `None` if no stream will arrive any more, because
    /// the session was closed by either end, or this end has sent [`go_away`](Self::go_away).
    ///
    /// The acknowledgement does not wait until the stream is used: it is sent with the next frame of the session, at the
    /// latest after 5 ms. The [`Driver`] sends it, so a task that blocks the driver's thread delays
    /// it; HashiCorp's implementation ends a session if an acknowledgement takes more than 75 s.
    ///
    /// Streams wait in an accept queue ([`Config::accept_backlog`]). Several tasks
    /// may accept at the same time, and each stream is returned to one of them. Streams that the peer opened before it ended
    /// the session are returned first, and their data can be read. GoAway of the *peer* does not end
    /// accepting, because the peer may still open streams.
    ///
    /// # Errors
    ///
    /// Returns [`SessionError`] if the session failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped, it has accepted nothing, and no stream is lost.
    pub async fn accept(&self) -> Result<Option<Stream>, SessionError> {
        let shared = self.shared();
        let accepted = shared.until(&shared.waits.accept, State::poll_accept);
        Ok(accepted.await?.map(|key| self.stream(key)))
    }

    /// Starts a clean end of the session: sends GoAway, refuses new streams, lets the open ones finish for at most
    /// [`Config::drain_timeout`], then resets those that are left, and closes the connection
    /// when everything was sent. [`closed`](Self::closed) waits for it.
    pub fn close(&self) {
        self.shared().with(|state| state.close(true));
    }

    /// Waits for the end of the session without causing it.
    ///
    /// `Ok` means that the connection took all bytes that streams had taken, and that no stream was cut off.
    ///
    /// # Errors
    ///
    /// Returns [`SessionError`] if the session failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) -> Result<(), SessionError> {
        let shared = self.shared();
        let ended = |state: &mut State| state.core.poll_ended();
        shared.until(&shared.waits.end, ended).await
    }

    /// Sends GoAway: the peer is to open no new streams, and any that it opens later is refused. Open
    /// streams continue, and this end may still open some.
    pub fn go_away(&self) {
        self.shared().with(|state| state.core.go_away());
    }

    /// Waits until the peer accepts no new streams (GoAway), or the session ends.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn peer_draining(&self) {
        let shared = self.shared();
        let draining = |state: &mut State| state.core.poll_peer_draining();
        shared.until(&shared.waits.end, draining).await;
    }

    /// Returns whether this end can never open a stream again: either end has begun to close the session, the peer has
    /// sent GoAway, or the session has ended.
    pub fn is_closing(&self) -> bool {
        self.shared().with(|state| state.core.is_closing())
    }

    /// Measures the round-trip time: sends a ping and waits for the response. Calls at the same time share one ping.
    ///
    /// A peer that sends nothing at all for [`Config::keep_alive_timeout`] after the ping loses its session. A peer
    /// that sends other frames but does not acknowledge pings makes this call wait until the session ends.
    ///
    /// # Errors
    ///
    /// Returns [`SessionError::Closed`] if the session was closed before the response arrived, and the reason if
    /// it failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ping(&self) -> Result<Duration, SessionError> {
        let shared = self.shared();
        let value = shared.with(State::ping)?;
        let acknowledged = |state: &mut State| state.core.poll_ping(value);
        shared.until(&shared.waits.pong, acknowledged).await
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        self.shared().with(|state| state.core.stats())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Returns the handle of a stream.
    pub(crate) fn stream(&self, key: Key) -> Stream {
        let info = StreamInfo {
            id: StreamId(key.id),
            role: self.role,
            peer: self.peer.clone(),
        };
        Stream::new(Arc::clone(self.shared()), key, info)
    }
}

/// The state that all clones of a session share.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(|state| state.close(false));
    }
}
