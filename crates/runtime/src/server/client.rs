//! [`ClientStream`]: the connection of one client.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use crate::caller::Peer;

/// A client's byte stream, which distinguishes a client that has closed its sending half, as `printf ... | nc -U` does, from one
/// that has disconnected.
///
/// Only a Unix socket can make this distinction. The first is the end of the input, and the client still reads its response; the
/// second is the error [`ConnectionReset`](io::ErrorKind::ConnectionReset).
pub(super) struct ClientStream {
    stream: UnixStream,
    peer: Arc<Peer>,
    /// Resolves when the client may not stay connected; `None` for a client that always may.
    removed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl ClientStream {
    pub(super) fn new(
        stream: UnixStream,
        peer: Arc<Peer>,
        removed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ) -> Self {
        Self {
            stream,
            peer,
            removed,
        }
    }

    /// Returns the process at the other end.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    fn poll_removed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.removed {
            Some(removed) => removed.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Returns `true` if both directions are closed. Where the system does not report it, the client counts as gone.
fn is_hung_up(socket: impl AsFd) -> bool {
    let mut socket = [PollFd::new(&socket, PollFlags::empty())];
    poll(&mut socket, Some(&Timespec::default())).is_err()
        || socket[0].revents().contains(PollFlags::HUP)
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A connection always reads, so this also ends one that is idle.
        if self.poll_removed(cx).is_ready() {
            let text = "the uid of the client was removed from `allow_uids`";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let is_end = matches!(read, Poll::Ready(Ok(())))
            && buf.filled().len() == before
            && buf.remaining() > 0;
        if is_end && is_hung_up(&self.stream) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use keyway_local::Credentials;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn client(
        removed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ) -> (ClientStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let credentials = Credentials::of_peer(&ours).expect("credentials");
        let peer = Peer::identify(ours.as_fd(), credentials, true);
        (ClientStream::new(ours, Arc::new(peer), removed), theirs)
    }

    #[tokio::test]
    async fn a_client_that_ended_its_sending_half_has_an_end_of_input_and_reads() {
        let (mut client, mut theirs) = client(None);
        theirs.write_all(b"request").await.expect("written");
        theirs.shutdown().await.expect("ended");
        let mut buffer = [0; 16];
        assert_eq!(client.read(&mut buffer).await.expect("the request"), 7);
        assert_eq!(client.read(&mut buffer).await.expect("the end"), 0);
        client.write_all(b"response").await.expect("written");
        let mut response = [0; 8];
        theirs
            .read_exact(&mut response)
            .await
            .expect("the response");
    }

    #[tokio::test]
    async fn a_disconnected_client_is_an_error() {
        let (mut client, theirs) = client(None);
        drop(theirs);
        let error = client.read(&mut [0; 16]).await.expect_err("it has gone");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_removed_client_is_disconnected_while_it_is_idle() {
        let (remove, removed) = tokio::sync::oneshot::channel::<()>();
        let removed = Box::pin(async { drop(removed.await) });
        let (mut client, _theirs) = client(Some(removed));
        let mut buffer = [0; 16];
        let (read, ()) = tokio::join!(client.read(&mut buffer), async { drop(remove) });
        assert_eq!(
            read.expect_err("removed").kind(),
            io::ErrorKind::ConnectionAborted
        );
    }
}
