//! Peers that mean harm: bounded memory, bounded work, no panic.

use super::scripted::{Scripted, is_go_away};
use crate::{
    config::{Config, INITIAL_WINDOW},
    error::{ProtocolError, SessionError},
    frame::{Flags, Header},
};

/// How much memory a core holds for its peer, not counting unread payload.
fn queued(peer: &mut Scripted) -> usize {
    let core = peer.core();
    core.out.len() + core.replies.len() * 12 + core.backlog.len() * 8 + core.greetings.len() * 8
}

#[test]
fn m06_a_syn_with_too_much_data_is_an_error_and_leaves_nothing() {
    for length in [INITIAL_WINDOW + 1, u32::MAX] {
        let mut peer = Scripted::new(Config::default());
        peer.send(Header::data(1, Flags::SYN, length));
        let error = peer.outcome().unwrap_err();
        assert!(matches!(
            error,
            SessionError::Protocol(ProtocolError::WindowExceeded { .. })
        ));
        assert_eq!(peer.headers(), [Header::go_away(1)]);
        assert_eq!(peer.side().open_streams(), 0);
        assert_eq!(peer.core().store.keys().count(), 0);
    }
}

#[test]
fn m07_a_ping_flood_is_bounded_and_then_ended() {
    let mut peer = Scripted::new(Config::default());
    for value in 0..1_000_000u32 {
        peer.send(Header::ping(Flags::SYN, value));
        assert!(queued(&mut peer) <= 1024 * 12 + 12);
        if peer.core().outcome().is_some() {
            break;
        }
    }
    let error = peer.outcome().unwrap_err();
    assert!(matches!(
        error,
        SessionError::Protocol(ProtocolError::TooManyReplies { .. })
    ));
    assert!(peer.headers().iter().any(|header| is_go_away(header, 1)));
}

#[test]
fn m07_a_peer_that_reads_its_replies_may_ask_for_ever() {
    let mut peer = Scripted::new(Config::default());
    for value in 0..10_000u32 {
        peer.send(Header::ping(Flags::SYN, value));
        assert_eq!(peer.headers(), [Header::ping(Flags::ACK, value)]);
    }
}

#[test]
fn m07_a_syn_flood_is_bounded_and_then_ended() {
    let mut peer = Scripted::new(Config::default());
    for index in 0..1_000_000u32 {
        peer.send(Header::window_update(1 + 2 * index, Flags::SYN, 0));
        assert!(peer.side().open_streams() <= 256);
        if peer.core().outcome().is_some() {
            assert!(index <= 256 + 1024 + 1);
            return;
        }
    }
    panic!("the flood was never stopped");
}

#[test]
fn m07_a_flood_of_opened_and_reset_streams_costs_nothing() {
    let mut peer = Scripted::new(Config::default());
    for index in 0..100_000u32 {
        peer.send(Header::window_update(1 + 2 * index, Flags::SYN, 0));
        peer.send(Header::window_update(1 + 2 * index, Flags::RST, 0));
        assert_eq!(peer.side().open_streams(), 0);
        assert!(queued(&mut peer) <= 2 * 257 * 8, "{}", queued(&mut peer));
        peer.side().events.clear();
    }
    assert!(peer.core().outcome().is_none());
    assert!(peer.nothing_to_accept());
}

#[test]
fn m07_a_flood_of_streams_that_are_served_is_bounded_and_then_ended() {
    let mut peer = Scripted::new(Config::new().max_streams(100));
    for index in 0..1_000_000u32 {
        let id = 1 + 2 * index;
        peer.send(Header::window_update(id, Flags::SYN.with(Flags::FIN), 0));
        if peer.core().outcome().is_some() {
            return;
        }
        // A program that has nothing to say: its ACK and FIN wait, because the peer reads nothing.
        let key = peer.accept();
        let now = peer.now();
        peer.core().release(key, || now);
        assert_eq!(peer.side().open_streams(), 0);
        peer.side().collect();
        peer.side().events.clear();
        assert!(peer.core().queued() < 256 * 1024, "stream {id}");
    }
    panic!("the flood was never stopped");
}

