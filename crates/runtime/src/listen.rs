//! The daemon's sockets.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_local::file::{Offences, check_owners, lock_within};
use keyway_local::{Address, Credentials};
use tokio::net::{UnixListener, UnixStream};

/// How long the start of another daemon in the same directory may take.
const START_BOUND: Duration = Duration::from_secs(2);

/// Why the daemon cannot listen at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process listens there.
    #[error("{address} is in use by {}: stop it, or choose another address with --listen", name_of(.holder.as_ref()))]
    InUse {
        /// The address.
        address: Address,
        /// The process that listens there, if the kernel says.
        holder: Option<Credentials>,
    },
    /// Something that is no socket is in the way.
    #[error("{path} is not a socket and is left alone: remove it, or choose another address with --listen", path = .path.display())]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The directory of the socket could be changed by others, who could then put their own socket in its place.
    #[error("the socket's directory is not safe: {0}")]
    Directory(Offences),
    /// The operating system refused.
    #[error("cannot listen at {address}: {what}: {source}")]
    Io {
        /// The address.
        address: Address,
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

fn name_of(holder: Option<&Credentials>) -> String {
    holder.map_or_else(|| "another process".into(), ToString::to_string)
}

/// A listening socket. Its path, if it has one, is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    address: Address,
    /// What the path was when we made it, so that another daemon's socket is not removed.
    inode: Option<(u64, u64)>,
}

impl Socket {
    /// Listens at `address`. A path's directory is made with mode 0700 where it is missing, the socket gets mode 0600, and a
    /// path that nobody listens at any more is replaced.
    pub(crate) fn bind(address: &Address) -> Result<Self, ListenError> {
        let failed = |what| {
            move |source| ListenError::Io {
                address: address.clone(),
                what,
                source,
            }
        };
        // Held until the socket exists, so that of two daemons that start together one finds the other.
        let mut _directory = None;
        if let Some(path) = address.as_path() {
            _directory = Some(prepare_directory(address, path)?);
            remove_stale(address, path)?;
        }
        let socket_address = address
            .to_socket_addr()
            .map_err(failed("the address is not valid"))?;
        let listener = StdListener::bind_addr(&socket_address)
            .map_err(|source| bind_error(address, source))?;
        let inode = match address.as_path() {
            Some(path) => Some(restrict(path).map_err(failed("set the socket's mode"))?),
            None => None,
        };
        // From here on the path is removed when something fails.
        listener
            .set_nonblocking(true)
            .map_err(failed("make the socket non-blocking"))?;
        let listener = UnixListener::from_std(listener).map_err(failed("watch the socket"))?;
        Ok(Self {
            listener,
            address: address.clone(),
            inode,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(path) = self.address.as_path() else {
            return;
        };
        let current = fs::symlink_metadata(path)
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()));
        if current.is_some() && current == self.inode {
            // A file that stays is replaced by the next daemon.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes the directory where it is missing, and locks it against other daemons that start; one without a name is the
/// working directory.
fn prepare_directory(address: &Address, path: &Path) -> Result<File, ListenError> {
    let failed = |what| {
        move |source| ListenError::Io {
            address: address.clone(),
            what,
            source,
        }
    };
    let directory = match path.parent() {
        Some(named) if !named.as_os_str().is_empty() => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(named)
                .map_err(failed("make its directory"))?;
            check_owners(named).map_err(ListenError::Directory)?;
            named
        }
        _ => Path::new("."),
    };
    let directory = File::open(directory).map_err(failed("open its directory"))?;
    lock_within(&directory, START_BOUND).map_err(failed("lock its directory"))?;
    Ok(directory)
}

/// Removes a socket that nobody listens at; anything else is an error.
fn remove_stale(address: &Address, path: &Path) -> Result<(), ListenError> {
    let failed = |what| {
        move |source| ListenError::Io {
            address: address.clone(),
            what,
            source,
        }
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("examine what is there")(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.into() });
    }
    let stale = match keyway_local::connect(address) {
        Ok(stream) => listener_is_dead(&stream),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
        // Its queue is full: somebody listens, and is busy.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => return Err(failed("find out whether somebody listens there")(error)),
    };
    if !stale {
        return Err(in_use(address));
    }
    fs::remove_file(path).map_err(failed("remove the stale socket"))
}

/// Whether the process that made the listening socket is gone. A child that a killed daemon was just starting holds a
/// copy of the socket until it executes its program, and accepts nothing.
fn listener_is_dead(stream: &std::os::unix::net::UnixStream) -> bool {
    // A process in another pid namespace cannot be looked for, and counts as alive.
    Credentials::of_peer(stream)
        .ok()
        .and_then(|credentials| credentials.pid)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// Makes the socket ours alone. Its directory is closed to others already, so nobody connects before that.
fn restrict(path: &Path) -> io::Result<(u64, u64)> {
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn bind_error(address: &Address, source: io::Error) -> ListenError {
    if source.kind() == io::ErrorKind::AddrInUse {
        return in_use(address);
    }
    ListenError::Io {
        address: address.clone(),
        what: "bind the socket",
        source,
    }
}

/// Names the process that has the address, as the kernel tells anyone who connects.
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
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

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
    async fn a_socket_whose_maker_is_dead_is_stale_whoever_still_holds_it() {
        use std::process::{Command, Stdio};
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        // The grandchild reads from this pipe, so it lives until the pipe is closed.
        let (theirs, ours) = io::pipe().expect("a pipe");
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "listen::tests::a_process_that_leaves_its_socket_to_a_child",
            ])
            .env(HOLDER_VARIABLE, &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(theirs)
            .status()
            .expect("a process");
        assert!(status.success());
        StdStream::connect(&path).expect("the child holds the socket");
        Socket::bind(&path.clone().into()).expect("listening");
        drop(ours);
    }

    #[tokio::test]
    async fn a_path_lives_in_a_private_directory_and_goes_with_the_daemon() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("made/for/it/daemon.sock");
        let socket = Socket::bind(&path.clone().into()).expect("listening");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a directory")), 0o700);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_path_is_replaced_and_a_live_one_is_an_error_that_names_its_holder() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        drop(StdListener::bind(&path).expect("a socket that is left behind"));
        let socket = Socket::bind(&path.clone().into()).expect("listening");
        let error = Socket::bind(&path.clone().into())
            .expect_err("in use")
            .to_string();
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
        while let Ok(stream) = keyway_local::connect(&address) {
            queued.push(stream);
        }
        assert!(matches!(
            Socket::bind(&address),
            Err(ListenError::InUse { .. })
        ));
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
                            let outcome = Socket::bind(&address);
                            // Nobody leaves before everybody has tried.
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
    async fn what_is_no_socket_is_left_alone() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("daemon.sock");
        fs::write(&path, "precious").expect("a file");
        assert!(matches!(
            Socket::bind(&path.clone().into()),
            Err(ListenError::NotASocket { .. })
        ));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[tokio::test]
    async fn a_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(root.path(), Permissions::from_mode(0o777)).expect("the mode");
        let address = root.path().join("daemon.sock").into();
        assert!(matches!(
            Socket::bind(&address),
            Err(ListenError::Directory(_))
        ));
    }

    #[tokio::test]
    async fn an_abstract_name_that_is_taken_says_by_whom() {
        let name: Address = format!("@keyway-test-{}-{}", std::process::id(), line!())
            .parse()
            .expect("an address");
        let _socket = Socket::bind(&name).expect("listening");
        assert!(matches!(
            Socket::bind(&name),
            Err(ListenError::InUse {
                holder: Some(_),
                ..
            })
        ));
    }
}
