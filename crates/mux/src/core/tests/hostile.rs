//! Hostile peers: bounded memory, bounded work, no panic.

use super::scripted::{Scripted, is_go_away};
use crate::{
    config::{Config, INITIAL_WINDOW},
    core::{buffers::MAX_SLICES, harness::work},
    error::{ProtocolError, SessionError},
    frame::{Flags, Header},
    streams::Key,
};

/// The visits of streams and events of one frame, averaged over a flood.
const WORK_PER_FRAME: u64 = 24;

/// The memory that a core with few streams may hold for a peer that reads nothing: the default limit of
/// replies.
const REPLIES: usize = 1024 * 12;
const LITTLE: usize = REPLIES + 8 * 1024;

/// A peer that sends frames as fast as it can and reads nothing. After each of its frames it is
/// checked how much memory it has cost, and how much work.
struct Flood {
    peer: Scripted,
    /// The number of bytes that the core may hold.
    memory: usize,
    frames: u64,
    events: u64,
    looks_before: u64,
}

impl Flood {
    fn new(config: Config, memory: usize) -> Self {
        Self::of(Scripted::new(config), memory)
    }

    /// A flood at a session that is in use already.
    fn of(mut peer: Scripted, memory: usize) -> Self {
        peer.side().events.clear();
        Self {
            peer,
            memory,
            frames: 0,
            events: 0,
            looks_before: work::looks(),
        }
    }

    fn send(&mut self, header: Header) {
        self.peer.send(header);
        self.check();
    }

    fn send_data(&mut self, stream: u32, flags: Flags, payload: &[u8]) {
        self.peer.send_data(stream, flags, payload);
        self.check();
    }

    fn check(&mut self) {
        self.frames += 1;
        self.peer.side().collect();
        self.events += self.peer.side().events.len() as u64;
        self.peer.side().events.clear();
        let core = self.peer.core();
        work::uncounted(|| {
            let held = core.accounted_memory();
            assert!(
                held <= self.memory,
                "{held} bytes after {} frames",
                self.frames
            );
        });
        let work = work::looks() - self.looks_before + self.events;
        // The end of a session visits each of its streams.
        let allowed = self.frames * WORK_PER_FRAME + 10_000;
        assert!(work <= allowed, "{work} steps for {} frames", self.frames);
    }

    fn is_stopped(&mut self) -> bool {
        self.peer.core().outcome().is_some()
    }

    /// The flood was stopped, and the reason was sent to the peer.
    fn assert_stopped(mut self) {
        assert!(matches!(
            self.peer.protocol_error(),
            ProtocolError::TooManyReplies { .. }
        ));
        let headers = self.peer.headers();
        assert!(headers.iter().any(|header| is_go_away(header, 1)));
    }

    /// The flood had no effect: the session continues, and holds little memory for it.
    fn assert_harmless(mut self, memory: usize) {
        assert!(self.peer.core().outcome().is_none());
        let held = self.peer.core().accounted_memory();
        assert!(held <= memory, "{held} bytes are left");
        self.peer.send(Header::ping(Flags::SYN, 7));
        let pong = Header::ping(Flags::ACK, 7);
        assert!(self.peer.headers().contains(&pong), "the session is stuck");
    }
}

/// A server with one stream that is open and idle, and the memory that it holds.
fn idle_stream() -> (Scripted, Key, usize) {
    let mut peer = Scripted::new(Config::default());
    let key = peer.acknowledged(1);
    peer.side().collect();
    let held = peer.core().accounted_memory();
    (peer, key, held)
}

#[test]
fn m06_a_syn_with_too_much_data_is_an_error_and_leaves_nothing() {
    for length in [INITIAL_WINDOW + 1, u32::MAX] {
        let mut peer = Scripted::new(Config::default());
        peer.send(Header::data(1, Flags::SYN, length));
        assert!(matches!(
            peer.protocol_error(),
            ProtocolError::WindowExceeded { .. }
        ));
        assert_eq!(peer.headers(), [Header::go_away(1)]);
        assert_eq!(peer.side().open_streams(), 0);
        assert_eq!(peer.core().store.keys().count(), 0);
    }
}

