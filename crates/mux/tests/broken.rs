//! A connection that fails in one direction only.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use keyway_mux::{Config, Session};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

#[derive(Default)]
struct Shared {
    /// The peer has stopped reading.
    is_broken: bool,
    input: Vec<u8>,
    wakers: Vec<Waker>,
}

/// Takes nothing, and then fails. The other direction stays open.
struct Half {
    shared: Arc<Mutex<Shared>>,
    reads: Arc<AtomicUsize>,
}

impl AsyncRead for Half {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut shared = self.shared.lock().unwrap();
        if shared.input.is_empty() {
            shared.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        buf.put_slice(&std::mem::take(&mut shared.input));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.shared.lock().unwrap();
        if shared.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        shared.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_driver_whose_writes_failed_does_not_spin() {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let reads = Arc::new(AtomicUsize::new(0));
    let half = Half {
        shared: Arc::clone(&shared),
        reads: Arc::clone(&reads),
    };
    let (session, driver) = Session::client(half, Config::default());
    tokio::spawn(driver);
    for _ in 0..100 {
        let mut stream = session.open().await.unwrap();
        tokio::spawn(async move { while stream.write_all(&[7; 2_000]).await.is_ok() {} });
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let before = reads.load(Ordering::Relaxed);
    let wakers = {
        let mut shared = shared.lock().unwrap();
        shared.is_broken = true;
        // A ping, whose response is never sent.
        shared.input = vec![0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        std::mem::take(&mut shared.wakers)
    };
    wakers.into_iter().for_each(Waker::wake);
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    let polls = reads.load(Ordering::Relaxed) - before;
    assert!(polls < 100, "{polls} polls");
}
