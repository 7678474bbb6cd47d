//! tonic on both ends of a session, in both directions at once: HTTP/2 on the streams.
//!
//! Most tests run in paused time, where a hanging call reaches its time limit at once.

#[path = "support/grpc/mod.rs"]
mod grpc;
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use grpc::{Client, LARGEST, Party, message, messages, receive};
use keyway_mux::{Config, SessionError};
use support::{bounded, close, pair, pair_with, wired_pair};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{Code, Status};
use tracing::{Level, Metadata, Subscriber, span};

/// Counts what is logged at warn or error while it lives, on this thread.
#[derive(Clone, Default)]
struct Complaints(Arc<AtomicUsize>);

impl Complaints {
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let complaints = Self::default();
        let guard = tracing::subscriber::set_default(complaints.clone());
        (complaints, guard)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Subscriber for Complaints {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Both ends, on a socket.
fn parties_on_a_socket() -> [Party; 2] {
    // A close does not wait long for calls that never end.
    let config = Config::new().drain_timeout(Duration::from_millis(50));
    let (client, server) = pair_with(config.clone(), config);
    [Party::new(client), Party::new(server)]
}

/// Both ends, on a wire in memory.
fn parties(capacity: usize, chunk: usize) -> [Party; 2] {
    let (client, server) = wired_pair(capacity, chunk);
    [Party::new(client), Party::new(server)]
}

/// Waits until a condition holds that other tasks and timers cause.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    bounded(what, async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Checks that nothing is left after all clients were dropped. Then both ends stop.
async fn nothing_is_left(parties: [Party; 2]) {
    let is_quiet = |party: &Party| party.service.n_calls() == 0 && party.open_streams() == 0;
    until("what is left of the calls", || parties.iter().all(is_quiet)).await;
    for party in &parties {
        assert_eq!(party.end.session.stats().unread_bytes, 0);
    }
    let [mut client, server] = parties;
    client.stop();
    bounded("the close", close(&client.end.session))
        .await
        .unwrap();
    client.finished().await;
    server.finished().await;
}

/// Calls of every kind that continue until they are ended, on two channels.
async fn endless_calls(party: &Party) -> JoinSet<Result<usize, Status>> {
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let client = party.client().await;
        let mut hanging = client.clone();
        calls.spawn(async move { hanging.hang(None).await.map(|response| response.len()) });
        let mut down = client.clone();
        calls.spawn(async move { receive(down.down(usize::MAX, 60_000).await?, 60_000).await });
        let mut up = client.clone();
        calls.spawn(async move { up.up(usize::MAX, 60_000).await });
        let mut both = client;
        calls.spawn(async move {
            // Without it, hyper continues to send requests whose responses were cancelled.
            let (_given_up, until) = oneshot::channel::<()>();
            let sent = messages(usize::MAX, 60_000).take_until(until);
            receive(both.both(sent).await?, 60_000).await
        });
    }
    calls
}

/// How many calls [`endless_calls`] makes.
const ENDLESS: usize = 8;

async fn all_fail(mut calls: JoinSet<Result<usize, Status>>) {
    while let Some(ended) = bounded("a call", calls.join_next()).await {
        ended.unwrap().unwrap_err();
    }
}

/// Unary calls beside each other, with sizes around the borders of frames of HTTP/2 and of the session.
async fn many_calls(client: Client, callers: usize) {
    let sizes = [
        0, 1, 100, 4_095, 4_096, 16_370, 16_379, 16_384, 20_000, 65_535, 300_000,
    ];
    let mut calls = JoinSet::new();
    for caller in 0..callers {
        let mut client = client.clone();
        calls.spawn(async move {
            for (round, size) in sizes.into_iter().enumerate() {
                let sent = message(caller * sizes.len() + round, size);
                let response = bounded("a call", client.echo(sent.clone())).await;
                assert!(response.unwrap() == sent, "a response of {size} bytes");
            }
        });
    }
    calls.join_all().await;
    let mut client = client;
    let largest = bounded("a call", client.echo(message(1, LARGEST))).await;
    assert!(largest.unwrap() == message(1, LARGEST));
}

async fn calls_in_both_directions(parties: [Party; 2], callers: usize) {
    let mut load = JoinSet::new();
    for party in &parties {
        for _ in 0..2 {
            load.spawn(many_calls(party.client().await, callers));
        }
    }
    load.join_all().await;
    nothing_is_left(parties).await;
}

#[tokio::test(start_paused = true)]
async fn calls_of_all_sizes_receive_their_own_responses_in_both_directions() {
    let (complaints, _guard) = Complaints::listen();
    calls_in_both_directions(parties(1 << 16, 5_000), 8).await;
    assert_eq!(complaints.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_on_a_socket_with_many_threads_receive_their_own_responses() {
    calls_in_both_directions(parties_on_a_socket(), 16).await;
}

/// A stream of messages of each kind.
async fn every_kind_of_stream(client: Client, count: usize, len: usize) {
    let (mut down, mut up, mut both) = (client.clone(), client.clone(), client);
    let down = async { receive(down.down(count, len).await?, len).await };
    let both = async { receive(both.both(messages(count, len)).await?, len).await };
    let (down, up, both) = tokio::join!(down, up.up(count, len), both);
    assert_eq!([down, up, both].map(Result::unwrap), [count; 3]);
}

#[tokio::test(start_paused = true)]
async fn streams_of_messages_arrive_whole_in_both_directions() {
    let (complaints, _guard) = Complaints::listen();
    let parties = parties(1 << 16, 1 << 16);
    let mut load = JoinSet::new();
    for party in &parties {
        let shared = party.client().await;
        for (count, len) in [(500, 10), (100, 16_379), (2, LARGEST)] {
            load.spawn(every_kind_of_stream(shared.clone(), count, len));
            load.spawn(every_kind_of_stream(party.client().await, count, len));
        }
    }
    bounded("the streams", load.join_all()).await;
    nothing_is_left(parties).await;
    assert_eq!(complaints.count(), 0);
}

#[tokio::test]
async fn m21_cancelled_calls_leave_nothing() {
    let (complaints, _guard) = Complaints::listen();
    let parties = parties_on_a_socket();
    for (party, peer) in [(&parties[0], &parties[1]), (&parties[1], &parties[0])] {
        let mut client = party.client().await;
        let mut calls = endless_calls(party).await;
        until("the calls", || peer.service.n_calls() == ENDLESS).await;
        calls.shutdown().await;
        until("their end", || peer.service.n_calls() == 0).await;
        let response = bounded("a call", client.echo(message(1, 10))).await;
        assert_eq!(response.unwrap(), message(1, 10));
    }
    nothing_is_left(parties).await;
    assert_eq!(complaints.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline() {
    let (complaints, _guard) = Complaints::listen();
    let parties = parties(1 << 16, 1 << 16);
    for (party, peer) in [(&parties[0], &parties[1]), (&parties[1], &parties[0])] {
        let mut client = party.client().await;
        let begun = Instant::now();
        let late = bounded("a call", client.hang(Some(Duration::from_millis(50)))).await;
        assert_eq!(late.unwrap_err().code(), Code::Cancelled);
        assert!(begun.elapsed() < Duration::from_millis(60));
        until("its end", || peer.service.n_calls() == 0).await;
        assert_eq!(client.echo(message(1, 10)).await.unwrap(), message(1, 10));
    }
    nothing_is_left(parties).await;
    assert_eq!(complaints.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn m08_a_client_that_does_not_read_stops_its_own_channel_only() {
    const LEN: usize = 65_536;
    let parties = parties(1 << 16, 1 << 16);
    let mut idle = parties[0].client().await.down(200, LEN).await.unwrap();
    until("a full window", || {
        parties[1].end.session.stats().bytes_sent > 2_000_000
    })
    .await;
    every_kind_of_stream(parties[0].client().await, 100, LEN).await;
    every_kind_of_stream(parties[1].client().await, 100, LEN).await;
    for count in 0..200 {
        let one = bounded("a message", idle.message()).await.unwrap();
        assert!(one.unwrap() == message(count, LEN));
    }
    assert!(idle.message().await.unwrap().is_none());
    drop(idle);
    nothing_is_left(parties).await;
}

#[tokio::test(start_paused = true)]
async fn m15_a_stopping_server_finishes_its_calls_and_refuses_others() {
    let (complaints, _guard) = Complaints::listen();
    let [client, mut server] = parties(1 << 16, 1 << 16);
    let mut caller = client.client().await;
    let (say, mut said) = mpsc::channel::<Bytes>(1);
    let said = stream::poll_fn(move |cx| said.poll_recv(cx));
    let mut talk = caller.both(said).await.unwrap();
    let mut download = caller.down(100, 60_000).await.unwrap();
    assert!(download.message().await.unwrap().is_some());
    let mut other_way = server.client().await.down(100, 60_000).await.unwrap();
    assert!(other_way.message().await.unwrap().is_some());

    server.stop();
    until("the client to know", || client.end.session.is_closing()).await;
    let begun = Instant::now();
    for _ in 0..2 {
        let refused = bounded("a late call", caller.echo(Bytes::new())).await;
        let code = refused.unwrap_err().code();
        assert!(
            matches!(code, Code::Unavailable | Code::Cancelled),
            "{code}"
        );
    }
    assert!(begun.elapsed() < Duration::from_millis(100));
    say.send(message(3, LARGEST)).await.unwrap();
    let response = bounded("the response", talk.message()).await.unwrap();
    assert!(response.unwrap() == message(3, LARGEST));
    drop(say);
    assert!(bounded("the end", talk.message()).await.unwrap().is_none());
    for download in [download, other_way] {
        let rest = bounded("the download", download.collect::<Vec<_>>()).await;
        assert!(rest.len() == 99 && rest.iter().all(Result::is_ok));
    }
    bounded("the server", &mut server.server)
        .await
        .unwrap()
        .unwrap();

    bounded("the close", close(&server.end.session))
        .await
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    client.finished().await;
    assert_eq!(complaints.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn m30_an_idle_channel_does_not_delay_a_close() {
    let [client, server] = parties(1 << 16, 1 << 16);
    let mut idle = client.client().await;
    assert_eq!(idle.echo(message(1, 9)).await.unwrap(), message(1, 9));
    let begun = Instant::now();
    bounded("the close", close(&client.end.session))
        .await
        .unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100));
    let late = bounded("a late call", idle.echo(Bytes::new())).await;
    assert_eq!(late.unwrap_err().code(), Code::Unavailable);
    client.finished().await;
    server.finished().await;
}

#[tokio::test]
async fn m04_calls_fail_with_their_session() {
    for is_close in [false, true] {
        let [client, server] = parties_on_a_socket();
        let calls = [endless_calls(&client).await, endless_calls(&server).await];
        for party in [&client, &server] {
            until("the calls", || party.service.n_calls() == ENDLESS).await;
        }
        if is_close {
            let closed = bounded("the close", close(&client.end.session)).await;
            assert!(matches!(closed, Err(SessionError::DrainTimeout { .. })));
        } else {
            client.end.driver.abort();
        }
        for calls in calls {
            all_fail(calls).await;
        }
        for mut party in [client, server] {
            bounded("the server", &mut party.server)
                .await
                .unwrap()
                .unwrap();
            until("what is left", || {
                party.service.n_calls() + party.open_streams() == 0
            })
            .await;
        }
    }
}

/// As in `fairness.rs`, the clock is paused; the number of received bytes is checked.
#[tokio::test(start_paused = true)]
async fn m26_a_small_call_waits_for_a_bounded_part_of_a_large_download() {
    let parties = parties(1 << 20, 1 << 20);
    let mut small = parties[0].client().await;
    let mut large = parties[0].client().await;
    let mut download = large.down(2_000, 65_536).await.unwrap();
    let received = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&received);
    let reading = tokio::spawn(async move {
        while let Ok(Some(one)) = download.message().await {
            count.fetch_add(one.len(), Ordering::Relaxed);
        }
    });
    let mut waited = Vec::new();
    for _ in 0..100 {
        let before = received.load(Ordering::Relaxed);
        bounded("a call", small.echo(message(1, 64))).await.unwrap();
        waited.push(received.load(Ordering::Relaxed) - before);
    }
    waited.sort_unstable();
    assert!(waited[50] <= 2 * 65_536, "{waited:?}");
    assert!(waited[99] > 0, "the download stood still");
    reading.abort();
    assert!(
        reading.await.is_err(),
        "the download ended before the calls"
    );
    drop((small, large));
    nothing_is_left(parties).await;
}

#[tokio::test(start_paused = true)]
async fn handlers_receive_the_identity_of_the_peer() {
    let (mut client, mut server) = pair();
    client.session = client.session.with_peer("the server");
    server.session = server.session.with_peer("the client");
    let parties = [Party::new(client), Party::new(server)];
    for (party, name) in parties.iter().zip(["the client", "the server"]) {
        assert_eq!(party.client().await.peer().await.unwrap(), name);
    }
    nothing_is_left(parties).await;
}
