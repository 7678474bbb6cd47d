//! Finding the daemon, for a plugin that was started by hand.

use std::ffi::OsString;
use std::io;

use keyway_local::{Address, ParseAddressError};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::net::UnixStream;

use crate::hijack::{self, HijackError};

/// Why there is no connection to a daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// `KEYWAY_SOCKET` is not an address.
    #[error("KEYWAY_SOCKET is not the address of a socket: {0}")]
    Address(#[from] ParseAddressError),
    /// What listens there belongs to another user.
    #[error(
        "what listens on {address} belongs to user {owner}, not to user {user}; it is not trusted, and was told nothing"
    )]
    ForeignDaemon {
        /// Where it listens.
        address: Address,
        /// Who it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// The daemon did not hand its connection over.
    #[error("{source} ({address})")]
    Hijack {
        /// Where the daemon listens.
        address: Address,
        /// What it said.
        source: HijackError,
    },
    /// Nothing listens at any of the addresses.
    #[error(
        "no daemon is listening ({}); start one with `keyway serve`, or set KEYWAY_SOCKET",
        tried(attempts)
    )]
    NotListening {
        /// Where it was looked for, and what the system said.
        attempts: Vec<(Address, io::Error)>,
    },
}

impl DialError {
    /// Whether a later attempt may succeed: the daemon is not there yet, or is starting.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::NotListening { .. } => true,
            Self::Hijack { source, .. } => !matches!(
                source,
                HijackError::NotHttp(_) | HijackError::Refused { .. }
            ),
            Self::Address(_) | Self::ForeignDaemon { .. } => false,
        }
    }
}

/// Connects to the daemon and asks for the connection to become a plugin connection.
pub(crate) async fn dial(
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<UnixStream, DialError> {
    let user = rustix::process::geteuid().as_raw();
    let mut attempts = Vec::new();
    for address in Address::candidates(environment, user)? {
        match connect(&address) {
            Ok(stream) => return adopt(stream, address, user).await,
            Err(error) => attempts.push((address, error)),
        }
    }
    Err(DialError::NotListening { attempts })
}

/// Connects without waiting: a Unix socket answers at once, with an error when too many others wait to be accepted.
fn connect(address: &Address) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = match address {
        Address::Path(path) => SocketAddrUnix::new(path)?,
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
    };
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::AGAIN) => {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "it accepts no connections at the moment",
            ));
        }
        Err(error) => return Err(error.into()),
    }
    UnixStream::from_std(socket.into())
}

async fn adopt(
    mut stream: UnixStream,
    address: Address,
    user: u32,
) -> Result<UnixStream, DialError> {
    let owner = match socket_peercred(&stream) {
        Ok(credentials) => credentials.uid.as_raw(),
        Err(error) => {
            return Err(DialError::Hijack {
                address,
                source: HijackError::Io(error.into()),
            });
        }
    };
    if owner != user {
        return Err(DialError::ForeignDaemon {
            address,
            owner,
            user,
        });
    }
    match hijack::hijack(&mut stream).await {
        Ok(()) => Ok(stream),
        Err(source) => Err(DialError::Hijack { address, source }),
    }
}

fn tried(attempts: &[(Address, io::Error)]) -> String {
    let each = attempts
        .iter()
        .map(|(address, error)| format!("{address}: {}", plain(error)));
    each.collect::<Vec<_>>().join(", ")
}

/// The system's text without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn environment(socket: &str) -> impl Fn(&str) -> Option<OsString> {
        move |name| (name == "KEYWAY_SOCKET").then(|| socket.into())
    }

    #[tokio::test]
    async fn nothing_listening_is_told_with_all_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.sock");
        let error = dial(environment(path.to_str().unwrap())).await.unwrap_err();
        assert!(error.is_temporary());
        assert_eq!(
            error.to_string(),
            format!(
                "no daemon is listening ({}: no such file or directory); start one with `keyway serve`, or set KEYWAY_SOCKET",
                path.display()
            )
        );
    }

    #[tokio::test]
    async fn a_path_and_an_abstract_name_are_dialled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        let abstract_name = format!("@keyway-sdk-test-{}", std::process::id());
        for text in [path.to_str().unwrap(), &abstract_name] {
            let address: Address = text.parse().unwrap();
            let listener = UnixListener::bind_addr(&address.to_socket_addr().unwrap()).unwrap();
            let daemon = std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello")
                    .unwrap();
            });
            let mut stream = dial(environment(text)).await.unwrap();
            let mut first = [0; 5];
            stream.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"hello");
            stream.shutdown().await.unwrap();
            daemon.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_daemon_that_accepts_nobody_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let address = Address::Path(path.clone());
        let waiting: Vec<_> = std::iter::repeat_with(|| connect(&address))
            .take_while(Result::is_ok)
            .collect();
        assert!(!waiting.is_empty(), "some may wait");
        let error = dial(environment(path.to_str().unwrap())).await.unwrap_err();
        assert!(error.is_temporary());
        assert!(
            error
                .to_string()
                .contains("it accepts no connections at the moment"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_wrong_address_is_told() {
        let error = dial(environment("@")).await.unwrap_err();
        assert!(!error.is_temporary());
        assert_eq!(
            error.to_string(),
            "KEYWAY_SOCKET is not the address of a socket: a socket address is empty: give a path, or @name for an abstract socket"
        );
    }

    #[tokio::test]
    async fn a_daemon_of_another_user_is_told_nothing() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let address: Address = "/somewhere".parse().unwrap();
        let another = rustix::process::geteuid().as_raw() + 1;
        let error = adopt(ours, address, another).await.unwrap_err();
        assert!(matches!(error, DialError::ForeignDaemon { .. }) && !error.is_temporary());
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"");
    }
}
