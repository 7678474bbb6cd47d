//! A large transfer and small calls on the same session.

mod support;

use std::{
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyway_mux::{Config, Stream};
use support::{bounded, pair, patiently, stream, wired_pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Reads without end and counts the bytes.
async fn count(mut stream: Stream, received: Arc<AtomicUsize>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        received.fetch_add(count, Ordering::Relaxed);
    }
}

/// Bytes in the socket precede every later frame, so only few may be written to it at a time.
/// The clock is paused, as on a machine where no other process delays the tasks.
#[tokio::test(start_paused = true)]
async fn m26_a_small_call_waits_for_a_bounded_part_of_a_large_transfer() {
    small_calls_beside(b"", 64 * 1024).await;
}

/// The same where the pieces are small, but many.
#[tokio::test(start_paused = true)]
async fn m26_a_small_call_waits_for_a_bounded_part_of_a_transfer_in_small_pieces() {
    small_calls_beside(b"", 4_000).await;
}

/// The same where each piece comes with its length, as an HTTP body of chunks does.
#[tokio::test(start_paused = true)]
async fn m26_a_small_call_waits_for_a_bounded_part_of_a_transfer_in_chunks() {
    small_calls_beside(b"10000\r\n", 64 * 1024).await;
}

/// Small calls beside a transfer whose pieces are written together with a prefix.
async fn small_calls_beside(prefix: &'static [u8], piece: usize) {
    let (client, server) = wired_pair(1 << 20, 1 << 20);
    let (mut large, sink) = stream(&client.session, &server.session).await;
    let (mut caller, mut callee) = stream(&client.session, &server.session).await;
    let received = Arc::new(AtomicUsize::new(0));
    tokio::spawn(count(sink, Arc::clone(&received)));
    tokio::spawn(async move {
        let piece = vec![7; piece];
        let slices = [IoSlice::new(prefix), IoSlice::new(&piece)];
        while large.write_vectored(&slices).await.is_ok() {}
    });
    tokio::spawn(async move {
        let mut request = [0; 64];
        while callee.read_exact(&mut request).await.is_ok() {
            callee.write_all(&request).await.unwrap();
        }
    });
    let mut transferred = Vec::new();
    let calls = async {
        for _ in 0..100 {
            let before = received.load(Ordering::Relaxed);
            caller.write_all(&[1; 64]).await.unwrap();
            caller.read_exact(&mut [0; 64]).await.unwrap();
            transferred.push(received.load(Ordering::Relaxed) - before);
        }
    };
    bounded("the calls", calls).await;
    transferred.sort_unstable();
    let median = transferred[transferred.len() / 2];
    assert!(median <= 96 * 1024, "a call waited for {median} bytes");
    assert!(
        received.load(Ordering::Relaxed) > 0,
        "the transfer stood still"
    );
}

/// How a large transfer is written, repeatedly.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Pieces of so many bytes.
    Pieces(usize),
    /// A head and a piece of 64 KiB, in one write of both.
    Chunks,
    /// A head, and then a piece of 64 KiB.
    Messages,
}

impl Manner {
    /// Writes once, and returns the number of bytes.
    async fn write(self, stream: &mut Stream, piece: &[u8]) -> io::Result<usize> {
        const HEAD: &[u8] = b"10000\r\n";
        match self {
            Self::Pieces(len) => stream.write(&piece[..len]).await,
            Self::Chunks => {
                let slices = [IoSlice::new(HEAD), IoSlice::new(piece)];
                stream.write_vectored(&slices).await
            }
            Self::Messages => {
                stream.write_all(HEAD).await?;
                stream.write_all(piece).await?;
                Ok(HEAD.len() + piece.len())
            }
        }
    }
}

/// Bulk streams get equal shares in whatever pieces they write, also if their windows end within a quantum: none is
/// further ahead than two quanta and what bypasses them.
#[tokio::test]
async fn m26_large_transfers_share_the_connection() {
    let pieces = [1_000, 4_095, 4_096, 16 * 1024, 64 * 1024].map(Manner::Pieces);
    for manner in pieces.into_iter().chain([Manner::Chunks, Manner::Messages]) {
        for window in [256 * 1024, 1024 * 1024] {
            let amounts = share(Config::new().max_stream_window(window), manner).await;
            let (least, most) = (amounts.iter().min().unwrap(), amounts.iter().max().unwrap());
            assert!(
                most - least <= 4 << 20,
                "{amounts:?} with {window}, {manner:?}"
            );
        }
    }
}

/// Returns the bytes that eight large transfers have sent after 64 MiB.
async fn share(config: Config, manner: Manner) -> Vec<usize> {
    let (client, server) = support::pair_with(config.clone(), config);
    let sent: Vec<Arc<AtomicUsize>> = (0..8).map(|_| Arc::default()).collect();
    for sent in &sent {
        let (mut large, sink) = stream(&client.session, &server.session).await;
        let sent = Arc::clone(sent);
        tokio::spawn(count(sink, Arc::default()));
        tokio::spawn(async move {
            let piece = vec![7; 64 * 1024];
            while let Ok(count) = manner.write(&mut large, &piece).await {
                sent.fetch_add(count, Ordering::Relaxed);
            }
        });
    }
    let amounts = || -> Vec<usize> {
        let amounts = sent.iter();
        amounts.map(|one| one.load(Ordering::Relaxed)).collect()
    };
    support::eventually("a transfer", || amounts().iter().sum::<usize>() > 64 << 20).await;
    amounts()
}

/// Writes pieces until the limit, and counts the bytes.
async fn send(mut stream: Stream, piece: usize, total: usize, sent: Arc<AtomicUsize>) {
    let piece = vec![7; piece];
    while sent.load(Ordering::Relaxed) < total {
        stream.write_all(&piece).await.unwrap();
        sent.fetch_add(piece.len(), Ordering::Relaxed);
    }
}

/// The task that runs the test comes last in each of the scheduler's rounds.
#[tokio::test]
async fn m26_a_task_that_always_runs_last_writes() {
    const MIB: usize = 1 << 20;
    for (own, others) in [(64, 4_095), (64 * 1024, 64 * 1024), (64, 16 * 1024)] {
        let (client, server) = pair();
        let sent = Arc::<AtomicUsize>::default();
        for _ in 0..2 {
            let (large, sink) = stream(&client.session, &server.session).await;
            tokio::spawn(count(sink, Arc::default()));
            tokio::spawn(send(large, others, 64 * MIB, Arc::clone(&sent)));
        }
        let (mut late, sink) = stream(&client.session, &server.session).await;
        tokio::spawn(count(sink, Arc::default()));
        let piece = vec![7; own];
        let writing = async {
            for _ in 0..20 {
                late.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        patiently("the writes", writing).await;
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 32 * MIB, "{sent} bytes of others passed {own}");
    }
}