#[test]
fn m07_a_flood_of_pings_is_bounded_and_then_ended() {
    let mut flood = Flood::new(Config::default(), LITTLE);
    for value in 0..1_000_000 {
        flood.send(Header::ping(Flags::SYN, u32::MAX - value));
        if flood.is_stopped() {
            assert_eq!(value, 1024);
            return flood.assert_stopped();
        }
    }
    panic!("the flood was not stopped");
}

#[test]
fn m07_a_peer_that_reads_its_replies_may_ping_without_limit() {
    let mut peer = Scripted::new(Config::default());
    for value in 0..10_000u32 {
        peer.send(Header::ping(Flags::SYN, value));
        assert_eq!(peer.headers(), [Header::ping(Flags::ACK, value)]);
    }
}

/// Opens streams until the session ends, and returns their number.
fn stopping_syn(open: impl Fn(&mut Flood, u32)) -> u32 {
    // The accept queue, and a chunk of memory for each stream that has a byte in it.
    let mut flood = Flood::new(Config::default(), LITTLE + 257 * 400);
    for index in 0..1_000_000 {
        open(&mut flood, 1 + 2 * index);
        assert!(flood.peer.side().open_streams() <= 256);
        if flood.is_stopped() {
            flood.assert_stopped();
            return index;
        }
    }
    panic!("the flood was not stopped");
}

#[test]
fn m07_a_flood_of_syns_is_bounded_and_then_ended() {
    let credit = u32::MAX - INITIAL_WINDOW;
    let stopped = stopping_syn(|flood, id| {
        flood.send(Header::window_update(id, Flags::SYN, credit));
    });
    assert_eq!(stopped, 256 + 1024);
    let stopped = stopping_syn(|flood, id| flood.send_data(id, Flags::SYN, b"x"));
    assert_eq!(stopped, 256 + 1024);
}

#[test]
fn m07_a_flood_of_opened_and_reset_streams_costs_nothing() {
    // With new ids, and with the same one again.
    for step in [2, 0] {
        let mut flood = Flood::new(Config::default(), LITTLE);
        for index in 0..5_000 {
            let id = 1 + step * index;
            flood.send(Header::window_update(id, Flags::SYN, 0));
            flood.send(Header::window_update(id, Flags::RST, 0));
            assert_eq!(flood.peer.side().open_streams(), 0);
        }
        assert!(flood.peer.nothing_to_accept());
        flood.assert_harmless(LITTLE);
    }
}

#[test]
fn m07_a_repeated_id_is_one_stream_beside_a_flood_of_another() {
    let mut flood = Flood::new(Config::default(), LITTLE);
    for _ in 0..600 {
        flood.send(Header::window_update(1, Flags::SYN, 0));
        flood.send(Header::window_update(1, Flags::RST, 0));
    }
    flood.send(Header::window_update(1, Flags::SYN, 0));
    for _ in 0..5_000 {
        flood.send(Header::window_update(3, Flags::SYN, 0));
        flood.send(Header::window_update(3, Flags::RST, 0));
    }
    assert_eq!(flood.peer.accept().id, 1);
    assert!(flood.peer.nothing_to_accept());
}

#[test]
fn m07_a_flood_of_resets_of_streams_in_use_costs_nothing() {
    let mut flood = Flood::new(Config::default(), LITTLE);
    for index in 0..5_000 {
        let id = 1 + 2 * index;
        flood.send(Header::window_update(id, Flags::SYN, 0));
        let key = flood.peer.accept();
        flood.send_data(id, Flags::NONE, b"never to be read");
        flood.send(Header::data(id, Flags::RST, 0));
        flood.peer.drop_handle(key);
        flood.peer.wait(std::time::Duration::from_millis(5));
        assert_eq!(flood.peer.core().store.keys().count(), 0);
    }
    flood.assert_harmless(LITTLE);
}

