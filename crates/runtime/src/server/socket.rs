//! One listening socket of the daemon.

mod error;
mod modes;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use keyway_local::file::{check_owners, lock_within};
use keyway_local::{Address, Credentials};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};
use tokio::net::{UnixListener, UnixStream};

pub use error::ListenError;
pub(crate) use modes::SocketFile;
use modes::make_directories;

/// Limit for the start of another daemon in the same directory.
const START_BOUND: Duration = Duration::from_secs(2);

/// A listening socket. Its path, if it has one, is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    address: Address,
    /// `None` for an abstract name and for a socket of the service manager.
    file: Option<Arc<SocketFile>>,
    /// `true` if it is a socket of the service manager, which outlives the daemon with the connections in its queue.
    is_inherited: bool,
}

/// The users that may ever reach a socket by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Never: it is at a default address.
    OwnUser,
    /// If `allow_uids` names any: see [`SocketFile::set_reachable`].
    AllowedUsers,
}

impl Socket {
    /// Listens at `address`. The directories of a path are made with mode 0700 where they are absent, the socket gets mode 0600,
    /// and a path at which no process listens any more is replaced.
    pub(crate) fn bind(address: &Address, reach: Reach) -> Result<Self, ListenError> {
        let failed = |what| ListenError::at(address, what);
        // The lock is held until the socket exists, so that of two daemons that start together one finds the other.
        let mut place = None;
        if let Some(path) = address.as_path() {
            place = Some(Place::prepare(address, path)?);
            remove_stale(address, path)?;
        }
        let socket_address = address
            .to_socket_addr()
            .map_err(failed("the address is not valid"))?;
        let listener = StdListener::bind_addr(&socket_address)
            .map_err(|source| bind_error(address, source))?;
        let file = place
            .map(|place| SocketFile::new(place.path, place.made, reach))
            .transpose()
            .map_err(failed("set the socket's mode"))?;
        listener
            .set_nonblocking(true)
            .map_err(failed("make the socket non-blocking"))?;
        let listener = UnixListener::from_std(listener).map_err(failed("watch the socket"))?;
        Ok(Self {
            listener,
            address: address.clone(),
            file: file.map(Arc::new),
            is_inherited: false,
        })
    }

    /// Takes over a socket that a service manager listens at. Its path stays where it is when the daemon ends: clients that
    /// connect then wait for the next daemon.
    pub(crate) fn inherited(listener: StdListener) -> Result<Self, ListenError> {
        let invalid = |what| move |source| ListenError::Inherited { what, source };
        if !rustix::net::sockopt::socket_acceptconn(&listener)
            .map_err(|error| invalid("examine it")(error.into()))?
        {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it does not listen");
            return Err(invalid("use it")(source));
        }
        let address = listener
            .local_addr()
            .and_then(|address| Address::try_from(&address).map_err(io::Error::from))
            .map_err(invalid("read its address"))?;
        listener
            .set_nonblocking(true)
            .map_err(invalid("make it non-blocking"))?;
        let listener = UnixListener::from_std(listener).map_err(invalid("watch it"))?;
        Ok(Self {
            listener,
            address,
            file: None,
            is_inherited: true,
        })
    }

    /// Returns the address at which it listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Its file, if this daemon has made one.
    pub(crate) fn file(&self) -> Option<&Arc<SocketFile>> {
        self.file.as_ref()
    }

    /// Refuses further connections. Returns `true` if those in the queue are to be [accepted](Self::accept_queued).
    pub(crate) fn refuse(&self) -> bool {
        // Linux: of a listening Unix socket this shuts the end down at which clients connect, and not the queue.
        !self.is_inherited && rustix::net::shutdown(&self.listener, Shutdown::Read).is_ok()
    }

