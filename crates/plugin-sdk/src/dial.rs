//! Finding the daemon, for a plugin that was not launched by one.

use std::ffi::OsString;
use std::fmt;
use std::io;

use keyway_local::{
    Address, Credentials, EnvironmentError, ForeignPeer, KnownUids, Places, Rule, connect_within,
    given_address,
};
use tokio::net::UnixStream;

use crate::hijack::{self, HijackError};

/// Why there is no connection to a daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// `KEYWAY_SOCKET` is not an address.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The daemon did not hand its connection over.
    #[error("{source} ({address})")]
    Hijack {
        /// Where the daemon listens.
        address: Address,
        /// What it said.
        source: HijackError,
    },
    /// No daemon of the user listens at any of the addresses.
    #[error(
        "no daemon of this user is listening ({}); start one with `keyway serve`, or set KEYWAY_SOCKET",
        tried(attempts)
    )]
    NotListening {
        /// Where it was looked for, and what was found.
        attempts: Vec<(Address, Absence)>,
    },
}

/// Why an address has no daemon of the user.
#[derive(Debug)]
pub(crate) enum Absence {
    /// A process of another user listens there; it was sent nothing.
    Foreign(ForeignPeer),
    /// The system gave no connection.
    Io(io::Error),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(peer) => write!(f, "{peer}, and was sent nothing"),
            Self::Io(error) => f.write_str(&plain(error)),
        }
    }
}

impl DialError {
    /// Returns `true` if a later attempt may succeed: the daemon is not there yet, or is starting.
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

/// Connects to the daemon and asks for the connection to become a plugin connection.
pub(crate) async fn dial(
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<UnixStream, DialError> {
    let addresses = Places::of_process().candidates(given_address(environment)?);
    dial_first(addresses, &KnownUids::read()).await
}

/// Connects to the first address where a daemon of the user listens. A listener of another user does not end the search.
async fn dial_first(addresses: Vec<Address>, known: &KnownUids) -> Result<UnixStream, DialError> {
    let mut attempts = Vec::new();
    for address in addresses {
        match connect(&address, known).await {
            Ok(stream) => return adopt(stream, address).await,
            Err(absence) => attempts.push((address, absence)),
        }
    }
    Err(DialError::NotListening { attempts })
}

async fn connect(address: &Address, known: &KnownUids) -> Result<UnixStream, Absence> {
    let stream = connect_within(address, hijack::TIMEOUT)
        .await
        .map_err(Absence::Io)?;
    let credentials = Credentials::of_peer(&stream).map_err(Absence::Io)?;
    Rule::Own
        .check(credentials, known)
        .map_err(Absence::Foreign)?;
    Ok(stream)
}

async fn adopt(mut stream: UnixStream, address: Address) -> Result<UnixStream, DialError> {
    match hijack::hijack(&mut stream).await {
        Ok(()) => Ok(stream),
        Err(source) => Err(DialError::Hijack { address, source }),
    }
}

fn tried(attempts: &[(Address, Absence)]) -> String {
    let each = attempts
        .iter()
        .map(|(address, absence)| format!("{address}: {absence}"));
    each.collect::<Vec<_>>().join(", ")
}

/// Returns the system's text without its number.
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
    async fn an_absent_daemon_is_reported_with_all_addresses() {
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

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_accepts_no_connection_is_waited_for_with_a_bound() {
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
        assert!(!waiting.is_empty(), "some may wait");
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
    async fn a_wrong_address_is_reported() {
        let error = dial(environment("@")).await.unwrap_err();
        assert!(!error.is_temporary());
        assert_eq!(
            error.to_string(),
            "KEYWAY_SOCKET is wrong: a socket address is empty: give a path, or @name for an abstract socket"
        );
    }

    /// The uids as a process of another user sees them: every listener of these tests is foreign to it.
    fn another_user() -> KnownUids {
        let own = rustix::process::geteuid().as_raw();
        KnownUids::from_parts(own + 1, Some("0 0 4294967295"), None)
    }

    #[tokio::test]
    async fn a_listener_of_another_user_is_sent_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let error = dial_first(vec![path.clone().into()], &another_user())
            .await
            .unwrap_err();
        assert!(error.is_temporary(), "the own daemon may come later");
        assert!(
            error.to_string().contains("and was sent nothing"),
            "{error}"
        );
        let mut received = Vec::new();
        let (mut theirs, _) = listener.accept().await.unwrap();
        theirs.read_to_end(&mut received).await.unwrap();
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
            [(_, Absence::Foreign(_)), (second, Absence::Io(_))] if second.as_path() == Some(&absent)
        ));
    }
}
