//! Windows, grants and back-pressure.

use std::{task::Poll, time::Duration};

use super::{pair::Pair, scripted::Scripted};
use crate::{
    config::{Config, INITIAL_WINDOW},
    core::{Event, Read},
    error::{ProtocolError, SessionError, StreamError},
    frame::{Flags, HEADER_LEN, Header, Kind, MAX_PAYLOAD},
    streams::Key,
};

const WINDOW: usize = INITIAL_WINDOW as usize;

#[test]
fn m02_a_writer_continues_when_only_the_peer_reads() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    let mut written = 0;
    let mut read = 0;
    while read < 4 * WINDOW {
        match pair.client.write(near, &[7; 8192]) {
            Poll::Ready(Ok(count)) => written += count,
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {
                pair.drive();
                read += pair.server.read(far).len();
                pair.drive();
                assert!(
                    pair.client.happened(Event::Writable(near)),
                    "no wake-up at {written}"
                );
            }
        }
    }
}

#[test]
fn m02_unsent_frames_cost_no_window() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.acknowledged(1);
    for _ in 0..3 {
        let begun = peer.core().begin_data(key, 10_000, 1);
        assert!(
            matches!(begun, Poll::Ready(Ok(grant)) if grant.len() == 10_000),
            "{begun:?}"
        );
    }
    for _ in 0..3 {
        peer.core().refund(key, 10_000);
    }
    assert_eq!(peer.core().stats().bytes_sent, 0);
    assert_eq!(peer.fill_window(key), WINDOW);
    assert_eq!(peer.core().stats().bytes_sent, WINDOW as u64);
}

#[test]
fn m25_the_initial_window_is_exactly_256_kib_and_updates_come_at_half() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.side().open();
    assert_eq!(peer.fill_window(key), 262_144);
    assert_eq!(peer.core().stats().window_stalls, 1);

    let key = peer.acknowledged(1);
    for _ in 0..WINDOW / 65_536 {
        peer.send_data(1, Flags::NONE, &[0; 65_536]);
    }
    assert_eq!(
        peer.side().read_at_most(key, WINDOW / 2 - 1).0.len(),
        WINDOW / 2 - 1
    );
    assert_eq!(peer.headers(), []);
    assert_eq!(peer.side().read_at_most(key, 1).0.len(), 1);
    let credit = Header::window_update(1, Flags::NONE, INITIAL_WINDOW / 2);
    assert_eq!(peer.headers(), [credit]);
}

/// A server that has given stream 1 a first credit, 400 ms ago.
fn bulk_reader(config: Config) -> (Scripted, Key) {
    let mut peer = Scripted::new(config.keep_alive(None));
    let key = peer.acknowledged(1);
    peer.send_data(1, Flags::NONE, &vec![0; WINDOW / 2]);
    assert_eq!(peer.side().read(key).len(), WINDOW / 2);
    assert_eq!(peer.received().len(), 1);
    peer.wait(Duration::from_millis(400));
    (peer, key)
}

/// Sends and reads half a window and returns the credit for it.
fn read_half(peer: &mut Scripted, key: Key, half: usize) -> u32 {
    peer.send_data(key.id, Flags::NONE, &vec![0; half]);
    assert_eq!(peer.side().read(key).len(), half);
    let headers = peer.headers();
    assert_eq!(headers.len(), 1);
    headers[0].length
}

#[test]
fn windows_grow_while_they_slow_the_peer_down() {
    let (mut peer, key) = bulk_reader(Config::new().max_stream_window(1 << 20));
    assert_eq!(
        read_half(&mut peer, key, WINDOW / 2),
        INITIAL_WINDOW / 2,
        "400 ms have passed"
    );
    peer.wait(Duration::from_millis(99));
    assert_eq!(
        read_half(&mut peer, key, WINDOW / 2),
        INITIAL_WINDOW / 2 + INITIAL_WINDOW
    );
    assert_eq!(
        read_half(&mut peer, key, WINDOW),
        INITIAL_WINDOW + 2 * INITIAL_WINDOW
    );
    assert_eq!(
        read_half(&mut peer, key, 2 * WINDOW),
        2 * INITIAL_WINDOW,
        "the limit is 1 MiB"
    );
    assert!(peer.core().outcome().is_none());
}

#[test]
fn the_growth_of_all_windows_is_limited_and_given_back() {
    let config = Config::new().max_window_growth(WINDOW + 1000);
    let (mut peer, key) = bulk_reader(config);
    read_half(&mut peer, key, WINDOW / 2);
    assert_eq!(
        read_half(&mut peer, key, WINDOW / 2),
        INITIAL_WINDOW / 2 + INITIAL_WINDOW
    );
    let other = peer.acknowledged(3);
    assert_eq!(read_half(&mut peer, other, WINDOW / 2), INITIAL_WINDOW / 2);
    assert_eq!(
        read_half(&mut peer, other, WINDOW / 2),
        INITIAL_WINDOW / 2 + 1000
    );
    peer.send(Header::window_update(1, Flags::RST, 0));
    assert_eq!(
        read_half(&mut peer, other, WINDOW),
        (WINDOW + WINDOW) as u32
    );
}

