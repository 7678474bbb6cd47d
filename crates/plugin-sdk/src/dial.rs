//! Connecting an external plugin to the daemon.

use std::ffi::OsString;
use std::fmt;
use std::io;

use keyway_http::Upgraded;
use keyway_local::{
    Address, ConnectError, Credentials, EnvironmentError, ForeignPeer, KnownUids, Places, Rule,
    connect_within, given_address,
};
use tokio::net::UnixStream;

use crate::hijack::{self, HijackError};

/// Error of connecting to a daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// `KEYWAY_SOCKET` is not a valid address.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The daemon did not upgrade the connection.
    #[error("no plugin connection to the daemon at {address}")]
    Hijack {
        /// Address of the daemon.
        address: Address,
        /// The error of the upgrade.
        source: HijackError,
    },
    /// No daemon of the user listens at any of the addresses.
    #[error(
        "no daemon of this user is listening ({}); start one with `keyway serve`, or set KEYWAY_SOCKET",
        format_attempts(attempts)
    )]
    NotListening {
        /// The addresses in the order of the search, each with its error.
        attempts: Vec<(Address, AttemptError)>,
    },
}

/// Error of one address: no daemon of the user listens there.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// A process of another user listens there; nothing was sent to it.
    Foreign(ForeignPeer),
    /// There was no connection.
    Connect(ConnectError),
    /// The kernel does not say who listens.
    Credentials(io::Error),
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(peer) => write!(f, "{peer}, and was sent nothing"),
            Self::Connect(ConnectError::Io(error)) | Self::Credentials(error) => {
                f.write_str(&without_error_number(error))
            }
            Self::Connect(error) => error.fmt(f),
        }
    }
}

impl DialError {
    /// Returns `true` if a later attempt may succeed: the daemon is not running yet, or is starting.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::NotListening { .. } => true,
            Self::Hijack { source, .. } => !matches!(
                source,
                HijackError::NotHttp(_) | HijackError::Refused { .. }
            ),
            Self::Environment(_) => false,
        }
    }
}

/// Connects to the daemon and upgrades the connection to a plugin connection.
pub(crate) async fn dial(
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Upgraded<UnixStream>, DialError> {
    let addresses = Places::of_process().candidates(given_address(environment)?);
    dial_first(addresses, &KnownUids::read()).await
}

/// Connects to the first address at which a daemon of the user listens. A listener of another user does not end the search.
async fn dial_first(
    addresses: Vec<Address>,
    known: &KnownUids,
) -> Result<Upgraded<UnixStream>, DialError> {
    let mut attempts = Vec::new();
    for address in addresses {
        match connect(&address, known).await {
            Ok(stream) => return upgrade(stream, address).await,
            Err(error) => attempts.push((address, error)),
        }
    }
    Err(DialError::NotListening { attempts })
}

async fn connect(address: &Address, known: &KnownUids) -> Result<UnixStream, AttemptError> {
    let stream = connect_within(address, hijack::TIMEOUT)
        .await
        .map_err(AttemptError::Connect)?;
    let credentials = Credentials::of_peer(&stream).map_err(AttemptError::Credentials)?;
    Rule::Own
        .check(credentials, known)
        .map_err(AttemptError::Foreign)?;
    Ok(stream)
}

async fn upgrade(stream: UnixStream, address: Address) -> Result<Upgraded<UnixStream>, DialError> {
    let upgraded = hijack::hijack(stream).await;
    upgraded.map_err(|source| DialError::Hijack { address, source })
}

fn format_attempts(attempts: &[(Address, AttemptError)]) -> String {
    let each = attempts
        .iter()
        .map(|(address, error)| format!("{address}: {error}"));
    each.collect::<Vec<_>>().join(", ")
}

/// Returns the text of a system error without its number.
fn without_error_number(error: &io::Error) -> String {
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
    async fn without_a_daemon_the_error_lists_all_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.sock");
        let error = dial(environment(path.to_str().unwrap())).await.unwrap_err();
        assert!(error.is_temporary());
        assert_eq!(
            error.to_string(),
            format!(
                "no daemon of this user is listening ({}: no such file or directory); start one with `keyway serve`, or set KEYWAY_SOCKET",
                path.display()
            )
        );
    }

    #[tokio::test]
    async fn dial_connects_to_a_path_and_to_an_abstract_name() {
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

    #[tokio::test(start_paused = true)]
    async fn connecting_to_a_full_accept_queue_times_out() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let address = Address::Path(path.clone());
        let waiting: Vec<_> = std::iter::repeat_with(|| keyway_local::connect(&address))
            .map_while(Result::ok)
            .collect();
        assert!(!waiting.is_empty(), "the accept queue holds at least one");
        let started = tokio::time::Instant::now();
        let error = dial(environment(path.to_str().unwrap())).await.unwrap_err();
        assert!(error.is_temporary());
        assert_eq!(started.elapsed(), hijack::TIMEOUT);
        let text = error.to_string();
        assert!(
            text.contains("the connection was not accepted within 2 s"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_invalid_address_is_a_permanent_error() {
        let error = dial(environment("@")).await.unwrap_err();
        assert!(!error.is_temporary());
        assert_eq!(
            keyway_local::with_causes(&error),
            "KEYWAY_SOCKET is wrong: a socket address is empty: give a path, or @name for an abstract socket"
        );
    }

    /// The uids known to a process of another user: every listener of these tests is foreign to it.
    fn another_user() -> KnownUids {
        let own = rustix::process::geteuid().as_raw();
        KnownUids::from_parts(own + 1, Some("0 0 4294967295"), None)
    }

    #[tokio::test]
    async fn nothing_is_sent_to_a_listener_of_another_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let error = dial_first(vec![path.clone().into()], &another_user())
            .await
            .unwrap_err();
        assert!(
            error.is_temporary(),
            "the user's own daemon may start later"
        );
        assert!(
            error.to_string().contains("and was sent nothing"),
            "{error}"
        );
        let mut received = Vec::new();
        let (mut accepted, _) = listener.accept().await.unwrap();
        accepted.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"");
    }

    #[tokio::test]
    async fn a_listener_of_another_user_does_not_end_the_search() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = dir.path().join("foreign.sock");
        let _foreign = UnixListener::bind(&foreign).unwrap();
        let absent = dir.path().join("absent.sock");
        let addresses = vec![foreign.clone().into(), absent.clone().into()];
        let error = dial_first(addresses, &another_user()).await.unwrap_err();
        let DialError::NotListening { attempts } = &error else {
            panic!("{error}");
        };
        assert!(matches!(
            &attempts[..],
            [(_, AttemptError::Foreign(_)), (second, AttemptError::Connect(_))] if second.as_path() == Some(&absent)
        ));
    }
}