#[test]
fn m07_a_flood_of_streams_that_are_served_is_bounded_and_then_ended() {
    let mut flood = Flood::new(Config::new().max_streams(100), 256 * 1024);
    for index in 0..1_000_000 {
        let fin = Flags::SYN.with(Flags::FIN);
        flood.send(Header::window_update(1 + 2 * index, fin, 0));
        if flood.is_stopped() {
            return flood.assert_stopped();
        }
        // A program that writes nothing: its ACK and FIN are queued, because the peer reads nothing.
        let key = flood.peer.accept();
        flood.peer.drop_handle(key);
        assert_eq!(flood.peer.side().open_streams(), 0);
    }
    panic!("the flood was not stopped");
}

#[test]
fn m07_a_flood_of_data_beyond_the_buffer_limit_is_bounded_and_then_ended() {
    let mut config = Config::new().max_streams(100);
    config.max_buffered = 10;
    let mut peer = Scripted::new(config);
    let key = peer.acknowledged(1);
    peer.send_data(1, Flags::NONE, &[0; 10]);
    let mut flood = Flood::of(peer, 256 * 1024);
    for index in 1..1_000_000 {
        flood.send_data(1 + 2 * index, Flags::SYN, b"x");
        if flood.is_stopped() {
            assert_eq!(flood.peer.side().read(key), [0; 10]);
            return flood.assert_stopped();
        }
    }
    panic!("the flood was not stopped");
}

#[test]
fn m07_a_flood_of_data_that_is_read_is_bounded_and_then_ended() {
    let config = Config::new()
        .max_control_replies(0)
        .max_streams(1)
        // Otherwise the window grows, and credit is given less often.
        .max_window_growth(0);
    let mut peer = Scripted::new(config);
    let key = peer.acknowledged(1);
    // The state after many reads, so that not a gigabyte has to be read here.
    for _ in 0..10_500 {
        peer.core().out.push(&Header::ping(Flags::ACK, 0).encode());
    }
    let mut flood = Flood::of(peer, 256 * 1024);
    // The peer tracks its credit without reading the updates.
    for _ in 0..5_000 {
        flood
            .peer
            .send(Header::data(1, Flags::NONE, INITIAL_WINDOW / 2));
        for _ in 0..INITIAL_WINDOW as usize / 2 / 4096 {
            flood.peer.send_bytes(&[0; 4096]);
            flood.peer.side().read(key);
            flood.check();
        }
        if flood.is_stopped() {
            return flood.assert_stopped();
        }
    }
    panic!("the flood was not stopped");
}

#[test]
fn m18_floods_of_frames_for_unknown_streams_cost_nothing() {
    let mut flood = Flood::new(Config::default(), 0);
    for index in 0..5_000 {
        let id = 1 + 2 * (index % 1000);
        flood.send(Header::window_update(id, Flags::RST, 0));
        flood.send(Header::window_update(id, Flags::SYN.with(Flags::RST), 0));
        flood.send(Header::window_update(id, Flags::NONE, u32::MAX));
        flood.send(Header::window_update(id, Flags::FIN, 0));
        flood.send(Header::data(id, Flags::NONE, 0));
        flood.send(Header::ping(Flags::ACK, index));
        flood.send(Header::ping(Flags::NONE, index));
    }
    assert_eq!(flood.events, 0);
    flood.assert_harmless(0);
}

#[test]
fn m07_floods_of_empty_data_and_credit_on_a_stream_cost_nothing() {
    let (peer, key, held) = idle_stream();
    let mut flood = Flood::of(peer, held);
    for _ in 0..5_000 {
        flood.send(Header::data(1, Flags::NONE, 0));
        flood.send(Header::data(1, Flags::ACK, 0));
        flood.send(Header::window_update(1, Flags::NONE, 0));
        flood.send(Header::window_update(1, Flags::ACK, 1));
    }
    assert!(flood.events < 10, "{} events", flood.events);
    assert_eq!(flood.peer.side().read(key), b"");
    flood.assert_harmless(held);
}

#[test]
fn m15_a_flood_of_go_aways_costs_nothing() {
    let (peer, _key, held) = idle_stream();
    let mut flood = Flood::of(peer, held);
    for _ in 0..5_000 {
        flood.send(Header::go_away(0));
    }
    flood.assert_harmless(held);
}

