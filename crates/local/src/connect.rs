//! Connecting to a Unix socket without waiting for its listener.

use std::io;
use std::os::unix::net::UnixStream;
#[cfg(feature = "tokio")]
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::address::Address;
#[cfg(feature = "tokio")]
use crate::backoff::Pauses;

/// Connects to a listening socket. The stream is non-blocking.
///
/// A Unix socket is connected or refused at once; there is nothing to wait for but a place in the listener's queue.
///
/// # Errors
///
/// An I/O error of the kind `WouldBlock` if the listener's queue is full, `ConnectionRefused` or `NotFound` if no process
/// listens, and the error of the system otherwise.
pub fn connect(address: &Address) -> io::Result<UnixStream> {
    let target = unix_address(address)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) => Ok(socket.into()),
        Err(Errno::AGAIN) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "the queue of connections is full",
        )),
        Err(error) => Err(error.into()),
    }
}

fn unix_address(address: &Address) -> io::Result<SocketAddrUnix> {
    address.check_length()?;
    Ok(match address {
        Address::Path(path) => SocketAddrUnix::new(path)?,
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
    })
}

/// Error of [`connect_within`].
#[cfg(feature = "tokio")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The listener's queue was full for this time.
    #[error("the connection was not accepted within {}", crate::format_duration(*.0))]
    NotAccepted(Duration),
    /// The path of the socket was not found within this time, because its file system does not respond.
    #[error("the file system did not respond within {}", crate::format_duration(*.0))]
    FileSystem(Duration),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Connects, and tries again while the listener's queue is full, for as long as `limit`. The limit also
/// holds for a path whose file system hangs.
///
/// # Errors
///
/// Returns [`ConnectError::NotAccepted`] or [`ConnectError::FileSystem`] when the time is up, and the error of [`connect`] if it
/// fails otherwise.
///
/// # Cancel safety
///
/// Dropping the future closes nothing but its own socket.
#[cfg(feature = "tokio")]
pub async fn connect_within(
    address: &Address,
    limit: Duration,
) -> Result<tokio::net::UnixStream, ConnectError> {
    use tokio::time::{Instant, sleep_until, timeout_at};

    // A limit beyond the end of the clock is none.
    let deadline = Instant::now().checked_add(limit);
    for pause in Pauses::new() {
        let connecting = connect_off_the_async_thread(address);
        let connected = match deadline {
            Some(deadline) => timeout_at(deadline, connecting)
                .await
                .map_err(|_| ConnectError::FileSystem(limit))?,
            None => connecting.await,
        };
        match connected {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            connected => return Ok(tokio::net::UnixStream::from_std(connected?)?),
        }
        let now = Instant::now();
        let next = match deadline {
            Some(deadline) if now >= deadline => break,
            Some(deadline) => deadline.min(now + pause),
            None => now + pause,
        };
        sleep_until(next).await;
    }
    Err(ConnectError::NotAccepted(limit))
}

/// As [`connect`]. Where the kernel has to read the path from a file system, which may hang, a thread of its own waits for
/// that. It is not one of the runtime's, because the end of a runtime waits for its threads.
#[cfg(feature = "tokio")]
async fn connect_off_the_async_thread(address: &Address) -> io::Result<UnixStream> {
    if is_lookup_cached(address) {
        return connect(address);
    }
    let (sender, connected) = tokio::sync::oneshot::channel();
    let address = address.clone();
    std::thread::Builder::new()
        .name("keyway-connect".into())
        // The receiver is gone if the wait was cancelled.
        .spawn(move || drop(sender.send(connect(&address))))?;
    connected
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the thread that connects has panicked")))
}

/// Returns `true` if the address has no path, or if the kernel has all of the path in its cache, or knows without a file system
/// that there is no such file. Kernels before 5.12 do not report that. Without a descriptor for this there is none for a socket,
/// so the path will not be looked up.
#[cfg(feature = "tokio")]
fn is_lookup_cached(address: &Address) -> bool {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let Some(path) = address.as_path() else {
        return true;
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::MFILE | Errno::NFILE) => {
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Returns a listener whose queue is full, with the connections that fill it.
    fn full_listener(address: &Address) -> (OwnedFd, Vec<UnixStream>) {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        rustix::net::bind(&socket, &unix_address(address).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let queued: Vec<_> = std::iter::repeat_with(|| connect(address))
            .map_while(Result::ok)
            .collect();
        assert!(!queued.is_empty());
        (socket, queued)
    }

    #[test]
    fn a_path_and_an_abstract_name_are_connected() {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("@keyway-local-test-{}", std::process::id());
        for address in [dir.path().join("a.sock").into(), name.parse().unwrap()] {
            let _listener = UnixListener::bind_addr(&Address::to_socket_addr(&address).unwrap());
            connect(&address).unwrap();
        }
    }

    #[test]
    fn a_full_queue_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::from(dir.path().join("a.sock"));
        let _full = full_listener(&address);
        let error = connect(&address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_error_of_a_too_long_path_states_its_length_and_the_limit() {
        let address = Address::from(std::path::PathBuf::from("x".repeat(130)));
        let text = connect(&address).unwrap_err().to_string();
        assert!(text.contains("130") && text.contains("107"), "{text}");
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_tried_again_until_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::from(dir.path().join("a.sock"));
        let (_listener, queued) = full_listener(&address);
        let started = tokio::time::Instant::now();
        let limit = Duration::from_millis(250);
        let error = connect_within(&address, limit).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotAccepted(after) if after == limit));
        assert_eq!(started.elapsed(), limit);
        drop(queued);
    }

    #[cfg(feature = "tokio")]
    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::from(dir.path().join("a.sock"));
        let (listener, _queued) = full_listener(&address);
        let accept = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            rustix::net::accept(&listener).unwrap();
        };
        let (connected, ()) =
            tokio::join!(connect_within(&address, Duration::from_secs(1)), accept);
        connected.unwrap();
    }
}
