//! Clients that end their sending half behind a request, as `printf ... | nc -U` does, and still want the answer.
//!
//! hyper takes the end of what a client sends for the client's end and cancels the call, which is right when the client is
//! gone. A Unix socket tells the two apart: only when both directions are closed is there nobody to answer.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Sleep;

/// How long a client may take nothing of what it is sent.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// What the connection and the service on it know of their client.
#[derive(Debug, Default)]
pub(super) struct Client {
    calls: AtomicUsize,
    has_ended_sending: AtomicBool,
}

/// A call that is being answered; over when dropped.
#[derive(Debug)]
pub(super) struct Call(Arc<Client>);

impl Client {
    /// Counts a call.
    pub(super) fn call(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(self))
    }
}

impl Call {
    /// Whether no further request can come: the answer is the last one.
    pub(super) fn is_last(&self) -> bool {
        self.0.has_ended_sending.load(Ordering::Relaxed)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that hides the end of what its client sends while a call of a client that still reads is answered.
///
/// Should such a client go away, its call is not cancelled and ends by itself.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    client: Arc<Client>,
    /// Runs while the client takes nothing of what it is sent.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, client: Arc<Client>) -> Self {
        Self {
            stream,
            client,
            stalled: None,
        }
    }

    /// Ends a write that the client does not take: what it does not read stays in memory.
    fn with_patience<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = || Box::pin(tokio::time::sleep(WRITE_PATIENCE));
        let stalled = self.stalled.get_or_insert_with(patience);
        stalled.as_mut().poll(cx).map(|()| {
            let text = format!("the client has read nothing for {WRITE_PATIENCE:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    /// Whether the end that was read is to be hidden.
    fn is_awaited(&self) -> bool {
        let is_awaited = self.client.calls.load(Ordering::Relaxed) > 0 && !is_hung_up(&self.stream);
        if is_awaited {
            self.client.has_ended_sending.store(true, Ordering::Relaxed);
        }
        is_awaited
    }
}

/// Whether both directions are closed.
fn is_hung_up(socket: impl AsFd) -> bool {
    let mut socket = [PollFd::new(&socket, PollFlags::empty())];
    // Where the system does not tell, the client is taken for gone.
    poll(&mut socket, Some(&Timespec::default())).is_err()
        || socket[0].revents().contains(PollFlags::HUP)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let is_end = matches!(read, Poll::Ready(Ok(())))
            && buf.filled().len() == before
            && buf.remaining() > 0;
        // The end of the call wakes the connection, which then reads again.
        if is_end && self.is_awaited() {
            return Poll::Pending;
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.with_patience(written, cx)
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
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.with_patience(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pair() -> (Connection, Arc<Client>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let client = Arc::new(Client::default());
        (Connection::new(ours, Arc::clone(&client)), client, theirs)
    }

    async fn read(connection: &mut Connection) -> usize {
        connection.read(&mut [0; 16]).await.expect("read")
    }

    #[tokio::test]
    async fn the_end_is_hidden_while_a_client_that_reads_is_answered() {
        let (mut connection, client, mut theirs) = pair();
        theirs.write_all(b"question").await.expect("written");
        theirs.shutdown().await.expect("ended");
        assert_eq!(read(&mut connection).await, 8);
        let call = client.call();
        assert_eq!(read(&mut connection).now_or_never(), None);
        assert!(call.is_last());
        connection.write_all(b"answer").await.expect("written");
        let mut answer = [0; 6];
        theirs.read_exact(&mut answer).await.expect("the answer");
        drop(call);
        assert_eq!(read(&mut connection).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_not_waited_for_without_end() {
        let (mut connection, _client, mut theirs) = pair();
        let answer = vec![0; 4 << 20];
        let mut taken = vec![0; 1 << 20];
        let started = tokio::time::Instant::now();
        let (written, ()) = tokio::join!(connection.write_all(&answer), async {
            // Slow is not the same as never.
            for _ in 0..3 {
                tokio::time::sleep(WRITE_PATIENCE - Duration::from_secs(1)).await;
                theirs
                    .read_exact(&mut taken[..300_000])
                    .await
                    .expect("some of it");
            }
        });
        let error = written.expect_err("nobody reads the rest");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= 4 * WRITE_PATIENCE - Duration::from_secs(3));
    }

    #[tokio::test]
    async fn the_end_of_a_client_that_is_gone_is_not_hidden() {
        let (mut connection, client, theirs) = pair();
        let call = client.call();
        drop(theirs);
        assert_eq!(read(&mut connection).await, 0);
        assert!(!call.is_last());
    }
}
