//! Sessions on the `yamux` crate, with the interface of `keyway-mux` as far as the crate has it.
//!
//! It is a peer of differential tests and a yardstick of benchmarks. Features that it lacks (`yamux` 0.14.1):
//!
//! | | `keyway-mux` | the `yamux` crate |
//! |---|---|---|
//! | a peer that drains with GoAway(0) | streams run to their end | the session ends, responses are cut off |
//! | acknowledging a stream | when it is accepted | with the first byte of its response; a Go peer ends the session after 75 s without |
//! | a clean close that waits for open streams | yes, bounded | streams are cut off |
//! | keep-alive | every 30 s, in both directions | responds to pings only |
//! | what ends a stalled connection | a timeout | nothing |
//! | reset of one stream by its user | yes | no |
//! | refused streams | `ConnectionRefused` | look like an end or a reset |
//! | counters | yes | no |

mod driver;
mod http;

use std::{fmt, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, mpsc, oneshot, watch},
};
use tokio_util::compat::Compat;
use yamux::{ConnectionError, Mode};

use self::driver::{Command, Ending};
pub use self::{
    driver::YamuxDriver,
    http::{YamuxConnector, YamuxListener},
};

/// Number of streams of the peer that may wait to be accepted; more are dropped.
const ACCEPT_BACKLOG: usize = 256;

/// Number of `open` calls that may wait for the driver.
const OPEN_BACKLOG: usize = 256;

/// One stream of a [`YamuxSession`], as an I/O object of tokio.
pub type YamuxStream = Compat<yamux::Stream>;

/// Error of a session on the `yamux` crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YamuxError {
    /// The session is closed, or its driver was dropped.
    #[error("the session is closed")]
    Closed,
    /// The `yamux` crate reported an error.
    #[error("the session failed")]
    Connection(#[source] Arc<ConnectionError>),
}

impl From<ConnectionError> for YamuxError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Closed => Self::Closed,
            error => Self::Connection(Arc::new(error)),
        }
    }
}

/// One end of a session on the `yamux` crate. Clones are handles of the same session.
#[derive(Clone)]
pub struct YamuxSession {
    commands: mpsc::Sender<Command>,
    accepted: Arc<Mutex<mpsc::Receiver<YamuxStream>>>,
    ending: watch::Receiver<Ending>,
}

impl YamuxSession {
    /// Starts a session in the client's role. Nothing happens until the [`YamuxDriver`] is polled.
    pub fn client<T>(io: T) -> (Self, YamuxDriver)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::new(io, Mode::Client)
    }

    /// Starts a session in the server's role. Nothing happens until the [`YamuxDriver`] is polled.
    pub fn server<T>(io: T) -> (Self, YamuxDriver)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::new(io, Mode::Server)
    }

    fn new<T>(io: T, mode: Mode) -> (Self, YamuxDriver)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (commands, inbox) = mpsc::channel(OPEN_BACKLOG);
        let (offers, accepted) = mpsc::channel(ACCEPT_BACKLOG);
        let (ended, ending) = watch::channel(None);
        let session = Self {
            commands,
            accepted: Arc::new(Mutex::new(accepted)),
            ending,
        };
        (session, YamuxDriver::new(io, mode, inbox, offers, ended))
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// Returns [`YamuxError`] if the session is closed or failed.
    pub async fn open(&self) -> Result<YamuxStream, YamuxError> {
        let (reply, opened) = oneshot::channel();
        let sent = self.commands.send(Command::Open(reply)).await;
        sent.map_err(|_| YamuxError::Closed)?;
        opened.await.map_err(|_| YamuxError::Closed)?
    }

    /// Waits for a stream of the peer; `None` after the end of the session.
    pub async fn accept(&self) -> Option<YamuxStream> {
        self.accepted.lock().await.recv().await
    }

    /// Starts to close the session. Open streams are cut off.
    pub fn close(&self) {
        // A full inbox belongs to a driver that is stuck, which no command could close.
        if self.commands.try_send(Command::Close).is_err() {
            tracing::debug!("the driver of the session takes no commands");
        }
    }

    /// Waits for the end of the session.
    ///
    /// # Errors
    ///
    /// Returns [`YamuxError`] if the session failed or its driver was dropped.
    pub async fn closed(&self) -> Result<(), YamuxError> {
        let mut ending = self.ending.clone();
        let outcome = ending.wait_for(Option::is_some).await;
        let outcome = outcome.map_err(|_| YamuxError::Closed)?;
        outcome.clone().unwrap_or(Ok(()))
    }
}

impl fmt::Debug for YamuxSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YamuxSession").finish_non_exhaustive()
    }
}