    /// Accepts a connection from the queue; `None` if there is none. Never waits.
    pub(crate) fn accept_queued(&self) -> io::Result<Option<UnixStream>> {
        // Not through tokio, whose readiness may be older than the last connection.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.listener, flags) {
            Ok(stream) => UnixStream::from_std(stream.into()).map(Some),
            Err(Errno::AGAIN | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Polls for the next connection.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        let accepted = self.listener.poll_accept(cx);
        accepted.map_ok(|(stream, _address)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The listener is still open, so the inode of its file cannot have become another file's.
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

/// The place where a socket is made.
struct Place {
    /// The socket's absolute path.
    path: PathBuf,
    /// The directories that were made for it.
    made: Vec<PathBuf>,
    /// Locked against other daemons that start.
    _directory: File,
}

impl Place {
    /// Makes the directory of `path` where it is absent, checks that no other user can replace its entries, and locks it.
    fn prepare(address: &Address, path: &Path) -> Result<Self, ListenError> {
        let failed = |what| ListenError::at(address, what);
        // A bare name is in the working directory, which is checked like any other.
        let path = std::path::absolute(path).map_err(failed("find its directory"))?;
        let directory = path.parent().unwrap_or(&path);
        let made = make_directories(directory).map_err(failed("make its directory"))?;
        check_owners(directory).map_err(ListenError::Directory)?;
        let directory = File::open(directory).map_err(failed("open its directory"))?;
        lock_within(&directory, START_BOUND).map_err(failed("lock its directory"))?;
        Ok(Self {
            path,
            made,
            _directory: directory,
        })
    }
}

/// Removes a socket at which no process listens; anything else is an error.
fn remove_stale(address: &Address, path: &Path) -> Result<(), ListenError> {
    let failed = |what| ListenError::at(address, what);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("examine the existing file")(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.into() });
    }
    let is_stale = match keyway_local::connect(address) {
        Ok(stream) => listener_is_dead(&stream),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
        // Its queue is full: a process listens, and is busy.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => return Err(failed("find out whether a process listens there")(error)),
    };
    if !is_stale {
        return Err(in_use(address));
    }
    fs::remove_file(path).map_err(failed("remove the stale socket"))
}

/// Returns `true` if the process that made the listening socket is gone. A child that a killed daemon was just starting holds a
/// copy of the socket until it executes its program, and accepts nothing.
fn listener_is_dead(stream: &StdStream) -> bool {
    // A process in another pid namespace cannot be looked for, and counts as alive.
    Credentials::of_peer(stream)
        .ok()
        .and_then(|credentials| credentials.pid)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

fn bind_error(address: &Address, source: io::Error) -> ListenError {
    if source.kind() == io::ErrorKind::AddrInUse {
        return in_use(address);
    }
    ListenError::at(address, "bind the socket")(source)
}

/// Names the process that has the address, from the credentials that the kernel reports to every client.
fn in_use(address: &Address) -> ListenError {
    let holder = keyway_local::connect(address)
        .and_then(|stream| Credentials::of_peer(&stream))
        .ok();
    ListenError::InUse {
        address: address.clone(),
        holder,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;

    use keyway_local::connect;

    use super::*;

    fn bind(address: &Address) -> Result<Socket, ListenError> {
        Socket::bind(address, Reach::OwnUser)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777
    }

    const HOLDER_VARIABLE: &str = "KEYWAY_TEST_SOCKET_TO_LEAVE";

    /// Run as a process of its own by the test below: listens, leaves the socket to a child, and ends.
    #[test]
    #[expect(
        clippy::zombie_processes,
        reason = "this process ends before its child does"
    )]
    fn a_process_that_leaves_its_socket_to_a_child() {
        let Some(path) = std::env::var_os(HOLDER_VARIABLE) else {
            return;
        };
        let listener = StdListener::bind(path).expect("listening");
        std::process::Command::new("cat")
            .arg("/proc/self/fd/2")
            .stdin(OwnedFd::from(listener))
            .spawn()
            .expect("a child");
    }

    #[tokio::test]
    async fn a_socket_of_a_dead_daemon_is_stale_even_if_a_child_holds_it() {
        use std::process::{Command, Stdio};
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        // The grandchild reads from this pipe, so it lives until the pipe is closed.
        let (theirs, ours) = io::pipe().expect("a pipe");
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "server::socket::tests::a_process_that_leaves_its_socket_to_a_child",
            ])
            .env(HOLDER_VARIABLE, &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(theirs)
            .status()
            .expect("a process");
        assert!(status.success());
        StdStream::connect(&path).expect("the child holds the socket");
        bind(&path.clone().into()).expect("listening");
        drop(ours);
    }

    #[tokio::test]
    async fn a_socket_file_is_in_a_private_directory_and_removed_with_the_daemon() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("made/for/it/daemon.sock");
        let socket = bind(&path.clone().into()).expect("listening");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a directory")), 0o700);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_refuses_connections_keeps_those_in_its_queue() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let name = format!("@keyway-refuse-{}", std::process::id());
        for address in [
            root.path().join("daemon.sock").into(),
            name.parse().expect("an address"),
        ] {
            let socket = bind(&address).expect("listening");
            let queued = [(); 2].map(|()| connect(&address).expect("connected"));
            assert!(socket.refuse());
            let refused = connect(&address).expect_err("refused");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            for _ in &queued {
                let accepted = socket.accept_queued().expect("accepted");
                assert!(accepted.is_some());
            }
            let end = socket.accept_queued().expect("accepted");
            assert!(end.is_none());
        }
    }

