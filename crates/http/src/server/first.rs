//! The first request of a connection, where it is a plain one.
//!
//! Callers that open a connection for each request send all of it in one write. Such a request is
//! answered here, without what a server needs for connections that stay: hyper's buffers, its
//! channel for bodies, its state machine. Everything that is not plain goes to hyper, from the
//! first byte on: a request that did not arrive at once, or whose head says anything about its own
//! framing but one length, or about the connection; and so does every further request. What hyper
//! would refuse is refused by hyper.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::ServeError;
use super::activity::Wait;
use super::clock::Clock;
use super::stop::Stop;
use crate::wire::Reader;
use crate::wire::{Framing, SendError, Writer};
use crate::{BoxError, RequestBody};

/// The most fields of a head, as hyper has it.
const MAX_FIELDS: usize = 100;

/// What is to be done with a connection now.
pub(super) enum Next {
    /// Nothing more: it ended as it should.
    End,
    /// Hyper takes it over, with these bytes before those that are still to come.
    Hyper(Reader),
}

/// Answers the first request, if it is a plain one.
pub(super) async fn first<I, S, B, F>(
    io: &mut I,
    service: &mut S,
    max_head_size: usize,
    clock: &mut Clock,
    stop: &mut Stop<'_, F>,
) -> Result<Next, ServeError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
    B: http_body::Body,
    B::Error: Into<BoxError>,
    F: Future<Output = ()>,
{
    let mut reader = Reader::new();
    if !wait(io, &mut reader, clock, stop).await? {
        return Ok(Next::End);
    }
    let Some(request) = plain(&mut reader, max_head_size) else {
        return Ok(Next::Hyper(reader));
    };
    let answer = answer(io, &mut reader, service, stop, request).await?;
    if !send(io, answer, clock, stop).await? {
        return Ok(Next::End);
    }
    if reader.is_empty() {
        clock.restart();
        if !wait(io, &mut reader, clock, stop).await? {
            return Ok(Next::End);
        }
    }
    Ok(Next::Hyper(reader))
}

/// Waits for bytes; `false` if the connection is at its end instead, is to end, or was idle for too
/// long.
async fn wait<I, F>(
    io: &mut I,
    reader: &mut Reader,
    clock: &mut Clock,
    stop: &mut Stop<'_, F>,
) -> Result<bool, ServeError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    poll_fn(|cx| {
        let came = match reader.poll_fill(io, cx)? {
            Poll::Ready(bytes) => bytes > 0,
            Poll::Pending if stop.poll(cx) => false,
            Poll::Pending => match clock.poll(Wait::Request, cx)? {
                Poll::Ready(()) => false,
                Poll::Pending => return Poll::Pending,
            },
        };
        if !came {
            close(io, cx);
        }
        Poll::Ready(Ok(came))
    })
    .await
}

/// Closes the write side. A peer that does not take even that is not waited for; dropping the
/// connection tells it as well.
fn close<I: AsyncWrite + Unpin>(io: &mut I, cx: &mut Context<'_>) {
    // There is nothing left to say, so nobody misses it.
    let _ = Pin::new(io).poll_shutdown(cx);
}

/// Takes a plain request out of the reader; `None`, and nothing is taken, if it is not one.
fn plain(reader: &mut Reader, max_head_size: usize) -> Option<http::Request<RequestBody>> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let unread = reader.unread();
    let parsed = head.parse_with_uninit_headers(unread, &mut fields);
    let Ok(httparse::Status::Complete(size)) = parsed else {
        return None;
    };
    if size > max_head_size || head.version != Some(1) {
        return None;
    }
    let method = match head.method? {
        "POST" => Method::POST,
        "GET" => Method::GET,
        _ => return None,
    };
    let path = head.path.filter(|path| path.starts_with('/'))?;
    let uri = Uri::try_from(path).ok()?;
    let (headers, length) = headers(head.headers, &unread[..size])?;
    let length = match (length, &method) {
        (Some(length), &Method::POST) => length,
        (None, &Method::GET) => 0,
        _ => return None,
    };
    // All of it has to be here, so its length is one of memory.
    if length > unread.len() - size {
        return None;
    }
    reader.consume(size);
    let body = match length {
        0 => RequestBody::default(),
        length => RequestBody::full(reader.take(length, true)),
    };
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(request)
}

