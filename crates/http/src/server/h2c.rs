//! HTTP/2 without TLS, by hyper, for connections that begin with its preface (RFC 9113, section 3.3).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use super::RequestBody;
use super::ServeError;
use super::http1::Http1;
use super::state::State;
use crate::BoxError;
use crate::wire::{ByteStream, Upgraded};

/// What every HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests that one connection may have in progress.
const MAX_STREAMS: u32 = 32;

/// Bytes of the fields of one request, as HTTP/2 counts them.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// How often a connection with requests in progress is checked, and how long the peer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

impl<I, S, F> Http1<'_, I, S, F>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = ()>,
{
    /// Reads as much as is needed to tell HTTP/2 from HTTP/1.1. The end of the input and the end of
    /// the wait for a first byte are left to HTTP/1.1.
    pub(super) async fn begins_with_preface(&mut self) -> Result<bool, ServeError> {
        poll_fn(|cx| {
            loop {
                let unread = self.reader.unread();
                if unread.starts_with(PREFACE) {
                    return Poll::Ready(Ok(true));
                }
                if !PREFACE.starts_with(unread) {
                    return Poll::Ready(Ok(false));
                }
                if !unread.is_empty() {
                    self.clock.enter(State::Preface)?;
                }
                let is_silent = unread.is_empty();
                match self.reader.poll_fill(&mut self.io, cx)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(false)),
                    Poll::Ready(_) => continue,
                    Poll::Pending if is_silent && self.stop.poll(cx) => {}
                    Poll::Pending => match self.clock.poll(self.limits, cx) {
                        Poll::Ready(limit) if !is_silent => {
                            return Poll::Ready(Err(ServeError::SlowHead { limit }));
                        }
                        Poll::Ready(_) => {}
                        Poll::Pending => return Poll::Pending,
                    },
                }
                return Poll::Ready(Ok(false));
            }
        })
        .await
    }
}

/// Serves the connection to its end.
pub(super) async fn serve<I, S, B, F>(mut connection: Http1<'_, I, S, F>) -> Result<(), ServeError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    F: Future<Output = ()>,
{
    let activity = Arc::<Activity>::default();
    let io = Upgraded::new(
        connection.reader,
        Box::new(connection.io) as Box<dyn ByteStream>,
    );
    let io = TokioIo::new(Wire {
        io,
        activity: Arc::clone(&activity),
    });
    let service = ToHyper::new(connection.service, Arc::clone(&activity));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut is_stopping = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(ServeError::Http2));
            }
            if !is_stopping && connection.stop.poll(cx) {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
                continue;
            }
            let clock = &mut connection.clock;
            match activity.state() {
                State::Reader => clock.enter_reader(activity.written())?,
                // The GoAway has left, or waits for a peer that does not read.
                State::Idle if is_stopping => return Poll::Ready(Ok(())),
                state => clock.enter(state)?,
            }
            let limit = ready!(clock.poll(connection.limits, cx));
            return Poll::Ready(match activity.state() {
                State::Reader => Err(ServeError::SlowReader { limit }),
                _ => Ok(()),
            });
        }
    })
    .await
}

/// What hyper does with a connection. The atomics are there because hyper runs handlers in tasks of
/// their own.
#[derive(Default)]
struct Activity {
    handlers: AtomicUsize,
    /// Responses whose body was not yet taken by the peer.
    responses: AtomicUsize,
    written: AtomicU64,
}

impl Activity {
    fn state(&self) -> State {
        if self.handlers.load(Ordering::SeqCst) > 0 {
            State::Handler
        } else if self.responses.load(Ordering::SeqCst) > 0 {
            State::Reader
        } else {
            State::Idle
        }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }
}

/// One request or response in progress; counted until it is dropped.
struct Guard {
    activity: Arc<Activity>,
    counter: fn(&Activity) -> &AtomicUsize,
}

impl Guard {
    fn new(activity: &Arc<Activity>, counter: fn(&Activity) -> &AtomicUsize) -> Self {
        counter(activity).fetch_add(1, Ordering::SeqCst);
        let activity = Arc::clone(activity);
        Self { activity, counter }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        (self.counter)(&self.activity).fetch_sub(1, Ordering::SeqCst);
    }
}

type ErasedBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
type ErasedFuture =
    Pin<Box<dyn Future<Output = Result<http::Response<ErasedBody>, Infallible>> + Send>>;

/// A tower service as hyper calls it: cloned for each request. Its types are erased, because a copy of HTTP/2 for each
/// service would have 150 KB.
struct ToHyper {
    call: Box<dyn Fn(http::Request<Incoming>) -> ErasedFuture + Send>,
}

impl ToHyper {
    fn new<S, B>(service: S, activity: Arc<Activity>) -> Self
    where
        S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let call = move |request: http::Request<Incoming>| {
            let mut service = service.clone();
            let activity = Arc::clone(&activity);
            let handling = Guard::new(&activity, |activity| &activity.handlers);
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                let response = service.call(request.map(RequestBody::from)).await?;
                let guard = Guard::new(&activity, |activity| &activity.responses);
                drop(handling);
                Ok(response.map(|body| {
                    Box::pin(Counted {
                        inner: Box::pin(body),
                        _guard: guard,
                    }) as ErasedBody
                }))
            }) as ErasedFuture
        };
        Self {
            call: Box::new(call),
        }
    }
}

impl hyper::service::Service<http::Request<Incoming>> for ToHyper {
    type Response = http::Response<ErasedBody>;
    type Error = Infallible;
    type Future = ErasedFuture;

    fn call(&self, request: http::Request<Incoming>) -> ErasedFuture {
        (self.call)(request)
    }
}

/// The body of a response, counted until hyper has dropped it.
struct Counted<B> {
    inner: Pin<Box<B>>,
    _guard: Guard,
}

impl<B: Body<Error: Into<BoxError>>> Body for Counted<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        let into_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        let frame = frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.map_data(into_bytes)),
            Err(error) => Err(error.into()),
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The byte stream as hyper uses it, which reports how much the peer takes.
struct Wire {
    io: Upgraded,
    activity: Arc<Activity>,
}

impl Wire {
    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.activity
                .written
                .fetch_add(*bytes as u64, Ordering::SeqCst);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.count(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
