//! One connection: used by one request at a time, and driven by that request.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use keyway_rpc::Body;
use tokio::net::UnixStream;

use super::http1::to_origin_form;
use super::{Shared, SocketError, dial};

/// hyper's own half of a connection: it reads and writes when it is polled.
type Driver = hyper::client::conn::http1::Connection<TokioIo<UnixStream>, Body>;

/// A connection between requests.
pub(super) struct Connection {
    sender: SendRequest<Body>,
    driver: Driver,
}

impl Connection {
    async fn open(shared: &Shared) -> Result<Self, SocketError> {
        let stream = dial::dial(&shared.settings).await?;
        let (sender, driver) = Builder::new().handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver })
    }

    /// Whether another request can be sent. Sees a close by the daemon that has arrived by now. Nothing waits for the
    /// outcome, so nobody needs to be woken.
    fn is_usable(&mut self) -> bool {
        let mut idle = Context::from_waker(Waker::noop());
        Pin::new(&mut self.driver).poll(&mut idle).is_pending() && self.sender.is_ready()
    }
}

/// Sends one request over a kept connection or a new one.
pub(super) async fn send(
    shared: Arc<Shared>,
    mut request: http::Request<Body>,
) -> Result<http::Response<ResponseBody>, SocketError> {
    to_origin_form(&mut request);
    loop {
        let kept = shared.idle().pop();
        let Some(mut connection) = kept else {
            break;
        };
        if !connection.is_usable() {
            continue;
        }
        match exchange(&shared, connection, request).await {
            Ok(response) => return Ok(response),
            Err((error, None)) => return Err(error),
            // The daemon closed the connection in this very moment, before any of the request was sent.
            Err((_, Some(unsent))) => request = unsent,
        }
    }
    let connection = Connection::open(&shared).await?;
    exchange(&shared, connection, request)
        .await
        .map_err(|(error, _)| error)
}

/// Sends a request and waits for the head of its response. A request that was not sent at all comes back.
async fn exchange(
    shared: &Arc<Shared>,
    mut connection: Connection,
    request: http::Request<Body>,
) -> Result<http::Response<ResponseBody>, (SocketError, Option<http::Request<Body>>)> {
    let mut response = pin!(connection.sender.try_send_request(request));
    let mut driver = Some(connection.driver);
    let response = poll_fn(|cx| {
        drive(&mut driver, cx);
        response.as_mut().poll(cx)
    });
    let (parts, incoming) = match response.await {
        Ok(response) => response.into_parts(),
        Err(mut error) => {
            let unsent = error.take_message();
            return Err((error.into_error().into(), unsent));
        }
    };
    let rest = driver.map(|driver| Connection {
        sender: connection.sender,
        driver,
    });
    let mut body = ResponseBody {
        incoming,
        connection: rest,
        shared: Arc::clone(shared),
    };
    if body.incoming.is_end_stream() {
        body.finish();
    }
    Ok(http::Response::from_parts(parts, body))
}

/// Drives a connection until it has ended. Its errors reach the request through the response or the body.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver
        .as_mut()
        .is_some_and(|driver| Pin::new(driver).poll(cx).is_ready())
    {
        *driver = None;
    }
}

/// The body of a response. Read to its end it gives its connection back; dropped before, it closes it.
pub struct ResponseBody {
    incoming: Incoming,
    connection: Option<Connection>,
    shared: Arc<Shared>,
}

impl ResponseBody {
    fn finish(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && connection.is_usable()
        {
            self.shared.keep(connection);
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        let ended =
            |connection: &mut Connection| Pin::new(&mut connection.driver).poll(cx).is_ready();
        if self.connection.as_mut().is_some_and(ended) {
            self.connection = None;
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = SocketError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SocketError>>> {
        let mut frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending() {
            self.drive(cx);
            frame = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        let frame = ready!(frame);
        if frame.is_none() || self.incoming.is_end_stream() {
            self.finish();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(SocketError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
