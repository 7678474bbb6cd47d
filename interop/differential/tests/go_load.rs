//! Many streams and many sessions with HashiCorp's peer leave nothing behind, at either end.
//!
//! A binary of its own, because it counts resources of the whole process.

mod support;

use keyway_differential::{Act, End, GoPeer, Saw};
use keyway_mux::Config;
use serde_json::json;
use support::{Pair, bounded, pair, request, with_go};

/// The number of sessions. 10,000 with the long tests.
fn sessions() -> usize {
    match std::env::var("KEYWAY_LONG_TESTS").as_deref() {
        Ok("1") => 10_000,
        _ => 1500,
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The goroutines and descriptors of the Go process.
async fn left(pair: &Pair) -> (usize, usize) {
    let reply = pair.go.call(json!({ "act": "count" })).await.unwrap();
    (reply.goroutines, reply.descriptors)
}

/// One session that carries a call each way and ends in one of the ways.
async fn session(peer: &mut GoPeer, number: usize) {
    let theirs = End::BOTH[number % 2];
    let pair = pair(peer, theirs, Config::default(), json!({})).await;
    let echoing = pair.echo();
    pair.they_request(1, 100).await;
    pair.they_echo().await;
    request(&pair.session, 100).await;
    match number % 3 {
        0 => {
            pair.no_stream_is_left().await;
            pair.must(Act::Close).await;
            let outcome = bounded("the driver", pair.driver).await.unwrap();
            assert!(outcome.is_ok(), "a clean close of the peer: {outcome:?}");
        }
        1 => pair.close().await,
        _ => {
            // The process closes the connection without GoAway.
            pair.driver.abort();
            let aborted = bounded("the driver", pair.driver).await;
            assert!(aborted.is_err_and(|error| error.is_cancelled()));
            pair.go.call(json!({ "act": "ended" })).await.unwrap();
        }
    }
    assert_eq!(bounded("the echo", echoing).await.unwrap(), 1);
}

#[test]
fn m21_20_000_fresh_streams_each_way_and_many_sessions_leave_nothing() {
    with_go(|mut peer| async move {
        streams(&mut peer).await;
        sessions_come_and_go(&mut peer).await;
    });
}

async fn streams(peer: &mut GoPeer) {
    let pair = pair(peer, End::Client, Config::default(), json!({})).await;
    let echoing = pair.echo();
    pair.they_echo().await;
    pair.they_request(1000, 64).await;
    pair.no_stream_is_left().await;
    let (goroutines, _) = left(&pair).await;
    let theirs = async {
        let part = || pair.they_request(4750, 64);
        tokio::join!(part(), part(), part(), part());
    };
    let ours = async {
        let part = async || {
            for _ in 0..5000 {
                request(&pair.session, 64).await;
            }
        };
        tokio::join!(part(), part(), part(), part());
    };
    tokio::join!(theirs, ours);
    pair.no_stream_is_left().await;
    let stats = pair.session.stats();
    assert_eq!((stats.accepted, stats.opened), (20_000, 20_000));
    assert_eq!((stats.refused, stats.unread_bytes), (0, 0));
    bounded("the goroutines' end", async {
        while left(&pair).await.0 > goroutines {
            tokio::task::yield_now().await;
        }
    })
    .await;
    pair.close().await;
    assert_eq!(bounded("the echo", echoing).await.unwrap(), 20_000);
}

async fn sessions_come_and_go(peer: &mut GoPeer) {
    let tasks = tokio::runtime::Handle::current().metrics();
    for number in 0..30 {
        session(peer, number).await;
    }
    let ours = (descriptors(), tasks.num_alive_tasks());
    let before = pair(peer, End::Client, Config::default(), json!({})).await;
    let theirs = left(&before).await;
    drop(before);
    for number in 0..sessions() {
        session(peer, number).await;
    }
    assert_eq!((descriptors(), tasks.num_alive_tasks()), ours);
    let after = pair(peer, End::Client, Config::default(), json!({})).await;
    bounded("the end of the last session's streams", async {
        loop {
            let now = left(&after).await;
            if now.0 <= theirs.0 && now.1 <= theirs.1 {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(after.act(Act::Close).await.saw, Saw::Done);
}