#[test]
fn m07_a_flood_of_data_that_finds_no_room_is_bounded_and_then_ended() {
    let mut peer = Scripted::new(Config::new().max_buffered(10).max_streams(100));
    let key = peer.acknowledged(1);
    peer.send_data(1, Flags::NONE, &[0; 10]);
    for index in 1..1_000_000u32 {
        peer.send_data(1 + 2 * index, Flags::SYN, b"x");
        peer.side().events.clear();
        assert!(peer.core().queued() < 256 * 1024, "{index} streams");
        if peer.core().outcome().is_some() {
            assert_eq!(peer.side().read(key), [0; 10]);
            return;
        }
    }
    panic!("the flood was never stopped");
}

#[test]
fn m07_a_flood_of_data_that_is_read_is_bounded_and_then_ended() {
    let mut peer = Scripted::new(Config::new().max_streams(100));
    let key = peer.acknowledged(1);
    // The peer knows when it has credit again and does not read the updates that say so.
    for round in 0..100_000 {
        peer.send(Header::data(1, Flags::NONE, INITIAL_WINDOW / 2));
        for _ in 0..INITIAL_WINDOW as usize / 2 / 4096 {
            peer.send_bytes(&[0; 4096]);
        }
        peer.side().read(key);
        peer.side().events.clear();
        assert!(peer.core().queued() < 256 * 1024, "{round} windows");
        if peer.core().outcome().is_some() {
            return;
        }
    }
    panic!("the flood was never stopped");
}

#[test]
fn floods_of_frames_for_nobody_cost_nothing() {
    let mut peer = Scripted::new(Config::default());
    for index in 0..100_000u32 {
        let id = 1 + 2 * (index % 1000);
        peer.send(Header::window_update(id, Flags::RST, 0));
        peer.send(Header::window_update(id, Flags::NONE, u32::MAX));
        peer.send(Header::window_update(id, Flags::FIN, 0));
        peer.send(Header::data(id, Flags::NONE, 0));
        peer.send(Header::ping(Flags::ACK, index));
        assert_eq!(queued(&mut peer), 0);
    }
    assert!(peer.core().outcome().is_none());
    assert!(peer.side().events.is_empty());
}

#[test]
fn floods_of_empty_frames_on_a_stream_cost_nothing() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.acknowledged(1);
    for _ in 0..100_000 {
        peer.send(Header::data(1, Flags::NONE, 0));
        peer.send(Header::window_update(1, Flags::NONE, 0));
    }
    assert_eq!(queued(&mut peer), 0);
    assert_eq!(peer.side().read(key), b"");
    peer.side().collect();
    assert!(
        peer.side().events.len() < 10,
        "{} events",
        peer.side().events.len()
    );
}

#[test]
fn a_length_of_4_gib_for_nobody_is_skipped_without_memory() {
    let mut peer = Scripted::new(Config::default());
    peer.send(Header::data(9, Flags::NONE, u32::MAX));
    for _ in 0..100 {
        peer.send_bytes(&[0xff; 4096]);
    }
    assert!(peer.core().outcome().is_none());
    assert_eq!(queued(&mut peer), 0);
    assert_eq!(peer.core().stats().unread_bytes, 0);
}

#[test]
fn one_byte_frames_cost_about_their_bytes() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    for _ in 0..INITIAL_WINDOW {
        peer.send_data(1, Flags::NONE, b"x");
        peer.side().events.clear();
    }
    let entry = peer.core().store.get(key).unwrap();
    assert!(
        entry.recv.capacity() < 300 * 1024,
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
    let lent: usize = store
        .keys()
        .filter_map(|key| store.get(key))
        .map(|entry| entry.recv.lent())
        .sum();
    assert!(lent <= 64, "{lent} blocks are pinned");
}

#[test]
fn m14_garbage_ends_the_session_with_its_reason() {
    let mut peer = Scripted::new(Config::default());
    peer.send_bytes(b"GET / HTTP/1.1\r\n");
    let error = peer.outcome().unwrap_err();
    assert!(matches!(
        error,
        SessionError::Protocol(ProtocolError::UnknownVersion { version: b'G' })
    ));
    assert!(
        error.to_string().contains("does it speak yamux?"),
        "{error}"
    );

    let mut peer = Scripted::new(Config::default());
    peer.send_bytes(&[0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let error = peer.outcome().unwrap_err();
    assert!(matches!(
        error,
        SessionError::Protocol(ProtocolError::UnknownType { kind: 9 })
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
        let error = peer.outcome().unwrap_err();
        assert!(matches!(
            error,
            SessionError::Protocol(ProtocolError::StreamZero)
        ));
    }
}
