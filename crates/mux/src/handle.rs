//! The handle of a session: open, accept, close.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    config::{Config, Role},
    driver::{Driver, Shared, State, Ticket},
    error::{AcceptError, OpenError, SessionError},
    io::Stream,
    stats::Stats,
};

/// One end of a yamux session. Clones are handles of the same session.
///
/// When the last handle is dropped, no new streams can come or go; the open ones go on, and the
/// session ends cleanly after them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use keyway_mux::{Config, Role, Session};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let (near, far) = tokio::net::UnixStream::pair()?;
/// let (client, driver) = Session::new(near, Role::Client, Config::default());
/// let client_driver = tokio::spawn(driver);
/// let (server, driver) = Session::new(far, Role::Server, Config::default());
/// let server_driver = tokio::spawn(driver);
///
/// let echo = tokio::spawn(async move {
///     let mut stream = server.accept().await?;
///     let mut word = [0; 5];
///     stream.read_exact(&mut word).await?;
///     stream.write_all(&word).await
/// });
/// let mut stream = client.open().await?;
/// stream.write_all(b"hello").await?;
/// let mut word = [0; 5];
/// stream.read_exact(&mut word).await?;
/// assert_eq!(&word, b"hello");
///
/// drop(stream);
/// echo.await??;
/// client.close().await?;
/// client_driver.await??;
/// server_driver.await??;
/// # Ok(())
/// # }
/// ```
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// Starts a session on a connection. Nothing happens until the [`Driver`] is polled.
    ///
    /// The two ends need different roles.
    pub fn new<T>(io: T, role: Role, config: Config) -> (Self, Driver)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Shared::new(Box::new(io), role, config);
        (
            Self {
                shared: Arc::clone(&shared),
            },
            Driver::new(shared),
        )
    }

    /// Which side of the session this end is.
    pub fn role(&self) -> Role {
        self.shared.with(|state| state.core.role())
    }

    /// Opens a stream. The peer learns of it with its first bytes, or when it is first read or
    /// flushed. Waits while [`Config::max_unacknowledged`] streams are not acknowledged.
    ///
    /// # Errors
    ///
    /// The session is over or closing, or the peer accepts no new streams. That the peer
    /// refused *this* stream shows in its first read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a future that was dropped has opened nothing.
    pub fn open(&self) -> Opening {
        Opening {
            shared: Arc::clone(&self.shared),
            ticket: Ticket::default(),
        }
    }

    /// Waits for a stream of the peer and acknowledges it.
    ///
    /// The acknowledgement never waits for what is done with the stream: it leaves with the next
    /// frames, at the latest after 5 ms. It is sent by the [`Driver`](crate::Driver), so a handler that
    /// blocks the driver's thread delays it; HashiCorp's implementation ends the session if it does
    /// not come within 75 s.
    ///
    /// Streams that nobody accepts wait in a backlog ([`Config::accept_backlog`]); several tasks
    /// may accept at the same time, and each stream goes to one of them.
    ///
    /// # Errors
    ///
    /// No stream will come any more: the session is over, or this end has closed it or sent
    /// [`go_away`](Self::go_away). That the *peer* accepts none is no reason, since it may still
    /// open some. Streams that waited when the peer ended the session come first; what they sent can
    /// be read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a future that was dropped has accepted nothing, and no stream is lost.
    pub fn accept(&self) -> Accepting {
        Accepting {
            shared: Arc::clone(&self.shared),
            ticket: Ticket::default(),
        }
    }

    /// Ends the session cleanly: sends GoAway(0), refuses new streams, waits for the open ones,
    /// at most [`Config::drain_timeout`], then resets what is left, and closes the connection
    /// when everything was sent. Resolves when the session is over, at once if it was.
    ///
    /// # Errors
    ///
    /// The session failed, now or before.
    ///
    /// # Cancel safety
    ///
    /// The end begins with the call; a future that was dropped changes nothing about it.
    pub fn close(&self) -> Closed {
        self.shared.with(|state| state.close(true));
        self.closed()
    }

    /// Tells the peer to open no new streams, and refuses those that come all the same. Streams
    /// that are open go on, and this end may still open some.
    pub fn go_away(&self) {
        self.shared.with(State::go_away);
    }

    /// Waits for the end of the session without causing it.
    ///
    /// # Errors
    ///
    /// The session failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn closed(&self) -> Closed {
        Closed {
            shared: Arc::clone(&self.shared),
            ticket: Ticket::default(),
        }
    }

    /// Waits until the peer accepts no new streams (GoAway), or the session is over.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn peer_draining(&self) -> PeerDraining {
        PeerDraining {
            shared: Arc::clone(&self.shared),
            ticket: Ticket::default(),
        }
    }

    /// Whether streams can be opened at the moment.
    pub fn is_open(&self) -> bool {
        self.shared
            .with(|state| !state.core.is_peer_draining() && !state.core.is_closing())
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.shared.with(|state| state.core.stats())
    }
}

impl Clone for Session {
    fn clone(&self) -> Self {
        self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.shared.sessions.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.with(|state| state.close(false));
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role())
            .finish_non_exhaustive()
    }
}

/// The future of [`Session::open`].
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct Opening {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Future for Opening {
    type Output = Result<Stream, OpenError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, ticket } = &mut *self;
        let opened = shared.with(|state| state.poll_open(cx, ticket));
        opened.map_ok(|key| Stream::new(Arc::clone(shared), key))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.ticket.is_waiting() {
            self.shared
                .with(|state| state.leave_opening(&mut self.ticket));
        }
    }
}

/// The future of [`Session::accept`]. It may be polled again after each stream.
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct Accepting {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Future for Accepting {
    type Output = Result<Stream, AcceptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, ticket } = &mut *self;
        let accepted = shared.with(|state| state.poll_accept(cx, ticket));
        accepted.map_ok(|key| Stream::new(Arc::clone(shared), key))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if self.ticket.is_waiting() {
            self.shared
                .with(|state| state.leave_accepting(&mut self.ticket));
        }
    }
}

/// The future of [`Session::close`] and [`Session::closed`].
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct Closed {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Future for Closed {
    type Output = Result<(), SessionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, ticket } = &mut *self;
        shared.with(|state| state.poll_closed(cx, ticket))
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if self.ticket.is_waiting() {
            self.shared
                .with(|state| state.leave_ending(&mut self.ticket));
        }
    }
}

/// The future of [`Session::peer_draining`].
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct PeerDraining {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Future for PeerDraining {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, ticket } = &mut *self;
        shared.with(|state| state.poll_peer_draining(cx, ticket))
    }
}

impl Drop for PeerDraining {
    fn drop(&mut self) {
        if self.ticket.is_waiting() {
            self.shared
                .with(|state| state.leave_ending(&mut self.ticket));
        }
    }
}
