//! GoAway, close and drop at random moments: the delivery guarantees hold, and nothing hangs.
//!
//! `MUX_RACES=10000` runs more rounds, `MUX_SEED=n` one of them.

mod support;

use std::time::Duration;

use keyway_mux::{Session, SessionError, Stream};
use support::{End, Random, bounded, close, wired_pair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

/// Runs `round` with many seeds in paused time.
fn rounds<F: Future<Output = ()>>(round: impl Fn(u64) -> F) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("MUX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MUX_RACES").unwrap_or(300),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(round(seed));
        }));
        if let Err(panic) = outcome {
            eprintln!("failed with MUX_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A pair on a wire of random shape.
fn random_pair(random: &mut Random) -> (End, End) {
    let capacity = [30, 1000, 20_000, 1 << 20][random.below(4)];
    let chunk = 1 + [20, 500, 10_000, 1 << 20][random.below(4)];
    wired_pair(capacity, chunk)
}

/// The message of one stream: its length and content follow from its number.
fn message(seed: u64, stream: usize) -> Vec<u8> {
    let length = Random::new(seed ^ (stream as u64) << 32).below(6000);
    let mut bytes = vec![stream as u8; length + 1];
    bytes[0] = stream as u8;
    bytes
}

/// Reads streams to their end, each in a task; returns the complete messages.
async fn collect(session: Session, mut random: Random) -> Vec<Vec<u8>> {
    let mut tasks = JoinSet::new();
    while let Ok(Some(mut stream)) = session.accept().await {
        let mut own = random.clone();
        tasks.spawn(async move {
            own.pause(5).await;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.ok().map(|_| bytes)
        });
        random.pause(2).await;
    }
    let mut whole: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    whole.sort();
    whole
}

/// Writes a message and ends the stream in one of the ways that guarantee delivery.
async fn send(mut stream: Stream, bytes: Vec<u8>, mut random: Random) {
    stream.write_all(&bytes).await.unwrap();
    random.pause(3).await;
    if random.below(2) == 0 {
        stream.shutdown().await.unwrap();
        random.pause(3).await;
    }
    drop(stream);
}

#[test]
fn m16_m17_written_messages_arrive_although_the_writer_closes_at_any_moment() {
    rounds(|seed| async move {
        let mut random = Random::new(seed);
        let (client, server) = random_pair(&mut random);
        let collecting = tokio::spawn(collect(server.session.clone(), random.clone()));
        let count = 1 + random.below(12);
        let mut expected = Vec::new();
        let mut sending = JoinSet::new();
        for number in 0..count {
            let stream = bounded("opening", client.session.open()).await.unwrap();
            expected.push(message(seed, number));
            let random = Random::new(seed + 1 + number as u64);
            sending.spawn(send(stream, message(seed, number), random));
            random_pause(seed, number).await;
        }
        // Writers may still be busy: closing waits for them.
        match random.below(3) {
            0 => bounded("the close", close(&client.session)).await.unwrap(),
            1 => client.session.close(),
            _ => {}
        }
        bounded("the writers", sending.join_all()).await;
        client.finished().await;
        let arrived = bounded("the readers", collecting).await.unwrap();
        expected.sort();
        assert!(
            arrived == expected,
            "{} of {count} arrived whole",
            arrived.len()
        );
        server.finished().await;
    });
}

async fn random_pause(seed: u64, number: usize) {
    Random::new(seed ^ number as u64).pause(4).await;
}

#[test]
fn m15_a_call_succeeds_or_fails_if_the_server_closes_at_any_moment() {
    rounds(|seed| async move {
        let mut random = Random::new(seed);
        let (client, server) = random_pair(&mut random);
        let echoing = tokio::spawn(echo(server.session.clone()));
        let mut calls = JoinSet::new();
        for number in 0..1 + random.below(8) {
            calls.spawn(call(client.session.clone(), message(seed, number)));
        }
        random.pause(60).await;
        let is_graceful = random.below(2) == 0;
        if is_graceful {
            server.session.go_away();
        } else {
            server.session.close();
        }
        // Each call has its whole response or an error, never a truncated response.
        for outcome in bounded("the calls", calls.join_all()).await {
            assert_ne!(outcome, Outcome::Truncated);
        }
        client.session.close();
        bounded("the echo", echoing).await.unwrap();
        drop(client.session);
        server.finished().await;
        // A stream that was opened while the server closed is lost, and the session reports that.
        let outcome = bounded("the client", client.driver).await.unwrap();
        assert!(matches!(
            outcome,
            Ok(()) | Err(SessionError::ConnectionLost { .. })
        ));
    });
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Whole,
    Refused,
    Truncated,
}

async fn call(session: Session, request: Vec<u8>) -> Outcome {
    let Ok(mut stream) = session.open().await else {
        return Outcome::Refused;
    };
    if stream.write_all(&request).await.is_err() || stream.shutdown().await.is_err() {
        return Outcome::Refused;
    }
    let mut response = Vec::new();
    match stream.read_to_end(&mut response).await {
        Ok(_) if response == request => Outcome::Whole,
        Ok(_) => Outcome::Truncated,
        Err(_) => Outcome::Refused,
    }
}

async fn echo(session: Session) {
    let mut tasks = JoinSet::new();
    while let Ok(Some(mut stream)) = session.accept().await {
        tasks.spawn(async move {
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).await.is_ok() {
                // The caller may have disconnected. It gets the whole message or an error.
                let _ = stream.write_all(&bytes).await;
            } else {
                stream.reset();
            }
        });
    }
    tasks.join_all().await;
}

#[test]
fn m22_nothing_hangs_after_drops_at_any_moment() {
    rounds(|seed| async move {
        let mut random = Random::new(seed);
        let (client, server) = random_pair(&mut random);
        let mut tasks = JoinSet::new();
        for session in [&client.session, &server.session] {
            tasks.spawn(echo(session.clone()));
            for number in 0..random.below(6) {
                let (session, request) = (session.clone(), message(seed, number));
                tasks.spawn(async move {
                    // Only the end of the call matters here, not its outcome.
                    let _ = call(session, request).await;
                });
            }
        }
        random.pause(80).await;
        let (first, second) = if random.below(2) == 0 {
            (client, server)
        } else {
            (server, client)
        };
        match random.below(4) {
            0 => first.driver.abort(),
            1 => first.session.close(),
            2 => first.session.go_away(),
            _ => {
                first.driver.abort();
                second.driver.abort();
            }
        }
        random.pause(40).await;
        second.session.close();
        let session = first.session.clone();
        drop(first.session);
        session.close();
        tokio::time::timeout(Duration::from_secs(60), tasks.join_all())
            .await
            .unwrap();
        for driver in [first.driver, second.driver] {
            // Some were aborted, some failed with the other; all have ended.
            let _ = bounded("a driver", driver).await;
        }
    });
}
