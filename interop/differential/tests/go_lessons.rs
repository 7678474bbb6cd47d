//! Known failures of other implementations with HashiCorp's library, one test for each, named after
//! its id in the mux's `TESTS.md`.

mod support;

use std::{io, process::Command, time::Duration};

use keyway_differential::{Act, End, Pace, Saw};
use keyway_mux::{Config, OpenError, SessionError};
use serde_json::json;
use support::{bounded, pair, request, with_go};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

/// A handler that is silent for longer than the peer's acknowledgement timeout affects neither its own stream
/// nor the others.
#[test]
fn m01_a_handler_slower_than_the_stream_open_timeout() {
    with_go(|mut peer| async move {
        let settings = json!({ "open_timeout": 1000 });
        let pair = pair(&mut peer, End::Client, Config::default(), settings).await;
        let slow = pair.theirs().await;
        let mut handled = bounded("accepting", pair.session.accept())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(handled.id().get(), slow);
        let echoing = pair.echo();
        for _ in 0..3 {
            pair.they_request(20, 5000).await;
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        pair.write(&mut handled, 0, 1000).await;
        handled.shutdown().await.unwrap();
        let read = pair.must(Act::Read(slow, 1000, Pace::Fast)).await;
        assert_eq!(read.bytes, 1000);
        pair.must(Act::Finish(slow)).await;
        assert_eq!(bounded("the end", handled.read(&mut [0])).await.unwrap(), 0);
        pair.no_stream_is_left().await;
        pair.close().await;
        assert_eq!(bounded("the echo", echoing).await.unwrap(), 60);
    });
}

/// The peer opens no more than 256 streams that are not acknowledged. Silent handlers must not stop
/// it.
#[test]
fn m01_a_thousand_silent_handlers_do_not_stop_the_peer() {
    with_go(|mut peer| async move {
        let settings = json!({ "open_timeout": 1000 });
        let pair = pair(&mut peer, End::Client, Config::default(), settings).await;
        let mut silent = Vec::new();
        for _ in 0..1000 {
            pair.theirs().await;
            silent.push(
                bounded("accepting", pair.session.accept())
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        assert_eq!(pair.must(Act::OpenStreams).await.bytes, 1000);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let echoing = pair.echo();
        pair.they_request(1, 1).await;
        drop(silent);
        pair.session.close();
        assert_eq!(bounded("the echo", echoing).await.unwrap(), 1);
    });
}

/// The end of the peer's process wakes all readers and openers.
#[test]
fn m04_a_killed_peer_wakes_readers_and_openers() {
    with_go(|mut peer| async move {
        let pair = pair(&mut peer, End::Server, Config::default(), json!({})).await;
        pair.must(Act::Accepting).await;
        let mut readers = JoinSet::new();
        for _ in 0..10 {
            let (mut stream, _) = pair.ours().await;
            readers.spawn(async move { stream.read(&mut [0]).await.unwrap_err().kind() });
        }
        drop(peer);
        for kind in bounded("the readers", readers.join_all()).await {
            assert_eq!(kind, io::ErrorKind::UnexpectedEof);
        }
        assert!(matches!(
            bounded("opening", pair.session.open()).await,
            Err(OpenError::Session(_))
        ));
        let outcome = bounded("the driver", pair.driver).await.unwrap();
        assert!(matches!(
            outcome,
            Err(SessionError::ConnectionLost { streams: 10 })
        ));
    });
}

/// The peer resets the stream beyond its accept queue, which is a refusal, not an end.
#[test]
fn m11_the_257th_stream_that_the_peer_does_not_accept() {
    with_go(|mut peer| async move {
        let config = Config::default().max_unacknowledged(1000);
        let pair = pair(&mut peer, End::Server, config, json!({})).await;
        let mut streams = Vec::new();
        for _ in 0..257 {
            let mut stream = bounded("opening", pair.session.open()).await.unwrap();
            stream.flush().await.unwrap();
            streams.push(stream);
        }
        let mut refused = streams.pop().unwrap();
        let read = bounded("the refusal", refused.read(&mut [0])).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // Earlier streams are not affected.
        pair.they_echo().await;
        let mut first = streams.swap_remove(0);
        pair.write(&mut first, 0, 100).await;
        bounded("the response", first.read_exact(&mut [0; 100]))
            .await
            .unwrap();
        drop((first, streams));
        pair.no_stream_is_left().await;
        request(&pair.session, 100).await;
        pair.close().await;
    });
}

/// 8 MiB on one stream, beside small requests, with the peer's default window and with one that
/// lets it send frames of a megabyte.
#[test]
fn m14_m25_m26_8_mib_in_both_directions_beside_small_calls() {
    for window in [256 * 1024, 16 << 20] {
        with_go(|mut peer| async move {
            let settings = json!({ "window": window });
            let pair = pair(&mut peer, End::Client, Config::default(), settings).await;
            let echoing = pair.echo();
            tokio::join!(pair.they_request(1, 8 << 20), pair.they_request(200, 64));
            pair.they_echo().await;
            let small = async {
                for _ in 0..200 {
                    request(&pair.session, 64).await;
                }
            };
            tokio::join!(request(&pair.session, 8 << 20), small);
            pair.no_stream_is_left().await;
            pair.close().await;
            assert_eq!(bounded("the echo", echoing).await.unwrap(), 201);
        });
    }
}

/// The peer drains: requests in flight are served, and no stream is opened.
#[test]
fn m15_the_peers_go_away_during_calls() {
    with_go(|mut peer| async move {
        let pair = pair(&mut peer, End::Client, Config::default(), json!({})).await;
        pair.must(Act::Accepting).await;
        let mut calls = Vec::new();
        for _ in 0..8 {
            let (mut stream, id) = pair.ours().await;
            pair.write(&mut stream, 0, 100).await;
            pair.must(Act::Read(id, 100, Pace::Fast)).await;
            calls.push((stream, id));
        }
        pair.must(Act::GoAway).await;
        bounded("the news", pair.session.peer_draining()).await;
        let opened = bounded("opening", pair.session.open()).await;
        assert!(matches!(opened, Err(OpenError::RemoteGoAway)));
        for (stream, id) in &mut calls {
            pair.must(Act::Write(*id, 60_000)).await;
            pair.must(Act::Finish(*id)).await;
            pair.read(stream, 0, 60_000).await;
            assert_eq!(bounded("the end", stream.read(&mut [0])).await.unwrap(), 0);
        }
        drop(calls);
        // Draining affects one direction.
        let echoing = pair.echo();
        pair.they_request(5, 1000).await;
        pair.no_stream_is_left().await;
        pair.close().await;
        assert_eq!(bounded("the echo", echoing).await.unwrap(), 5);
    });
}

/// This end drains: the peer's calls are served, its next open is refused, and the close takes no longer
/// than the calls.
#[test]
fn m15_our_close_during_the_peers_calls() {
    with_go(|mut peer| async move {
        let pair = pair(&mut peer, End::Client, Config::default(), json!({})).await;
        let mut calls = Vec::new();
        for _ in 0..8 {
            let id = pair.theirs().await;
            pair.must(Act::Write(id, 100)).await;
            calls.push((
                bounded("accepting", pair.session.accept())
                    .await
                    .unwrap()
                    .unwrap(),
                id,
            ));
        }
        pair.session.close();
        let closing = pair.session.closed();
        let refused = pair.act(Act::OpenRefused).await;
        assert!(
            matches!(refused.saw, Saw::Refused | Saw::Reset),
            "{refused}"
        );
        for (stream, id) in &mut calls {
            pair.read(stream, 0, 100).await;
            pair.write(stream, 0, 60_000).await;
            stream.shutdown().await.unwrap();
            pair.must(Act::Read(*id, 60_000, Pace::Fast)).await;
            let end = pair.act(Act::ReadEnd(*id, Pace::Fast)).await;
            assert_eq!(end.saw, Saw::End, "{end}");
            pair.must(Act::Finish(*id)).await;
        }
        bounded("the close", closing).await.unwrap();
        pair.must(Act::Ended).await;
        bounded("the driver", pair.driver).await.unwrap().unwrap();
    });
}

/// The peer's close sends no GoAway and closes the connection; the data before it is read.
#[test]
fn m16_data_before_the_peers_close_is_read() {
    with_go(|mut peer| async move {
        for _ in 0..20 {
            let pair = pair(&mut peer, End::Client, Config::default(), json!({})).await;
            let mut streams = Vec::new();
            for _ in 0..4 {
                let id = pair.theirs().await;
                streams.push(
                    bounded("accepting", pair.session.accept())
                        .await
                        .unwrap()
                        .unwrap(),
                );
                pair.must(Act::Write(id, 200_000)).await;
                pair.must(Act::Finish(id)).await;
            }
            pair.must(Act::Close).await;
            for stream in &mut streams {
                pair.read(stream, 0, 200_000).await;
                assert_eq!(bounded("the end", stream.read(&mut [0])).await.unwrap(), 0);
            }
        }
    });
}

/// Data before a drop and a close arrives at the peer, with its end.
#[test]
fn m16_m17_data_before_a_drop_and_a_close_arrives() {
    with_go(|mut peer| async move {
        for _ in 0..20 {
            let pair = pair(&mut peer, End::Server, Config::default(), json!({})).await;
            pair.must(Act::Accepting).await;
            let mut ids = Vec::new();
            for _ in 0..4 {
                let mut stream = bounded("opening", pair.session.open()).await.unwrap();
                pair.write(&mut stream, 0, 200_000).await;
                ids.push(stream.id().get());
            }
            pair.session.close();
            let closing = pair.session.closed();
            for id in ids {
                pair.must(Act::Accept(id)).await;
                let read = pair.act(Act::ReadEnd(id, Pace::Fast)).await;
                assert_eq!((read.saw, read.bytes), (Saw::End, 200_000), "{read}");
                pair.must(Act::Finish(id)).await;
            }
            bounded("the close", closing).await.unwrap();
            pair.must(Act::Ended).await;
        }
    });
}

/// The peer wakes its reader for a FIN before it has stored the payload of the same frame, so
/// data frames of this end never carry FIN; those of the peer come on window updates. No response may be truncated.
#[test]
fn m19_fin_is_sent_on_window_updates() {
    with_go(|mut peer| async move {
        for theirs in End::BOTH {
            let pair = pair(&mut peer, theirs, Config::default(), json!({})).await;
            let echoing = pair.echo();
            let four = || pair.they_request(500, 700);
            tokio::join!(four(), four(), four(), four());
            pair.they_echo().await;
            for _ in 0..1000 {
                request(&pair.session, 700).await;
            }
            pair.no_stream_is_left().await;
            pair.close().await;
            assert_eq!(bounded("the echo", echoing).await.unwrap(), 2000);
        }
    });
}

/// Both ends can continue to read after their own FIN.
#[test]
fn m20_half_closes_in_both_directions() {
    with_go(|mut peer| async move {
        let pair = pair(&mut peer, End::Server, Config::default(), json!({})).await;
        pair.must(Act::Accepting).await;
        let (mut stream, id) = pair.ours().await;
        stream.shutdown().await.unwrap();
        let end = pair.act(Act::ReadEnd(id, Pace::Fast)).await;
        assert_eq!(end.saw, Saw::End, "{end}");
        pair.must(Act::Write(id, 300_000 / 2)).await;
        pair.read(&mut stream, 0, 300_000 / 2).await;
        let (mut other, id) = pair.ours().await;
        pair.must(Act::Finish(id)).await;
        assert_eq!(bounded("the end", other.read(&mut [0])).await.unwrap(), 0);
        pair.write(&mut other, 0, 100_000).await;
        pair.must(Act::Read(id, 100_000, Pace::Fast)).await;
        drop((stream, other));
        pair.must(Act::Finish(1)).await;
        pair.no_stream_is_left().await;
        pair.close().await;
    });
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// A stopped process reads no bytes. The session ends with an error for all streams.
#[test]
fn m23_a_stopped_peer_ends_the_session() {
    with_go(|mut peer| async move {
        let config = Config::default().write_timeout(Duration::from_millis(300));
        let pair = pair(&mut peer, End::Server, config, json!({})).await;
        pair.must(Act::Accepting).await;
        let mut writers = JoinSet::new();
        let mut streams = Vec::new();
        for _ in 0..8 {
            streams.push(pair.ours().await.0);
        }
        signal(peer.process(), "-STOP");
        for mut stream in streams {
            writers.spawn(async move { stream.write_all(&[0; 300_000]).await.unwrap_err().kind() });
        }
        for kind in bounded("the writers", writers.join_all()).await {
            assert_eq!(kind, io::ErrorKind::TimedOut);
        }
        let outcome = bounded("the driver", pair.driver).await.unwrap();
        assert!(matches!(outcome, Err(SessionError::WriteTimeout(_))));
    });
}

/// A stopped process acknowledges no ping.
#[test]
fn m24_a_stopped_peer_fails_the_keep_alive() {
    with_go(|mut peer| async move {
        let config = Config::default()
            .keep_alive(Some(Duration::from_millis(50)))
            .keep_alive_timeout(Duration::from_millis(300));
        let pair = pair(&mut peer, End::Server, config, json!({})).await;
        signal(peer.process(), "-STOP");
        let outcome = bounded("the driver", pair.driver).await.unwrap();
        assert!(matches!(outcome, Err(SessionError::KeepAliveTimeout(_))));
    });
}

/// Pings of both sides are acknowledged while the session is idle, and while it is busy.
#[test]
fn m24_pings_are_acknowledged_idle_and_busy() {
    with_go(|mut peer| async move {
        let config = Config::default().keep_alive(Some(Duration::from_millis(5)));
        let settings = json!({ "keep_alive": 5 });
        let pair = pair(&mut peer, End::Client, config, settings).await;
        let echoing = pair.echo();
        tokio::time::sleep(Duration::from_millis(200)).await;
        bounded("the response to a ping", async {
            while pair.session.stats().rtt.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        pair.they_echo().await;
        let pings = async {
            for _ in 0..50 {
                let reply = pair.go.call(json!({ "act": "ping" })).await.unwrap();
                assert_eq!(reply.saw, Saw::Done, "{}", reply.text);
            }
        };
        tokio::join!(
            pair.they_request(2, 8 << 20),
            request(&pair.session, 8 << 20),
            pings
        );
        pair.no_stream_is_left().await;
        pair.session.close();
        assert_eq!(bounded("the echo", echoing).await.unwrap(), 2);
    });
}

/// The peer does not check the parity of ids, so this end must ensure it.
#[test]
fn m29_each_side_has_its_own_ids() {
    with_go(|mut peer| async move {
        for theirs in End::BOTH {
            let pair = pair(&mut peer, theirs, Config::default(), json!({})).await;
            pair.must(Act::Accepting).await;
            let (stream, ours) = pair.ours().await;
            let of_go = pair.theirs().await;
            let is_odd = |id: u32| id % 2 == 1;
            assert_eq!(is_odd(of_go), theirs == End::Client);
            assert_eq!(is_odd(ours), theirs == End::Server);
            drop(stream);
        }
    });
}
