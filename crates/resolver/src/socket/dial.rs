//! Connecting to the first address where the user's own daemon listens.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use keyway_local::{Address, Credentials, KnownUids, connect_within, format_duration};
use rustix::io::Errno;
use tokio::net::UnixStream;
use tower_service::Service;

use super::Settings;
use super::stream::DaemonStream;

/// Error of connecting to the daemon: the attempt at each address failed.
#[derive(Clone, Debug)]
pub struct ConnectError {
    attempts: Arc<[Attempt]>,
}

/// An address that was tried, and the error.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The address.
    pub address: Address,
    /// The error of the connection.
    pub error: DialError,
}

/// Error of connecting to one address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// A process of another user listens at the address.
    #[error("another user's program listens there (uid {uid})")]
    ForeignDaemon {
        /// The uid of that user.
        uid: u32,
    },
    /// The operating system returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file system of the socket's path did not respond in time.
    #[error("the file system did not respond within {}", format_duration(*.after))]
    FileSystem {
        /// The timeout of one attempt.
        after: Duration,
    },
    /// A process listens and did not accept the connection in time.
    #[error("the connection was not accepted within {}", format_duration(*.after))]
    TimedOut {
        /// The timeout of one attempt.
        after: Duration,
    },
}

impl DialError {
    /// Returns `true` if no process listens at the address: it does not exist, or it is the stale socket of a daemon that
    /// has ended.
    pub fn is_not_listening(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }

    fn is_shortage(&self) -> bool {
        let Self::Io(error) = self else {
            return false;
        };
        matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
        )
    }
}

impl From<keyway_local::ConnectError> for DialError {
    fn from(error: keyway_local::ConnectError) -> Self {
        match error {
            keyway_local::ConnectError::NotAccepted(after) => Self::TimedOut { after },
            keyway_local::ConnectError::FileSystem(after) => Self::FileSystem { after },
            keyway_local::ConnectError::Io(error) => Self::Io(error),
            // The others are errors of the operating system.
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl ConnectError {
    /// Returns the attempts, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Returns `true` if there simply is no daemon: no process listens at any of the addresses.
    pub fn is_not_running(&self) -> bool {
        self.attempts
            .iter()
            .all(|attempt| attempt.error.is_not_listening())
    }

    /// Returns `true` if this process or this machine has no descriptor or no memory for a connection.
    pub fn is_shortage(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.error.is_shortage())
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts.is_empty() {
            return f.write_str("there is no address at which to look for a daemon");
        }
        f.write_str("no daemon was reached at ")?;
        for (index, Attempt { address, error }) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", nor at " };
            match error {
                DialError::Io(io) if io.kind() == io::ErrorKind::NotFound => {
                    write!(f, "{separator}{address} (there is no such socket)")?;
                }
                DialError::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => {
                    write!(f, "{separator}{address} (no process listens there)")?;
                }
                error => write!(f, "{separator}{address} ({error})")?,
            }
        }
        Ok(())
    }
}

/// No source: the text has the error of each attempt.
impl std::error::Error for ConnectError {}

/// Connects to the first address where an acceptable daemon listens.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    settings: Arc<Settings>,
    /// The process that listened at the last connection; 0 if there was none or it is in another pid namespace.
    daemon: Arc<AtomicI32>,
}

impl Dialer {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            daemon: Arc::default(),
        }
    }

    /// Returns the process that listened at the last connection, if it is known.
    pub(super) fn daemon_pid(&self) -> Option<i32> {
        let pid = self.daemon.load(Ordering::Relaxed);
        (pid > 0).then_some(pid)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Service<Uri> for Dialer {
    type Response = DaemonStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<DaemonStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let (stream, credentials) = dial(&dialer.settings).await?;
            dialer
                .daemon
                .store(credentials.raw_pid(), Ordering::Relaxed);
            Ok(DaemonStream::new(stream))
        })
    }
}

async fn dial(settings: &Settings) -> Result<(UnixStream, Credentials), ConnectError> {
    let mut attempts = Vec::new();
    for address in &settings.addresses {
        match dial_one(address, settings).await {
            Ok(connected) => return Ok(connected),
            Err(error) => attempts.push(Attempt {
                address: address.clone(),
                error,
            }),
        }
    }
    Err(ConnectError {
        attempts: attempts.into(),
    })
}

async fn dial_one(
    address: &Address,
    settings: &Settings,
) -> Result<(UnixStream, Credentials), DialError> {
    let stream = connect_within(address, settings.connect_timeout).await?;
    // A daemon of another user could return secrets of its own choice, and read the queries.
    let credentials = Credentials::of_peer(&stream)?;
    match settings.daemon.check(credentials, &KnownUids::read()) {
        Ok(()) => Ok((stream, credentials)),
        Err(foreign) => Err(DialError::ForeignDaemon { uid: foreign.uid }),
    }
}