#[test]
fn m06_lengths_of_4_gib_cost_nothing() {
    let (peer, _key, held) = idle_stream();
    let mut flood = Flood::of(peer, held);
    flood.send(Header::window_update(9, Flags::NONE, u32::MAX));
    flood.send(Header::data(9, Flags::NONE, u32::MAX));
    for _ in 0..100 {
        flood.peer.send_bytes(&[0xff; 4096]);
        flood.check();
    }
    assert!(flood.peer.core().outcome().is_none());
    assert_eq!(flood.peer.core().stats().unread_bytes, 0);

    for (header, is_credit) in [
        (Header::data(1, Flags::NONE, u32::MAX), false),
        (Header::window_update(1, Flags::NONE, u32::MAX), true),
    ] {
        let (peer, _key, held) = idle_stream();
        let mut flood = Flood::of(peer, held + 12);
        flood.send(header);
        match flood.peer.outcome() {
            Err(SessionError::Protocol(ProtocolError::WindowExceeded { length, .. })) => {
                assert_eq!((length, is_credit), (u32::MAX, false));
            }
            Err(SessionError::Protocol(ProtocolError::WindowOverflow { .. })) => assert!(is_credit),
            other => panic!("{other:?}"),
        }
    }

    let mut peer = Scripted::new(Config::default());
    peer.send(Header::go_away(u32::MAX));
    assert!(matches!(
        peer.outcome(),
        Err(SessionError::RemoteGoAway { code: u32::MAX })
    ));
}

#[test]
fn m07_a_frame_costs_the_same_beside_many_streams() {
    let work = |streams: u32| {
        let mut peer = Scripted::new(Config::default());
        for index in 0..streams {
            peer.opened(1 + 2 * index);
            if index % 200 == 199 {
                peer.received();
            }
        }
        peer.received();
        let before = work::looks();
        for _ in 0..100 {
            peer.send_data(1, Flags::NONE, b"x");
            peer.send(Header::window_update(1, Flags::NONE, 1));
            peer.send(Header::window_update(77_777, Flags::NONE, 1));
            peer.send(Header::window_update(99_999, Flags::SYN, 0));
            peer.send(Header::window_update(99_999, Flags::RST, 0));
        }
        work::looks() - before
    };
    assert_eq!(work(1), work(10_000));
}

#[test]
fn one_byte_frames_cost_about_their_bytes() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    for _ in 0..INITIAL_WINDOW / 8 {
        peer.send_data(1, Flags::NONE, b"x");
        peer.side().events.clear();
    }
    let entry = peer.core().store.get(key).unwrap();
    assert!(
        entry.recv.capacity() <= 66 * 1024,
        "{}",
        entry.recv.capacity()
    );
}

#[test]
fn frames_that_pin_blocks_are_bounded() {
    // Each frame is just large enough to stay in its block.
    let mut peer = Scripted::new(Config::default());
    for index in 0..200 {
        let key = peer.opened(1 + 2 * index);
        peer.send_data(key.id, Flags::NONE, &[0; 5000]);
    }
    let store = &peer.core().store;
    let slices: usize = store
        .keys()
        .filter_map(|key| store.get(key))
        .map(|entry| entry.recv.slices())
        .sum();
    assert_eq!(slices, MAX_SLICES);
}

#[test]
fn m14_invalid_bytes_end_the_session_with_the_reason() {
    let mut peer = Scripted::new(Config::default());
    peer.send_bytes(b"GET / HTTP/1.1\r\n");
    assert!(matches!(
        peer.protocol_error(),
        ProtocolError::UnknownVersion { version: b'G' }
    ));
    let cause = peer.protocol_error().to_string();
    assert!(cause.contains("may not speak yamux"), "{cause}");

    let mut peer = Scripted::new(Config::default());
    peer.send_bytes(&[0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(
        peer.protocol_error(),
        ProtocolError::UnknownType { kind: 9 }
    ));
}

#[test]
fn frames_for_stream_zero_end_the_session() {
    for header in [
        Header::data(0, Flags::SYN, 0),
        Header::window_update(0, Flags::NONE, 1),
    ] {
        let mut peer = Scripted::new(Config::default());
        peer.send(header);
        assert!(matches!(peer.protocol_error(), ProtocolError::StreamZero));
    }
}
