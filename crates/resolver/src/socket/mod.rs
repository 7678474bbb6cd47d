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

use keyway_local::{Address, EnvironmentError, Places, Rule, daemon_uid, given_address};
use keyway_rpc::{Body, BoxError};
use tower_service::Service;

use connection::Connection;
pub use connection::ResponseBody;
pub use dial::{Attempt, ConnectError, DialError};

/// The transport to a daemon: a `tower::Service` that carries HTTP/1.1 requests over Unix sockets.
///
/// - It looks for the daemon at each of its addresses in turn, at the first request and whenever it needs another
///   connection, so a daemon that is restarted is found again.
/// - It asks the kernel who listens, and refuses a daemon of another user unless
///   [`with_daemon_uid`](Self::with_daemon_uid) names that user.
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
    daemon: Rule,
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
            daemon: Rule::Own,
            connect_timeout: Duration::from_secs(2),
            max_idle: 4,
        })
    }

    /// The daemon that the environment names: at `KEYWAY_SOCKET` if that is set, else at [the usual
    /// addresses](Places::candidates); of the user who runs this program, or of the user `KEYWAY_DAEMON_UID` if that is set.
    /// The environment is read now and not again.
    ///
    /// # Errors
    ///
    /// Returns [`EnvironmentError`] if one of the two variables is set to something that is not an address or a uid.
    pub fn from_env() -> Result<Self, EnvironmentError> {
        let environment = |name: &str| std::env::var_os(name);
        let uid = daemon_uid(environment)?;
        let places = uid.map_or_else(Places::of_process, Places::of_user);
        let socket = Self::at_first_of(places.candidates(given_address(environment)?));
        Ok(match uid {
            Some(uid) => socket.with_daemon_uid(uid),
            None => socket,
        })
    }

    /// Accepts the daemon of this user, and no other. Default: the user who runs this program.
    #[must_use]
    pub fn with_daemon_uid(self, uid: u32) -> Self {
        self.change(|settings| settings.daemon = Rule::Uid(uid))
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
