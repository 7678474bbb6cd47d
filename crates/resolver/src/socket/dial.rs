//! Connecting to the first address where the user's own daemon listens.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::Address;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};

use super::Settings;

/// The first pause before a full queue is tried again; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// No daemon was reached at any address.
#[derive(Clone, Debug)]
pub struct ConnectError {
    attempts: Arc<[Attempt]>,
}

/// One address that was tried.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Where.
    pub address: Address,
    /// Why there was no connection.
    pub error: DialError,
}

/// Why there was no connection to one address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Another user's program listens there.
    #[error("another user's program listens there (uid {uid})")]
    ForeignDaemon {
        /// Whose.
        uid: u32,
    },
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A daemon listens but does not accept.
    #[error("it did not accept the connection within {} ms", .after.as_millis())]
    TimedOut {
        /// How long it was tried.
        after: Duration,
    },
}

impl DialError {
    /// Whether nobody listens at the address: it does not exist, or it was left behind by a daemon that is gone.
    pub fn is_nobody_there(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }
}

impl ConnectError {
    /// What was tried, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Whether there simply is no daemon: nobody listens at any of the addresses.
    pub fn is_not_running(&self) -> bool {
        self.attempts
            .iter()
            .all(|attempt| attempt.error.is_nobody_there())
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
                    write!(f, "{separator}{address} (nobody listens there)")?;
                }
                error => write!(f, "{separator}{address} ({error})")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.attempts.first().map(|attempt| &attempt.error as _)
    }
}

/// Connects to the first address where an acceptable daemon listens.
pub(super) async fn dial(settings: &Settings) -> Result<UnixStream, ConnectError> {
    let mut attempts = Vec::new();
    for address in &settings.addresses {
        match dial_one(address, settings).await {
            Ok(stream) => return Ok(stream),
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

async fn dial_one(address: &Address, settings: &Settings) -> Result<UnixStream, DialError> {
    let stream = connect(address, settings.connect_timeout).await?;
    let uid = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    if !is_acceptable(uid, own, settings.allow_root) {
        return Err(DialError::ForeignDaemon { uid });
    }
    Ok(stream)
}

/// Whether a daemon of the user `uid` may be asked. One of another user could hand out secrets of its own choice, and
/// learn what is asked for.
fn is_acceptable(uid: u32, own: u32, allow_root: bool) -> bool {
    uid == own || (uid == 0 && allow_root)
}

/// Connects, and while the listener's queue is full tries again: on Unix sockets the system does not wait for it.
async fn connect(address: &Address, limit: Duration) -> Result<UnixStream, DialError> {
    // A limit beyond the end of the clock is none.
    let deadline = Instant::now().checked_add(limit);
    let mut pause = FIRST_PAUSE;
    loop {
        match connect_once(address) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return Ok(other?),
        }
        let now = Instant::now();
        let next = match deadline {
            Some(deadline) if now >= deadline => return Err(DialError::TimedOut { after: limit }),
            Some(deadline) => deadline.min(now + pause),
            None => now + pause,
        };
        sleep_until(next).await;
        pause = LONGEST_PAUSE.min(2 * pause);
    }
}

/// Connecting a Unix socket is done or refused at once, so there is nothing to await.
fn connect_once(address: &Address) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &to_unix(address)?)?;
    UnixStream::from_std(socket.into())
}

fn to_unix(address: &Address) -> io::Result<rustix::net::SocketAddrUnix> {
    let address = match address {
        Address::Path(path) => rustix::net::SocketAddrUnix::new(path),
        Address::Abstract(name) => rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes()),
    };
    Ok(address?)
}

#[cfg(test)]
mod tests {
    use super::is_acceptable;

    #[test]
    fn only_the_own_daemon_and_if_allowed_that_of_root() {
        assert!(is_acceptable(1000, 1000, false));
        assert!(is_acceptable(0, 0, false));
        assert!(is_acceptable(0, 1000, true));
        assert!(!is_acceptable(0, 1000, false));
        assert!(!is_acceptable(1001, 1000, true));
        assert!(!is_acceptable(1000, 0, true));
    }
}
