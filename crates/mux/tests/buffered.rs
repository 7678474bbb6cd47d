//! Connections that buffer written bytes until they are flushed, as TLS and `BufWriter` do.

mod support;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use keyway_mux::{Config, Role, SessionError};
use support::{End, bounded, end, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};

/// The peer's end takes 64 bytes at a time, so that flushing has to wait for it again and again.
#[tokio::test(start_paused = true)]
async fn bytes_that_a_connection_buffers_are_flushed() {
    let (near, far) = tokio::io::duplex(64);
    let near = BufWriter::with_capacity(100_000, near);
    let far = BufWriter::with_capacity(100_000, far);
    let client = end(near, Role::Client, Config::default());
    let server = end(far, Role::Server, Config::default());
    let (mut near, mut far) = stream(&client.session, &server.session).await;
    for len in [100, 5_000, 90_000] {
        let sent = vec![7; len];
        let mut received = vec![0; len];
        let writing = async {
            near.write_all(&sent).await.unwrap();
            near.flush().await.unwrap();
        };
        let exchange = async { tokio::join!(writing, far.read_exact(&mut received)) };
        bounded("a transfer", exchange).await.1.unwrap();
        assert_eq!(received, sent);
    }
}

/// Accepts every write and forwards nothing.
struct NeverFlushed;

impl AsyncRead for NeverFlushed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for NeverFlushed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

fn never_flushed() -> End {
    let config = Config::new()
        .keep_alive(None)
        .write_timeout(Duration::from_secs(3));
    end(NeverFlushed, Role::Client, config)
}

/// The session ends at the write time-out.
async fn times_out(client: End) {
    let outcome = bounded("the driver", client.driver).await.unwrap();
    assert!(
        matches!(outcome, Err(SessionError::WriteTimeout { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn m23_a_connection_that_is_never_flushed_ends_the_session() {
    let client = never_flushed();
    let mut stream = client.session.open().await.unwrap();
    stream.write_all(b"is the peer alive").await.unwrap();
    let flushed = bounded("the flush", stream.flush()).await;
    assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    times_out(client).await;
}

/// A write that bypasses the queue leaves nothing in it that would wake the driver.
#[tokio::test(start_paused = true)]
async fn m23_a_connection_that_never_forwards_a_large_write_ends_the_session() {
    let client = never_flushed();
    let mut stream = client.session.open().await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(&[7; 65_536]).await.unwrap();
    let waiting = tokio::spawn(async move { stream.write_all(&[7; 65_536]).await });
    times_out(client).await;
    bounded("the write", waiting).await.unwrap().unwrap_err();
}