/// The fields and the length of the body; `None` if one of them asks for more than an answer. The
/// fields lie in `head`, of which their values share one copy.
fn headers(fields: &[httparse::Header<'_>], head: &[u8]) -> Option<(HeaderMap, Option<usize>)> {
    const NOT_PLAIN: [HeaderName; 6] = [
        header::CONNECTION,
        header::EXPECT,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
    ];
    let copy = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut length = None;
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if NOT_PLAIN.contains(&name) {
            return None;
        }
        if name == header::CONTENT_LENGTH && length.replace(decimal(field.value)?).is_some() {
            return None;
        }
        let value = copy.slice(place(field.value, head)?);
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some((headers, length))
}

/// Where `part` lies in `whole`.
fn place(part: &[u8], whole: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let place = start..start.checked_add(part.len())?;
    (whole.get(place.clone())? == part).then_some(place)
}

/// Digits and nothing else, and no more of them than the length of what fits into a buffer has.
fn decimal(text: &[u8]) -> Option<usize> {
    let is_number = (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

/// Calls the service. A peer that closes its write side meanwhile is gone, as hyper has it, and
/// its request is dropped; what it sends meanwhile waits.
async fn answer<I, S, B, F>(
    io: &mut I,
    reader: &mut Reader,
    service: &mut S,
    stop: &mut Stop<'_, F>,
    request: http::Request<RequestBody>,
) -> Result<http::Response<B>, ServeError>
where
    I: AsyncRead + Unpin,
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>,
    F: Future<Output = ()>,
{
    let call = async {
        match poll_fn(|cx| service.poll_ready(cx)).await {
            Ok(()) => service.call(request).await,
            Err(never) => match never {},
        }
    };
    let mut call = pin!(call);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return Poll::Ready(answer.map_err(|never| match never {}));
        }
        stop.poll(cx);
        if reader.is_empty() {
            match reader.poll_fill(io, cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(ServeError::Gone)),
                Poll::Ready(_) | Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// Sends a response; `true` if the connection stays.
async fn send<I, B, F>(
    io: &mut I,
    response: http::Response<B>,
    clock: &mut Clock,
    stop: &mut Stop<'_, F>,
) -> Result<bool, ServeError>
where
    I: AsyncWrite + Unpin,
    B: http_body::Body,
    B::Error: Into<BoxError>,
    F: Future<Output = ()>,
{
    let (parts, body) = response.into_parts();
    if parts.status.is_informational() {
        return Err(ServeError::Body(
            "it has the status of an interim one".into(),
        ));
    }
    let mut body = pin!(body);
    let framing = match parts.status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Framing::None,
        _ => Framing::of(&*body),
    };
    let stays = !stop.is_stopping() && !parts.headers.contains_key(header::CONNECTION);
    let start = start(&parts.status, stays);
    let mut writer = Writer::new(&start, &parts.headers, body.as_mut(), framing);
    clock.restart();
    poll_fn(|cx| match writer.poll_send(io, cx) {
        Poll::Ready(sent) => Poll::Ready(sent.map_err(ServeError::from)),
        Poll::Pending => match writer.blocked_at() {
            Some(written) => clock.poll(Wait::Reader { written }, cx),
            None => Poll::Pending,
        },
    })
    .await?;
    if !stays {
        poll_fn(|cx| {
            close(io, cx);
            Poll::Ready(())
        })
        .await;
    }
    Ok(stays)
}

/// The status line, and what is said about the connection.
fn start(status: &StatusCode, stays: bool) -> [&[u8]; 6] {
    let reason = status.canonical_reason().unwrap_or("<none>");
    let connection = match stays {
        true => &b""[..],
        false => b"connection: close\r\n",
    };
    let code = status.as_str().as_bytes();
    [
        b"HTTP/1.1 ",
        code,
        b" ",
        reason.as_bytes(),
        b"\r\n",
        connection,
    ]
}

impl From<SendError> for ServeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Io(error) => Self::Io(error),
            SendError::Body(error) => Self::Body(error),
        }
    }
}