    #[tokio::test]
    async fn an_inherited_socket_keeps_its_path_and_only_listening_ones_are_taken() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        let listener = StdListener::bind(&path).expect("listening");
        let socket = Socket::inherited(listener.try_clone().expect("a copy")).expect("taken over");
        assert_eq!(socket.address(), &Address::from(path.clone()));
        drop(socket);
        StdStream::connect(&path).expect("the service manager still listens");
        let (stream, _peer) = StdStream::pair().expect("a pair");
        let error = Socket::inherited(OwnedFd::from(stream).into()).expect_err("no listener");
        assert!(matches!(error, ListenError::Inherited { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_stale_path_is_replaced_and_a_live_one_is_an_error_that_names_its_holder() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        drop(StdListener::bind(&path).expect("a socket that is left behind"));
        let socket = bind(&path.clone().into()).expect("listening");
        let error = bind(&path.clone().into()).expect_err("in use").to_string();
        assert!(
            error.contains(&format!("process {} of uid", std::process::id())),
            "{error}"
        );
        // The failed attempt has not taken the first one's path away.
        StdStream::connect(&path).expect("still there");
        drop(socket);
    }

    #[tokio::test]
    async fn a_daemon_that_hangs_with_a_full_queue_is_in_use() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        let address = Address::from(path.clone());
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
        let hanging = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let hanging = hanging.expect("a socket");
        let at = SocketAddrUnix::new(&path).expect("an address");
        rustix::net::bind(&hanging, &at).expect("bound");
        rustix::net::listen(&hanging, 0).expect("listening");
        let mut queued = Vec::new();
        while let Ok(stream) = connect(&address) {
            queued.push(stream);
        }
        assert!(matches!(bind(&address), Err(ListenError::InUse { .. })));
        assert!(path.exists());
    }

    #[test]
    fn of_daemons_that_start_together_on_a_stale_path_one_listens() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let address = Address::from(root.path().join("daemon.sock"));
        for _ in 0..50 {
            drop(StdListener::bind(address.as_path().expect("a path")).expect("left behind"));
            let start = std::sync::Barrier::new(4);
            let outcomes = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            let runtime = tokio::runtime::Builder::new_current_thread()
                                .enable_io()
                                .build()
                                .expect("a runtime");
                            let _context = runtime.enter();
                            start.wait();
                            let outcome = bind(&address);
                            // No daemon exits before all of them have tried to listen.
                            start.wait();
                            outcome.map(drop)
                        })
                    })
                    .collect();
                let ended = threads.into_iter().map(|thread| thread.join());
                ended
                    .map(|outcome| outcome.expect("no panic"))
                    .collect::<Vec<_>>()
            });
            let listening = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(listening, 1, "{outcomes:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_socket_is_left_alone() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        fs::write(&path, "precious").expect("a file");
        assert!(matches!(
            bind(&path.clone().into()),
            Err(ListenError::NotASocket { .. })
        ));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[tokio::test]
    async fn a_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(root.path(), Permissions::from_mode(0o777)).expect("the mode");
        let address = root.path().join("daemon.sock").into();
        assert!(matches!(bind(&address), Err(ListenError::Directory(_))));
    }

    #[tokio::test]
    async fn a_taken_abstract_name_is_an_error_with_the_pid_of_its_holder() {
        let name: Address = format!("@keyway-test-{}-{}", std::process::id(), line!())
            .parse()
            .expect("an address");
        let _socket = bind(&name).expect("listening");
        assert!(matches!(
            bind(&name),
            Err(ListenError::InUse {
                holder: Some(_),
                ..
            })
        ));
    }
}
