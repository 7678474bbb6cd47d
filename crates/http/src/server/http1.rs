//! HTTP/1.1 on one byte stream: one request after the other.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::RequestBody;
use super::clock::Clock;
use super::incoming::Incoming;
use super::respond::{Next, Plan, refusal};
use super::state::State;
use super::stop::Stop;
use super::upgrade::Then;
use super::{HttpService, Limits, ServeError};
use crate::BoxError;
use crate::syntax::head::{RequestHead, parse_request};
use crate::syntax::{self, MAX_FIELDS, SyntaxError};
use crate::wire::{Reader, SendError, Upgraded, Writer};

/// The most that is read of a request that was responded to.
const LINGER_LIMIT: usize = 64 * 1024 * 1024;

/// A connection, between two requests or within one.
pub(super) struct Http1<'a, I, S, F> {
    pub(super) io: I,
    pub(super) reader: Reader,
    pub(super) service: S,
    pub(super) limits: &'a Limits,
    pub(super) clock: Clock,
    pub(super) stop: Stop<'a, F>,
    /// `true` if this is the only request that the connection may make.
    pub(super) is_single: bool,
    /// `true` if the end of the input was read: no further request can arrive.
    pub(super) is_half_closed: bool,
}

impl<I, S, F> Http1<'_, I, S, F>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService,
    F: Future<Output = ()>,
{
    /// Serves requests until the connection ends, or switches protocols.
    pub(super) async fn serve(mut self) -> Result<Option<(Then, Upgraded)>, ServeError> {
        while self.wait_for_request().await? {
            let head = match self.read_head().await? {
                Ok(head) => head,
                Err(error) => {
                    self.send(refusal(error)).await?;
                    self.linger().await?;
                    return Err(ServeError::Malformed {
                        reason: error.reason(),
                    });
                }
            };
            match self.exchange(head).await? {
                Next::Request => self.clock.restart(State::Idle)?,
                Next::Linger => {
                    self.linger().await?;
                    return Ok(None);
                }
                Next::Close => break,
                Next::Switch(then) => {
                    self.clock.enter(State::Upgraded)?;
                    return Ok(Some((then, Upgraded::new(self.reader, Box::new(self.io)))));
                }
            }
        }
        if !self.limits.drop_delivers {
            self.close().await;
        }
        Ok(None)
    }

    /// Waits for the first byte of a request; `false` if the connection is to end instead.
    async fn wait_for_request(&mut self) -> Result<bool, ServeError> {
        if !self.reader.is_empty() {
            return Ok(true);
        }
        if self.is_half_closed {
            return Ok(false);
        }
        let is_silent = self.clock.is_silent();
        poll_fn(|cx| match self.reader.poll_fill(&mut self.io, cx)? {
            Poll::Ready(bytes) => Poll::Ready(Ok(bytes > 0)),
            Poll::Pending if is_silent && self.stop.poll_silent(cx) => Poll::Ready(Ok(false)),
            Poll::Pending if !is_silent && self.stop.poll(cx) => Poll::Ready(Ok(false)),
            Poll::Pending => self.clock.poll(self.limits, cx).map(|_limit| Ok(false)),
        })
        .await
    }

    /// Reads the rest of a head. The inner error is sent to the peer.
    async fn read_head(&mut self) -> Result<Result<RequestHead, SyntaxError>, ServeError> {
        let limits = syntax::Limits {
            bytes: self.limits.max_head_len,
            fields: MAX_FIELDS,
        };
        poll_fn(|cx| {
            loop {
                match parse_request(self.reader.unread(), limits) {
                    Ok(Some((head, len))) => {
                        self.reader.consume(len);
                        return Poll::Ready(Ok(Ok(head)));
                    }
                    Ok(None) => self.clock.enter(State::Head)?,
                    Err(error) => return Poll::Ready(Ok(Err(error))),
                }
                match self.reader.poll_fill(&mut self.io, cx)? {
                    Poll::Ready(0) => return Poll::Ready(Err(ServeError::Truncated)),
                    Poll::Ready(_) => {}
                    Poll::Pending => {
                        let slow = self.clock.poll(self.limits, cx);
                        return slow.map(|limit| Err(ServeError::SlowHead { limit }));
                    }
                }
            }
        })
        .await
    }

    /// Has the service handle one request, and sends its response.
    async fn exchange(&mut self, head: RequestHead) -> Result<Next, ServeError> {
        self.clock.enter(State::Handler)?;
        let (request, mut incoming, facts) = Incoming::new(head, &mut self.reader);
        let handled = self.call(request, &mut incoming).await?;
        let is_last = self.is_single || self.is_half_closed || self.stop.is_stopping();
        let (mut parts, body) = handled.into_parts();
        let body = pin!(body);
        let plan = Plan::new(&mut parts, &*body, &facts, incoming.is_complete(), is_last)?;
        let start = plan.start(&parts.status);
        let mut writer = Writer::new(&start, &parts.headers, body, plan.framing);
        if self.limits.drop_delivers && matches!(plan.next, Next::Close) {
            writer = writer.without_flush();
        }
        self.send(writer).await?;
        Ok(plan.next)
    }

    /// Calls the service, and reads the body of the request as far as the service polls it.
    ///
    /// The end of the input means that the peer has gone, unless half-closed peers have their response;
    /// bytes that arrive beyond the request stay in the reader.
    async fn call(
        &mut self,
        request: http::Request<RequestBody>,
        incoming: &mut Incoming,
    ) -> Result<http::Response<S::ResponseBody>, ServeError> {
        let Self {
            io,
            reader,
            service,
            limits,
            clock,
            stop,
            is_half_closed,
            ..
        } = self;
        let call = async {
            match poll_fn(|cx| service.poll_ready(cx)).await {
                Ok(()) => service.call(request).await,
                Err(never) => match never {},
            }
        };
        let mut call = pin!(call);
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(response) = call.as_mut().poll(cx) {
                    clock.enter(State::Handler)?;
                    return Poll::Ready(response.map_err(|never| match never {}));
                }
                stop.poll(cx);
                if incoming.is_wanted(cx) {
                    match incoming.poll_piece(io, reader, cx) {
                        // Each piece begins the wait for the next anew.
                        Poll::Ready(()) => clock.restart(State::Handler)?,
                        Poll::Pending => {
                            clock.enter(State::Body)?;
                            let Poll::Ready(limit) = clock.poll(limits, cx) else {
                                return Poll::Pending;
                            };
                            incoming
                                .fail(format!("no byte of the request body arrived for {limit:?}"));
                        }
                    }
                    continue;
                }
                clock.enter(State::Handler)?;
                if *is_half_closed || !reader.is_empty() {
                    return Poll::Pending;
                }
                match reader.poll_fill(io, cx) {
                    Poll::Ready(Ok(0)) if limits.half_closed_clients && incoming.has_ended() => {
                        *is_half_closed = true;
                    }
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ServeError::PeerGone)),
                    Poll::Ready(Ok(_)) | Poll::Pending => {}
                }
                return Poll::Pending;
            }
        })
        .await
    }

    /// Sends a response.
    async fn send<R>(&mut self, mut writer: Writer<R>) -> Result<(), ServeError>
    where
        R: Body + Unpin,
        R::Error: Into<BoxError>,
    {
        self.clock.begin_response();
        let sent = poll_fn(|cx| match writer.poll_send(&mut self.io, cx) {
            Poll::Ready(sent) => Poll::Ready(sent.map_err(ServeError::from)),
            Poll::Pending => {
                let Some(written) = writer.blocked_at() else {
                    self.clock.enter(State::Handler)?;
                    return Poll::Pending;
                };
                self.clock.enter_reader(written)?;
                let slow = self.clock.poll(self.limits, cx);
                slow.map(|limit| Err(ServeError::SlowReader { limit }))
            }
        });
        sent.await
    }

    /// Closes the write side and reads on for a moment, because a peer that is still sending when
    /// the byte stream is dropped may miss the response (RFC 9112, section 9.6).
    async fn linger(&mut self) -> Result<(), ServeError> {
        self.close().await;
        self.clock.enter(State::Closing)?;
        self.reader.expect_more();
        let mut discarded = 0;
        poll_fn(|cx| {
            loop {
                self.reader.consume(self.reader.unread().len());
                match self.reader.poll_fill(&mut self.io, cx) {
                    Poll::Ready(Ok(bytes @ 1..)) if discarded < LINGER_LIMIT => discarded += bytes,
                    // The end of the input, or an error that nothing depends on any more.
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.clock.poll(self.limits, cx).map(drop),
                }
            }
        })
        .await;
        Ok(())
    }

    /// Closes the write side. The wait for a peer that does not take even that is omitted, because the
    /// drop of the byte stream reports the end as well.
    async fn close(&mut self) {
        poll_fn(|cx| {
            let _ = Pin::new(&mut self.io).poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }
}

impl From<SendError> for ServeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Io(error) => Self::Io(error),
            SendError::Body(error) => Self::Response(error),
        }
    }
}
