//! The transport to a daemon: finds its socket, dials it, checks its user, and keeps connections.

mod body;
mod dial;
mod liveness;
mod stream;
mod watch;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
use keyway_http::{ExchangeError, Pool, Repeatable};
use keyway_local::{Address, EnvironmentError, Places, Rule, daemon_uid, given_address};
use keyway_rpc::{Body, BoxError, Idempotency, MethodSpec};
use tower_service::Service;

use body::Exchanged;
pub use body::ResponseBody;
use dial::Dialer;
pub use dial::{Attempt, ConnectError, DialError};
use watch::Watch;

/// The transport to a daemon: a `tower::Service` that carries HTTP/1.1 requests over Unix sockets.
///
/// - It looks for the daemon at each of its addresses in turn, at the first request and whenever it needs another
///   connection, so a daemon that is restarted is found again.
/// - It reads the daemon's user from the kernel, and refuses another user than its own unless
///   [`with_daemon_uid`](Self::with_daemon_uid) names that user.
/// - It keeps connections and uses them again. A kept connection that the daemon has closed meanwhile is noticed before
///   anything is sent on it, and replaced. If it closes one in the very moment of a request, the request is sent
///   once more, on a new connection, if its method is idempotent or none of it was sent. No other request is repeated.
/// - A request without a timeout waits as long as the daemon lives: after 2 s without a byte of the response, and then every
///   5 s, it calls `GetVersion` on another connection. If no response comes within 3 s, the request ends with
///   [`SocketError::Unresponsive`].
/// - It spawns no task: a connection is driven by the request that uses it. Clones share the connections. A forked process
///   does not use those of its parent.
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
    pool: Pool<Dialer>,
    max_idle: usize,
}

/// The header of a request with a timeout (Connect protocol), which bounds its wait.
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");

/// The authority that is sent. A daemon ignores it, because the socket names the daemon.
const AUTHORITY: HeaderValue = HeaderValue::from_static("keyway");

#[derive(Clone, Debug)]
struct Settings {
    addresses: Vec<Address>,
    daemon: Rule,
    connect_timeout: Duration,
}

impl DaemonSocket {
    /// Creates the socket of the daemon at this address and no other.
    pub fn at(address: Address) -> Self {
        Self::at_first_of([address])
    }

    /// Creates the socket of the daemon at the first of these addresses where one listens.
    pub fn at_first_of(addresses: impl IntoIterator<Item = Address>) -> Self {
        let settings = Settings {
            addresses: addresses.into_iter().collect(),
            daemon: Rule::Own,
            connect_timeout: Duration::from_secs(2),
        };
        Self::with_settings(settings, 64)
    }

    /// Creates the socket of the daemon that the environment names: at `KEYWAY_SOCKET` if that is set, else at [the usual
    /// addresses](Places::candidates); of the user of this process, or of the user `KEYWAY_DAEMON_UID` if that is set.
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

    /// Accepts the daemon of this user, and no other. Default: the user of this process.
    #[must_use]
    pub fn with_daemon_uid(self, uid: u32) -> Self {
        self.change(|settings| settings.daemon = Rule::Uid(uid))
    }

    /// Sets how long a connection to one address may take to be accepted. Default: 2 s; it is immediate unless more programs
    /// connect than the daemon accepts.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.change(|settings| settings.connect_timeout = timeout)
    }

    /// Sets how many connections are kept for later. Default: 64; more may be in use at the same time.
    #[must_use]
    pub fn max_idle(self, connections: usize) -> Self {
        let settings = self.pool.connector().settings().clone();
        Self::with_settings(settings, connections)
    }

    /// Returns the addresses at which the daemon is looked for, in this order.
    pub fn addresses(&self) -> &[Address] {
        &self.pool.connector().settings().addresses
    }

    fn with_settings(settings: Settings, max_idle: usize) -> Self {
        Self {
            pool: Pool::new(Dialer::new(settings), max_idle),
            max_idle,
        }
    }

    fn change(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.pool.connector().settings().clone();
        change(&mut settings);
        Self::with_settings(settings, self.max_idle)
    }
}

impl Service<http::Request<Body>> for DaemonSocket {
    type Response = http::Response<ResponseBody>;
    type Error = SocketError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, SocketError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.headers_mut().insert(HOST, AUTHORITY);
        if is_repeatable(&request) {
            request.extensions_mut().insert(Repeatable::default());
        }
        let watch = match request.headers().contains_key(TIMEOUT) {
            true => None,
            false => Some(Watch::new(self.pool.clone())),
        };
        let response = self.pool.call(request);
        Box::pin(watched(response, watch))
    }
}

/// Waits for the head of a response, and ends if the daemon is unresponsive.
async fn watched(
    response: impl Future<Output = Result<http::Response<Exchanged>, ExchangeError>>,
    mut watch: Option<Watch>,
) -> Result<http::Response<ResponseBody>, SocketError> {
    let mut response = pin!(response);
    let response = poll_fn(|cx| match (response.as_mut().poll(cx), &mut watch) {
        (Poll::Pending, Some(watch)) => watch.poll(cx).map(Err),
        (polled, _) => polled.map_err(SocketError::from),
    });
    let response = response.await?;
    if let Some(watch) = &mut watch {
        watch.heard();
    }
    Ok(response.map(|body| ResponseBody { body, watch }))
}

/// Returns `true` if the method of this request may be called twice.
fn is_repeatable(request: &http::Request<Body>) -> bool {
    let spec = request.extensions().get::<&'static MethodSpec>();
    spec.is_some_and(|spec| spec.idempotency() != Idempotency::Unknown)
}

impl fmt::Debug for DaemonSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonSocket")
            .field("settings", self.pool.connector().settings())
            .field("max_idle", &self.max_idle)
            .finish_non_exhaustive()
    }
}

/// Error of a request to the daemon without a complete response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// No daemon was reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection to the daemon broke, or the response was not HTTP/1.1.
    #[error("the connection to the daemon broke")]
    Http(#[source] BoxError),
    /// The daemon is there and responds to nothing: it is stopped, or hangs.
    #[error("the daemon does not answer")]
    Unresponsive {
        /// The process that listens; `None` if it is not known. With socket activation it is the service manager.
        pid: Option<i32>,
    },
}

impl From<ExchangeError> for SocketError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Connect(error) => match error.downcast::<ConnectError>() {
                Ok(error) => Self::Connect(*error),
                Err(error) => Self::Http(error),
            },
            error => Self::Http(error.into()),
        }
    }
}
