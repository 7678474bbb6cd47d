//! [`Watch`]: probes the daemon while a call waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Uri};
use keyway_http::{ExchangeError, Pool, Repeatable};
use keyway_proto::health::v1::version_service_methods::GET_VERSION;
use keyway_rpc::Body;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tower_service::Service as _;

use super::dial::Dialer;
use super::liveness::{Liveness, PROBE_TIMEOUT, Probed};
use super::{AUTHORITY, SocketError};

/// Probes the daemon of one call, whenever it has been silent for a while.
pub(super) struct Watch {
    pool: Pool<Dialer>,
    liveness: Liveness,
    state: State,
}

enum State {
    Waiting(Pin<Box<Sleep>>),
    Probing(Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send>>),
}

/// Error of a probe that got no response.
enum ProbeError {
    TimedOut,
    Failed(ExchangeError),
}

impl Watch {
    /// Starts the watch of a call that begins now.
    pub(super) fn new(pool: Pool<Dialer>) -> Self {
        let liveness = Liveness::new(Instant::now());
        Self {
            pool,
            state: State::waiting(&liveness),
            liveness,
        }
    }

    /// Restarts the wait, because a part of the response came.
    pub(super) fn heard(&mut self) {
        self.liveness = Liveness::new(Instant::now());
        match &mut self.state {
            State::Waiting(sleep) => sleep.as_mut().reset(self.liveness.due()),
            State::Probing(_) => self.state = State::waiting(&self.liveness),
        }
    }

    /// Returns `Ready` once the daemon counts as unresponsive. To be polled when the call itself is pending.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SocketError> {
        loop {
            match &mut self.state {
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::Probing(Box::pin(probe(self.pool.clone())));
                }
                State::Probing(probe) => {
                    let response = ready!(probe.as_mut().poll(cx));
                    let outcome = match &response {
                        Ok(()) => Probed::Responded,
                        Err(ProbeError::TimedOut) => Probed::TimedOut,
                        Err(ProbeError::Failed(_)) => Probed::Failed,
                    };
                    let is_alive = self.liveness.probed(outcome, Instant::now());
                    self.state = State::waiting(&self.liveness);
                    if !is_alive {
                        return Poll::Ready(self.unresponsive(response.err()));
                    }
                }
            }
        }
    }

    /// Returns the error of a call whose daemon counts as unresponsive after this error of a probe. A shortage of this process
    /// is reported as such, because it says nothing of the daemon.
    fn unresponsive(&self, error: Option<ProbeError>) -> SocketError {
        if let Some(ProbeError::Failed(error)) = error
            && let error = SocketError::from(error)
            && let SocketError::Connect(connect) = &error
            && connect.is_shortage()
        {
            return error;
        }
        let pid = self.pool.connector().daemon_pid();
        SocketError::Unresponsive { pid }
    }
}

impl State {
    fn waiting(liveness: &Liveness) -> Self {
        Self::Waiting(Box::pin(sleep_until(liveness.due())))
    }
}

/// Calls `GetVersion` on a connection that no call uses. The status of the response does not matter: a daemon without the
/// method is alive.
async fn probe(mut pool: Pool<Dialer>) -> Result<(), ProbeError> {
    let mut request = http::Request::new(Body::default());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(GET_VERSION.path());
    let headers = request.headers_mut();
    headers.insert(HOST, AUTHORITY);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/proto"));
    request.extensions_mut().insert(Repeatable::default());
    match timeout(PROBE_TIMEOUT, pool.call(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ProbeError::Failed(error)),
        Err(_) => Err(ProbeError::TimedOut),
    }
}