#[test]
fn m27_credit_is_for_bytes_that_were_read() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    let mut sent = 0;
    while sent < WINDOW {
        match pair.client.write(near, &[0; MAX_PAYLOAD]) {
            Poll::Ready(Ok(count)) => sent += count,
            other => panic!("{other:?} after {sent} bytes"),
        }
        pair.drive();
    }
    assert!(pair.client.write(near, &[0]).is_pending());
    assert_eq!(pair.server.core.stats().unread_bytes, WINDOW);
    assert!(!pair.client.happened(Event::Writable(near)));
    pair.server.read(far);
    pair.drive();
    assert!(pair.client.happened(Event::Writable(near)));
}

#[test]
fn m26_data_is_cut_into_frames_of_16_kib() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.side().open();
    for expected in [MAX_PAYLOAD, MAX_PAYLOAD, 8] {
        let rest = if expected == 8 { 8 } else { 100_000 };
        match peer.side().write(key, &vec![0; rest]) {
            Poll::Ready(Ok(count)) => assert_eq!(count, expected),
            other => panic!("{other:?}"),
        }
    }
    let lengths: Vec<u32> = peer.headers().iter().map(|header| header.length).collect();
    assert_eq!(lengths, [16_384, 16_384, 8]);
}

#[test]
fn m26_a_small_call_waits_for_one_frame_of_each_bulk_stream() {
    let mut pair = Pair::new();
    let large = pair.client.open();
    let small = pair.client.open();
    // The wire is full and the queue too.
    pair.capacity = 0;
    while let Poll::Ready(written) = pair.client.write(large, &[0; 2 * MAX_PAYLOAD]) {
        written.unwrap();
    }
    let queued = pair.client.core.out.len();
    assert!(
        queued <= 64 * 1024 + MAX_PAYLOAD + HEADER_LEN,
        "{queued} bytes are queued"
    );
    assert!(pair.client.write(small, b"small").is_pending());
    // One frame leaves: the bulk stream waited first, then the sparse one.
    pair.client.core.out.consume(MAX_PAYLOAD + 2 * HEADER_LEN);
    pair.client.poll();
    assert!(pair.client.happened(Event::Writable(large)));
    pair.client.core.out.consume(MAX_PAYLOAD);
    pair.client.poll();
    assert!(pair.client.happened(Event::Writable(small)));
    assert!(matches!(
        pair.client.write(small, b"small"),
        Poll::Ready(Ok(5))
    ));
    assert!(matches!(
        pair.client.write(large, &[0; MAX_PAYLOAD]),
        Poll::Ready(Ok(_))
    ));
}

/// A pair with streams that have waited to write. The queue was sent then, and no task has written.
fn granted_writers() -> (Pair, Vec<Key>) {
    let mut pair = Pair::new();
    let keys: Vec<_> = (0..20).map(|_| pair.client.open()).collect();
    while let Poll::Ready(written) = pair.client.write(keys[0], &[0; 2 * MAX_PAYLOAD]) {
        written.unwrap();
    }
    for key in &keys[1..] {
        assert!(pair.client.write(*key, b"x").is_pending());
    }
    pair.client.core.out.clear();
    while pair.client.poll() {}
    (pair, keys)
}

#[test]
fn granted_writers_that_never_write_delay_no_other() {
    let (mut pair, keys) = granted_writers();
    for key in keys {
        assert!(pair.client.happened(Event::Writable(key)));
    }
}

#[test]
fn writers_whose_grants_have_expired_do_not_overfill_the_queue() {
    let (mut pair, keys) = granted_writers();
    // All write now, and nothing is sent.
    let mut waiting = keys;
    waiting.retain(|key| pair.client.write(*key, &[0; MAX_PAYLOAD]).is_pending());
    let queued = pair.client.core.out.len();
    assert!(
        queued <= 64 * 1024 + 3 * (MAX_PAYLOAD + HEADER_LEN),
        "{queued} bytes are queued"
    );
    // The others are granted a write again.
    pair.client.collect();
    pair.client.events.clear();
    pair.client.core.out.clear();
    while pair.client.poll() {}
    assert!(waiting.len() >= 10, "{waiting:?}");
    for key in waiting {
        assert!(pair.client.happened(Event::Writable(key)));
        assert!(pair.client.write(key, b"x").is_ready());
    }
}

#[test]
fn m08_a_slow_reader_stops_its_own_stream_only() {
    let mut pair = Pair::new();
    let (slow, _slow_far) = pair.stream();
    let (fast, fast_far) = pair.stream();
    while pair.client.core.stats().bytes_sent < WINDOW as u64 {
        assert!(pair.client.write(slow, &[0; MAX_PAYLOAD]).is_ready());
        pair.drive();
    }
    assert!(pair.client.write(slow, b"x").is_pending());
    for round in 0..100u8 {
        pair.client.write_all(fast, &[round; 10_000]);
        pair.drive();
        assert_eq!(pair.server.read(fast_far), [round; 10_000]);
        pair.drive();
    }
}

