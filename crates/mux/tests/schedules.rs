//! Many writers of every kind on connections of every size. The clock is paused while a task can run, so a
//! lost wake-up is seen as time that passes, and a driver that spins as a test that never ends.

mod support;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use keyway_mux::{Config, Session, Stream};
use support::{Random, bounded};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::Instant,
};

/// How long keep-alive and delayed acknowledgements may delay a task: far less than any time-out.
const SLACK: Duration = Duration::from_millis(200);

/// Polls a future at most `left + 1` times, and then drops it.
async fn polls<F: Future>(future: F, mut left: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Writes much or little, in equal pieces or not, and sometimes cancels a write.
async fn write(mut stream: Stream, total: usize, mut random: Random) {
    let kind = random.below(4);
    let buffer = vec![7; 70_000];
    let mut left = if kind == 0 { total / 20 } else { total };
    while left > 0 {
        let piece = match kind {
            0 => 64,
            1 => 1 + random.below(4_095),
            2 => 1 + random.below(70_000),
            _ => [100, 65_536][random.below(2)],
        };
        let piece = &buffer[..piece.min(left)];
        let written = if random.below(4) == 0 {
            let often = random.below(4);
            polls(stream.write(piece), often).await
        } else {
            random.pause(1).await;
            Some(stream.write(piece).await)
        };
        left -= written.map_or(0, |count| count.unwrap());
    }
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

/// Reads to the end, and returns how long it slept.
async fn read(mut stream: Stream, sleeps: bool, mut random: Random) -> Duration {
    let mut buffer = vec![0; 1 + random.below(100_000)];
    let mut slept = Duration::ZERO;
    while stream.read(&mut buffer).await.unwrap() > 0 {
        if sleeps && random.below(50) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            slept += Duration::from_millis(1);
        }
    }
    stream.shutdown().await.unwrap();
    slept
}

async fn play(seed: u64) {
    let mut random = Random::new(seed);
    let capacity = [1, 50, 3_000, 40_000, 300_000][random.below(5)];
    let queue = [1, 100, 5_000, 30_000, 65_536][random.below(5)];
    let total = if capacity < 100 { 20_000 } else { 600_000 };
    let (near, far) = tokio::io::duplex(capacity);
    let config = Config::default().send_queue(queue);
    let (client, client_driver) = Session::client(near, config.clone());
    let (server, server_driver) = Session::server(far, config);
    let drivers = [tokio::spawn(client_driver), tokio::spawn(server_driver)];
    let (streams, sleeps) = (1 + random.below(24), random.below(3) == 0);
    let begun = Instant::now();
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    for stream in 0..streams {
        let random = Random::new(seed << 8 | stream as u64);
        writers.spawn(write(client.open().await.unwrap(), total, random.clone()));
        readers.spawn(read(
            server.accept().await.unwrap().unwrap(),
            sleeps,
            random,
        ));
    }
    let slept: Duration = readers.join_all().await.into_iter().sum();
    writers.join_all().await;
    let took = begun.elapsed();
    assert!(
        took <= slept + SLACK,
        "seed {seed}: {took:?}, of which {slept:?} asleep; {streams} streams, {capacity} bytes, queue {queue}"
    );
    client.close();
    client.closed().await.unwrap();
    for driver in drivers {
        driver.await.unwrap().unwrap();
    }
}

#[test]
fn random_writers_wait_only_for_the_connection() {
    let first: u64 = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    for seed in first..first + 20 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(bounded("all is read", play(seed)));
    }
}
