//! [`Pool`]: byte streams that are kept for further requests.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::Uri;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::body::{ExchangeBody, Keep, Then};
use super::error::ExchangeError;
use super::exchange::{Connection, Expect, Failed, FailureKind, exchange};
use super::request::{self, ConnectionOption};
use crate::BoxError;
use crate::syntax::head::ResponseHead;
use crate::wire::Writer;

/// Marks a request, in its extensions, that may be handled twice without doing more than once (RFC 9110, section 9.2.2).
///
/// A [`Pool`] sends such a request again on a fresh stream if a kept one ended before the first byte of a response.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Repeatable;

/// A byte stream that can be kept between requests.
pub trait KeptStream: AsyncRead + AsyncWrite + Send + Sized + Unpin + 'static {
    /// Returns whether the stream is open and nothing has arrived on it, as the system has it now.
    ///
    /// It must not rely on readiness that a runtime has cached: the runtime may not have run since the last request.
    fn is_idle(&self) -> bool;

    /// Prepares the stream for a request on the runtime that runs now.
    ///
    /// # Errors
    ///
    /// Returns an error if the stream cannot be used there. It is dropped, and the request gets another one.
    fn resume(self) -> io::Result<Self> {
        Ok(self)
    }
}

/// A transport that keeps byte streams and uses them again.
///
/// A kept stream is [checked](KeptStream::is_idle) before it is used, and carries one request at a time. No task is
/// spawned: a stream is driven by the future of its request and then by the body of the response; read to its end the body
/// hands the stream back, and dropped before it closes the stream. Clones share the kept streams.
///
/// The server may close a kept stream while a request travels. The request is then sent once more, on a fresh stream, if the
/// kept one took no byte of it, or if it has the extension [`Repeatable`], has at most 64 KiB, and no byte of a response
/// came. A request on a fresh stream is sent once.
///
/// Responses are read as [`Exchange`](super::Exchange) reads them; a body that ends with its stream is refused. There is no
/// timeout: the caller bounds the time of a request.
pub struct Pool<C: Service<Uri>> {
    connector: C,
    idle: Arc<Idle<C::Response>>,
}

impl<C: Service<Uri>> Pool<C> {
    /// Creates a transport over the streams of `connector`, which keeps at most `max_idle` of them.
    #[must_use]
    pub fn new(connector: C, max_idle: usize) -> Self {
        let idle = Idle {
            streams: Mutex::default(),
            max: max_idle,
        };
        Self {
            connector,
            idle: Arc::new(idle),
        }
    }

    /// Returns the connector.
    #[must_use]
    pub fn connector(&self) -> &C {
        &self.connector
    }
}

impl<C: Service<Uri> + Clone> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            connector: self.connector.clone(),
            idle: Arc::clone(&self.idle),
        }
    }
}

impl<C: Service<Uri>> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("max_idle", &self.idle.max)
            .finish_non_exhaustive()
    }
}

/// The streams between requests, the one used last at the end.
struct Idle<I> {
    streams: Mutex<VecDeque<I>>,
    max: usize,
}

impl<I: KeptStream> Idle<I> {
    /// Takes the stream that was used last and can be used again. Those that cannot are dropped.
    fn take(&self) -> Option<I> {
        loop {
            let stream = self.lock().pop_back()?;
            if stream.is_idle()
                && let Ok(stream) = stream.resume()
            {
                return Some(stream);
            }
        }
    }

    /// Never held across an await. A panic elsewhere leaves the list whole.
    fn lock(&self) -> MutexGuard<'_, VecDeque<I>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: KeptStream> Keep<I> for Idle<I> {
    /// Also drops the stream that was not used for the longest time if it has ended, so that a burst does not leave dead
    /// streams behind.
    fn keep(&self, stream: I) {
        let mut streams = self.lock();
        if streams.front().is_some_and(|oldest| !oldest.is_idle()) {
            streams.pop_front();
        }
        if streams.len() < self.max {
            streams.push_back(stream);
        }
    }
}

impl<C, I, B> Service<http::Request<B>> for Pool<C>
where
    C: Service<Uri, Response = I> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    I: KeptStream,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = http::Response<ExchangeBody<I, B>>;
    type Error = ExchangeError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ExchangeError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (connector, idle) = (self.connector.clone(), Arc::clone(&self.idle));
        Box::pin(send(connector, idle, request))
    }
}

/// Sends a request over a kept stream or a fresh one.
async fn send<C, I, B>(
    mut connector: C,
    idle: Arc<Idle<I>>,
    request: http::Request<B>,
) -> Result<http::Response<ExchangeBody<I, B>>, ExchangeError>
where
    C: Service<Uri, Response = I>,
    C::Error: Into<BoxError>,
    I: KeptStream,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    let is_repeatable = request.extensions().get::<Repeatable>().is_some();
    let (uri, method) = (request.uri().clone(), request.method().clone());
    let mut writer = request::writer(request, ConnectionOption::Persistent { is_repeatable });
    if let Some(kept) = idle.take() {
        match exchange(kept, writer, &method, Expect::Response).await {
            Ok((head, connection)) => return Ok(respond(head, connection, idle).await),
            Err(failed) => writer = restarted(failed, is_repeatable)?,
        }
    }
    let connected = async {
        poll_fn(|cx| connector.poll_ready(cx)).await?;
        connector.call(uri).await
    };
    let fresh = connected.await;
    let fresh = fresh.map_err(|error: C::Error| ExchangeError::Connect(error.into()))?;
    let exchanged = exchange(fresh, writer, &method, Expect::Response).await;
    let (head, connection) = exchanged.map_err(|failed| failed.error)?;
    Ok(respond(head, connection, idle).await)
}

/// Returns the request for another stream, if a second try is safe.
fn restarted<B>(mut failed: Failed<B>, is_repeatable: bool) -> Result<Writer<B>, ExchangeError>
where
    B: Body<Error: Into<BoxError>> + Unpin,
{
    let may_be_repeated = match failed.kind {
        FailureKind::NotSent => true,
        FailureKind::Unanswered => is_repeatable,
        FailureKind::Broken => false,
    };
    match may_be_repeated && failed.writer.restart() {
        true => Ok(failed.writer),
        false => Err(failed.error),
    }
}

async fn respond<I, B>(
    head: ResponseHead,
    connection: Connection<I, B>,
    idle: Arc<Idle<I>>,
) -> http::Response<ExchangeBody<I, B>>
where
    I: KeptStream,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    ExchangeBody::response(head, connection, false, Then::Keep(idle))
}