#[test]
fn m08_m12_an_overflow_ends_the_session_and_leaves_no_gap() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    for _ in 0..WINDOW / 65_536 {
        peer.send_data(1, Flags::NONE, &[1; 65_536]);
    }
    peer.received();
    peer.send_data(1, Flags::NONE, &[2]);
    assert!(matches!(
        peer.protocol_error(),
        ProtocolError::WindowExceeded {
            length: 1,
            window: 0,
            ..
        }
    ));
    assert_eq!(peer.headers(), [Header::go_away(1)]);
    // Later bytes are ignored, and the reader receives all bytes before them, then the error.
    peer.send_data(1, Flags::NONE, &[3; 10]);
    let (bytes, end) = peer.side().read_at_most(key, usize::MAX);
    assert_eq!(bytes, vec![1; WINDOW]);
    assert!(matches!(
        end,
        Read::Failed(StreamError::Session(SessionError::Protocol(_)))
    ));
}

#[test]
fn m09_credit_beyond_the_largest_window_ends_the_session() {
    let mut peer = Scripted::new(Config::default());
    peer.opened(1);
    peer.send(Header::window_update(
        1,
        Flags::NONE,
        u32::MAX - INITIAL_WINDOW,
    ));
    assert!(peer.core().outcome().is_none());
    peer.send(Header::window_update(1, Flags::NONE, 1));
    assert!(matches!(
        peer.protocol_error(),
        ProtocolError::WindowOverflow { .. }
    ));
}

#[test]
fn a_larger_window_of_the_opener_counts_from_the_start() {
    let mut peer = Scripted::new(Config::default());
    peer.send(Header::window_update(1, Flags::SYN, 1000));
    let key = peer.accept();
    assert_eq!(peer.fill_window(key), WINDOW + 1000);
}

#[test]
fn m05_both_directions_move_through_a_wire_of_one_byte() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    pair.capacity = 1;
    let (mut up, mut down) = (0, 0);
    let (mut read_up, mut read_down) = (0, 0);
    for _ in 0..20_000 {
        if up < 5_000
            && let Poll::Ready(written) = pair.client.write(near, &[1; 1250])
        {
            up += written.unwrap();
        }
        if down < 5_000
            && let Poll::Ready(written) = pair.server.write(far, &[2; 1250])
        {
            down += written.unwrap();
        }
        pair.step();
        read_down += pair.client.read(near).len();
        read_up += pair.server.read(far).len();
    }
    assert_eq!((read_up, read_down), (up, down));
    assert_eq!((up, down), (5_000, 5_000));
}

#[test]
fn m05_reading_continues_while_replies_are_queued() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    // Nothing is sent, and still every byte is accepted.
    for round in 0..1000u32 {
        peer.send(Header::ping(Flags::SYN, round));
        peer.send_data(1, Flags::NONE, b"x");
    }
    assert_eq!(peer.side().read(key).len(), 1000);
    let pongs = peer
        .headers()
        .into_iter()
        .filter(|header| header.kind == Kind::Ping);
    let values: Vec<u32> = pongs.map(|header| header.length).collect();
    assert_eq!(values, (0..1000).collect::<Vec<_>>());
}

#[test]
fn payloads_of_4_kib_and_more_are_not_copied() {
    let mut peer = Scripted::new(Config::default());
    for (id, length, slices) in [(1, 4095, 0), (3, 4096, 1)] {
        let key = peer.opened(id);
        peer.send_data(id, Flags::NONE, &vec![7; length]);
        let entry = peer.core().store.get(key).unwrap();
        assert_eq!(entry.recv.slices(), slices, "{length} bytes");
        assert_eq!(peer.side().read(key), vec![7; length]);
    }
    // The position in a block makes no difference.
    let key = peer.opened(5);
    let header = Header::data(5, Flags::NONE, 4080).encode();
    peer.send_bytes(&[&header[..], &[7; 4080]].concat());
    assert_eq!(peer.core().store.get(key).unwrap().recv.slices(), 0);
}

#[test]
fn too_many_unread_bytes_reset_one_stream_and_not_the_session() {
    let mut config = Config::new();
    config.max_buffered = 100_000;
    let mut peer = Scripted::new(config);
    let greedy = peer.acknowledged(1);
    let modest = peer.acknowledged(3);
    peer.send_data(1, Flags::NONE, &[0; 90_000]);
    peer.send_data(3, Flags::NONE, b"before");
    peer.received();
    peer.send_data(1, Flags::NONE, &[0; 20_000]);
    assert_eq!(peer.headers(), [Header::window_update(1, Flags::RST, 0)]);
    assert!(matches!(
        peer.side().read_end(greedy),
        Read::Failed(StreamError::LocalReset)
    ));
    peer.send_data(3, Flags::NONE, b" after");
    assert_eq!(peer.side().read(modest), b"before after");
}

#[test]
fn m14_a_frame_as_large_as_the_window_is_accepted() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.send_data(1, Flags::NONE, &vec![5; WINDOW]);
    assert_eq!(peer.side().read(key), vec![5; WINDOW]);
}
