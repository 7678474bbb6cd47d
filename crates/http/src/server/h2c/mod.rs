//! HTTP/2 without TLS, by hyper, for connections that begin with its preface (RFC 9113, section 3.3).

mod executor;
mod io;
mod request;
mod response;
mod streams;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use self::executor::Executor;
use self::io::Wire;
pub(super) use self::request::Http2Body;
use self::response::{PIECE, ToHyper};
use self::streams::Streams;
use super::http1::Http1;
use super::state::State;
use super::{HttpService, ServeError};
use crate::wire::{ByteStream, Upgraded};

/// The preface that every HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests that one connection may have in progress.
const MAX_STREAMS: u32 = 32;

/// Bytes of the fields of one request, as HTTP/2 counts them.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Bytes of the bodies of one request, and of all requests of a connection, that a peer may send
/// before a handler has read them.
const STREAM_WINDOW: u32 = 64 * 1024 - 1;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Interval of the checks of a connection with requests in progress, and the limit for the peer's response.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

impl<I, S, F> Http1<'_, I, S, F>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = ()>,
{
    /// Reads as much as is needed to tell HTTP/2 from HTTP/1.1. The end of the input and the end of
    /// the wait for a first byte are left to HTTP/1.1.
    pub(in crate::server) async fn begins_with_preface(&mut self) -> Result<bool, ServeError> {
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
                    Poll::Pending if is_silent && self.stop.poll_silent(cx) => {}
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
pub(super) async fn serve<I, S, F>(mut connection: Http1<'_, I, S, F>) -> Result<(), ServeError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
    F: Future<Output = ()>,
{
    let (limits, is_single) = (connection.limits, connection.is_single);
    let streams = Streams::new(connection.clock.shared(), limits.max_streams);
    let executor = Executor::new(&streams);
    let io = Upgraded::new(
        connection.reader,
        Box::new(connection.io) as Box<dyn ByteStream>,
    );
    let io = TokioIo::new(Wire::new(io, Arc::clone(&streams)));
    let service = ToHyper::new(connection.service, Arc::clone(&streams));
    let mut builder = Builder::new(executor.handle());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(PIECE)
        .max_concurrent_streams(if is_single { 1 } else { MAX_STREAMS })
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
            streams.reap(cx);
            let is_last = connection.stop.poll(cx) || is_single && streams.has_opened();
            if is_last && !is_stopping {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
                continue;
            }
            let state = streams.state();
            // The GoAway has left, or waits for a peer that does not read.
            if state == State::Idle && is_stopping {
                return Poll::Ready(Ok(()));
            }
            let clock = &mut connection.clock;
            clock.enter(state)?;
            if let Some(deadline) = streams.next_stall(limits) {
                ready!(clock.poll_timer(deadline, cx));
                if !streams.reset_stalled(limits) {
                    let limit = limits.write_timeout;
                    return Poll::Ready(Err(ServeError::SlowReader { limit }));
                }
            } else {
                ready!(clock.poll(limits, cx));
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    })
    .await
}
