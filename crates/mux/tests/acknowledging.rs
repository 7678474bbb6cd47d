//! Acknowledgements while handlers keep the only thread busy. A Go peer ends the session when one
//! comes too late.
//!
//! Time is paused, and a handler that computes moves it without letting other tasks run, so the
//! delay of each acknowledgement can be read from the clock.

mod support;

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::StreamExt as _;
use keyway_mux::{Config, Listener, Role, Stream};
use support::{Flags, Frame, FrameDecoder, bounded, end, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::Instant,
};
use tokio_util::io::InspectWriter;

/// The acknowledged streams, each with the time.
type Acks = Arc<Mutex<Vec<(u32, Instant)>>>;

/// A connection that records when each acknowledgement is sent.
fn noting(io: DuplexStream, acks: &Acks) -> InspectWriter<DuplexStream, impl FnMut(&[u8]) + use<>> {
    let acks = Arc::clone(acks);
    let mut decoder = FrameDecoder::default();
    InspectWriter::new(io, move |bytes| {
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame().unwrap() {
            if frame.has(Flags::ACK) {
                let ack = (frame.header.stream_id, Instant::now());
                acks.lock().unwrap().push(ack);
            }
        }
    })
}

/// The peer's end, from which each handler can send at once.
#[derive(Clone)]
struct Sender(Arc<Mutex<DuplexStream>>);

impl Sender {
    /// Sends one request on each of the streams.
    fn send_requests(&self, streams: impl IntoIterator<Item = u32>) {
        let mut bytes = Vec::new();
        for stream in streams {
            bytes.extend(Frame::data(stream, Flags::SYN, b"request\n").encode());
        }
        let mut io = self.0.lock().unwrap();
        let sent = pin!(io.write_all(&bytes)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(sent, Poll::Ready(Ok(()))), "the wire is full");
    }
}

/// Blocks the thread: time passes, and no other task runs.
fn compute(duration: Duration) {
    let advancing = pin!(tokio::time::advance(duration));
    // The first poll moves the clock; the later ones would only yield to other tasks.
    let _ = advancing.poll(&mut Context::from_waker(Waker::noop()));
}

/// The work of a server for each request, after reading it.
type Work = Arc<dyn Fn(&Stream) + Send + Sync>;

/// A server and its peer.
fn server() -> (Sender, Acks, support::End) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let acks = Acks::default();
    let server = end(
        noting(far, &acks),
        Role::Server,
        Config::new().keep_alive(None),
    );
    (Sender(Arc::new(Mutex::new(near))), acks, server)
}

/// A server that responds to every request after its work.
fn serve(work: Work) -> (Sender, Acks, support::End) {
    let (peer, acks, server) = server();
    let mut listener = Listener::new(server.session.clone());
    tokio::spawn(async move {
        while let Some(Ok(mut stream)) = listener.next().await {
            let work = Arc::clone(&work);
            tokio::spawn(async move {
                let mut request = [0; 8];
                stream.read_exact(&mut request).await.unwrap();
                work(&stream);
                stream.write_all(b"response").await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    (peer, acks, server)
}

async fn all_of(acks: &Acks, count: usize) -> Vec<(u32, Instant)> {
    eventually("the acknowledgements", || {
        acks.lock().unwrap().len() >= count
    })
    .await;
    acks.lock().unwrap().clone()
}

/// A handler that blocks the thread delays every task, and acknowledgements by no more than that.
#[tokio::test(start_paused = true)]
async fn m01_acknowledgements_wait_for_handlers_that_block_the_thread_and_no_longer() {
    for (streams, blocked) in [(3, 300), (64, 20), (1, 1_000)] {
        let blocked = Duration::from_millis(blocked);
        let work: Work = Arc::new(move |_| compute(blocked));
        let (peer, acks, _server) = serve(work);
        tokio::task::yield_now().await;
        let start = Instant::now();
        peer.send_requests((0..streams).map(|index| 1 + 2 * index));
        let limit = blocked * streams + Duration::from_millis(5);
        for (stream, at) in all_of(&acks, streams as usize).await {
            let waited = at - start;
            assert!(waited <= limit, "{stream}: {waited:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m01_streams_that_arrive_while_handlers_compute_are_acknowledged_behind_them() {
    let sender: Arc<Mutex<Option<(Sender, Instant)>>> = Arc::default();
    let late = Arc::clone(&sender);
    let work: Work = Arc::new(move |stream| {
        if stream.id().get() == 21
            && let Some((sender, sent_at)) = late.lock().unwrap().as_mut()
        {
            sender.send_requests((0..16).map(|index| 201 + 2 * index));
            *sent_at = Instant::now();
        }
        compute(Duration::from_millis(20));
    });
    let (peer, acks, _server) = serve(work);
    *sender.lock().unwrap() = Some((peer.clone(), Instant::now()));
    tokio::task::yield_now().await;
    peer.send_requests((0..64).map(|index| 1 + 2 * index));
    let acks = all_of(&acks, 80).await;
    let sent_at = sender.lock().unwrap().as_ref().unwrap().1;
    let limit = Duration::from_millis(80 * 20 + 5);
    for (stream, at) in acks.into_iter().filter(|(stream, _)| *stream > 200) {
        let waited = at - sent_at;
        assert!(waited <= limit, "{stream}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn m01_a_timer_for_an_earlier_acknowledgement_delays_none() {
    let (peer, acks, server) = server();
    let start = Instant::now();
    let mut streams = Vec::new();
    for (id, millis) in [(1, 1), (3, 2)] {
        peer.send_requests([id]);
        let accepting = bounded("the accept", server.session.accept());
        let mut stream = accepting.await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        if id == 1 {
            // The acknowledgement is sent with it, and the timer stays.
            stream.write_all(b"response").await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let acks = acks.lock().unwrap();
    let waited: Vec<_> = acks
        .iter()
        .map(|(_, at)| (*at - start).as_millis())
        .collect();
    assert_eq!(waited, [1, 8]);
}

#[tokio::test(start_paused = true)]
async fn m01_streams_that_are_not_accepted_are_not_acknowledged() {
    let (peer, acks, server) = server();
    // A task has waited for a stream and was cancelled.
    tokio::select! {
        biased;
        _ = server.session.accept() => panic!("there is no stream"),
        () = tokio::task::yield_now() => {}
    }
    peer.send_requests([1, 3]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(acks.lock().unwrap().len(), 0);
    let stream = bounded("the accept", server.session.accept())
        .await
        .unwrap()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(6)).await;
    let acks: Vec<u32> = acks
        .lock()
        .unwrap()
        .iter()
        .map(|(stream, _)| *stream)
        .collect();
    assert_eq!(acks, [stream.id().get()]);
}
