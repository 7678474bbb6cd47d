//! The transport to a daemon: finds its socket, dials it, checks who listens, and keeps connections.

mod connection;
mod dial;
mod http1;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use keyway_local::{Address, ParseAddressError};
use keyway_rpc::{Body, BoxError};
use tower_service::Service;

use connection::Connection;
pub use connection::ResponseBody;
pub use dial::{Attempt, ConnectError, DialError};

/// The transport to a daemon: a `tower::Service` that carries HTTP/1.1 requests over Unix sockets.
///
/// - It looks for the daemon at each of its addresses in turn, at the first request and whenever it needs another
///   connection, so a daemon that is restarted is found again.
/// - It asks the kernel who listens, and refuses a daemon of another user. With
///   [`allow_root`](Self::allow_root) a daemon of root is accepted too.
/// - It keeps connections and uses them again. A kept connection that the daemon has closed meanwhile is noticed before
///   anything is sent on it, and replaced. Nothing that was sent is ever sent again.
/// - It spawns no task: a connection is driven by the request that uses it. Clones share the connections.
///
/// ```no_run
/// use keyway_resolver::{DaemonSocket, Resolver};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let socket = DaemonSocket::at("/run/user/1000/keyway/daemon.sock".parse()?);
/// let secrets = Resolver::new(socket).get(&"api/*".parse()?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DaemonSocket {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Clone, Debug)]
struct Settings {
    addresses: Vec<Address>,
    allow_root: bool,
    connect_timeout: Duration,
    max_idle: usize,
}

impl DaemonSocket {
    /// The daemon at this address and no other.
    pub fn at(address: Address) -> Self {
        Self::at_first_of([address])
    }

    /// The daemon at the first of these addresses where one listens.
    pub fn at_first_of(addresses: impl IntoIterator<Item = Address>) -> Self {
        Self::with_settings(Settings {
            addresses: addresses.into_iter().collect(),
            allow_root: false,
            connect_timeout: Duration::from_secs(2),
            max_idle: 4,
        })
    }

    /// The daemon of the user who runs this program: at `KEYWAY_SOCKET` when that is set, else at
    /// [the usual addresses](Address::candidates). The environment is read now and not again.
    ///
    /// # Errors
    ///
    /// `KEYWAY_SOCKET` is set to something that is not an address.
    pub fn from_env() -> Result<Self, ParseAddressError> {
        let uid = rustix::process::geteuid().as_raw();
        Ok(Self::at_first_of(Address::candidates(
            |name| std::env::var_os(name),
            uid,
        )?))
    }

    /// Accepts a daemon that runs as root as well, as one started by the system's socket activation does. Default:
    /// `false`, only a daemon of the own user.
    #[must_use]
    pub fn allow_root(self, allow: bool) -> Self {
        self.change(|settings| settings.allow_root = allow)
    }

    /// How long a connection to one address may take to be accepted. Default: 2 s; it is immediate unless more programs
    /// want to connect than the daemon accepts.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.change(|settings| settings.connect_timeout = timeout)
    }

    /// How many connections are kept for later. Default: 4; more may be in use at the same time.
    #[must_use]
    pub fn max_idle(self, connections: usize) -> Self {
        self.change(|settings| settings.max_idle = connections)
    }

    /// The addresses at which the daemon is looked for, in this order.
    pub fn addresses(&self) -> &[Address] {
        &self.shared.settings.addresses
    }

    fn with_settings(settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                idle: Mutex::default(),
            }),
        }
    }

    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        change(&mut settings);
        Self::with_settings(settings)
    }
}

impl Shared {
    /// Never held while anything is awaited. A panic elsewhere leaves the list whole.
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection for later, or closes it when enough are kept.
    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < self.settings.max_idle {
            idle.push(connection);
        }
    }
}

impl Service<http::Request<Body>> for DaemonSocket {
    type Response = http::Response<ResponseBody>;
    type Error = SocketError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, SocketError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(connection::send(shared, request))
    }
}

impl fmt::Debug for DaemonSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonSocket")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// Why a request got no answer, or only a part of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// No daemon was reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection to the daemon broke, or what came over it was not HTTP/1.1.
    #[error("the connection to the daemon broke: {0}")]
    Http(#[source] BoxError),
}

impl From<hyper::Error> for SocketError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error.into())
    }
}
