//! [`OnUpgrade`]: what becomes of a byte stream that switches protocols.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::Reader;

/// Takes the byte stream over behind a response with the status 101.
///
/// The service puts it into the extensions of the response. When the response has left, the
/// connection gives its place back (see [`Limits::max_connections`](crate::Limits::max_connections))
/// and its task runs the future that the function returns, under the limits of the other protocol.
///
/// ```
/// use http::{Response, StatusCode};
/// use keyway_http::{OnUpgrade, Upgraded};
/// use tokio::io::AsyncWriteExt;
///
/// async fn echo(mut io: Upgraded) {
///     let (mut reader, mut writer) = tokio::io::split(&mut io);
///     let _ = tokio::io::copy(&mut reader, &mut writer).await;
/// }
///
/// let mut response = Response::new(());
/// *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
/// response.headers_mut().insert("upgrade", http::HeaderValue::from_static("echo"));
/// response.extensions_mut().insert(OnUpgrade::new(echo));
/// ```
#[derive(Clone)]
pub struct OnUpgrade(Arc<Mutex<Option<Then>>>);

pub(super) type Then = Box<dyn FnOnce(Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl OnUpgrade {
    /// Runs the future of `then` on the byte stream. It is called once at most.
    pub fn new<F, R>(then: F) -> Self
    where
        F: FnOnce(Upgraded) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let then: Then = Box::new(move |io| Box::pin(then(io)));
        Self(Arc::new(Mutex::new(Some(then))))
    }

    /// The function; `None` if a clone of this value was used already.
    pub(super) fn take(&self) -> Option<Then> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnUpgrade").finish_non_exhaustive()
    }
}

/// A byte stream behind the response that switched its protocol. It begins with what the peer had
/// sent together with the request.
pub struct Upgraded {
    /// Empty when all of it was read.
    reader: Option<Reader>,
    io: Box<dyn Io>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<I: AsyncRead + AsyncWrite + Send + Unpin> Io for I {}

impl Upgraded {
    pub(super) fn new(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        reader: Reader,
    ) -> Self {
        let reader = Some(reader).filter(|reader| !reader.is_empty());
        Self {
            reader,
            io: Box::new(io),
        }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(reader) = &mut this.reader {
            let len = reader.unread().len().min(buf.remaining());
            buf.put_slice(&reader.unread()[..len]);
            reader.consume(len);
            if reader.is_empty() {
                this.reader = None;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
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
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
