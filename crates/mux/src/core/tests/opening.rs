//! Opening, acknowledging, refusing.

use std::{task::Poll, time::Duration};

use super::{pair::Pair, scripted::Scripted};
use crate::{
    config::Config,
    core::{Event, Read},
    error::{OpenError, ProtocolError, StreamError},
    frame::{Flags, Header},
};

#[test]
fn syn_is_sent_with_the_first_data_or_alone_for_a_reader() {
    let mut peer = Scripted::new(Config::default());
    let writer = peer.side().open();
    assert_eq!(peer.headers(), []);
    peer.side().write_all(writer, b"abc");
    assert_eq!(peer.headers(), [Header::data(2, Flags::SYN, 3)]);
    let reader = peer.side().open();
    assert!(peer.core().request_syn(reader));
    assert_eq!(peer.headers(), [Header::window_update(4, Flags::SYN, 0)]);
    assert!(!peer.core().request_syn(reader));
    // Data that is written before SYN was sent carries SYN, once.
    let both = peer.side().open();
    assert!(peer.core().request_syn(both));
    peer.side().write_all(both, b"abc");
    assert_eq!(peer.headers(), [Header::data(6, Flags::SYN, 3)]);
}

#[test]
fn m01_ack_does_not_wait_for_the_handler() {
    let mut peer = Scripted::new(Config::default());
    peer.opened(1);
    assert_eq!(peer.headers(), [], "it waits a moment for other frames");
    peer.wait(Duration::from_millis(5));
    assert_eq!(peer.headers(), [Header::window_update(1, Flags::ACK, 0)]);
}

#[test]
fn m01_ack_is_sent_with_the_first_data_and_once() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.side().write_all(key, b"quick");
    peer.side().write_all(key, b"more");
    let expected = [
        Header::data(1, Flags::ACK, 5),
        Header::data(1, Flags::NONE, 4),
    ];
    assert_eq!(peer.headers(), expected);
    peer.wait(Duration::from_secs(1));
    assert_eq!(peer.headers(), []);
}

#[test]
fn m01_acks_are_sent_with_any_other_frame() {
    let mut peer = Scripted::new(Config::default());
    peer.opened(1);
    let key = peer.opened(3);
    peer.side().write_all(key, b"x");
    let expected = [
        Header::data(3, Flags::ACK, 1),
        Header::window_update(1, Flags::ACK, 0),
    ];
    assert_eq!(peer.headers(), expected);
}

#[test]
fn m01_a_burst_of_accepts_is_acknowledged_before_the_delay() {
    let mut peer = Scripted::new(Config::default());
    for index in 0..8 {
        assert!(!peer.core().wants_to_send());
        peer.opened(1 + 2 * index);
    }
    assert_eq!(peer.headers().len(), 8);
}

#[test]
fn m01_a_stream_is_acknowledged_when_it_is_accepted_and_once() {
    let mut peer = Scripted::new(Config::default());
    assert!(peer.nothing_to_accept());
    peer.send(Header::window_update(1, Flags::SYN, 0));
    peer.wait(Duration::from_secs(1));
    assert_eq!(peer.headers(), [], "no task has accepted it");
    let key = peer.accept();
    peer.wait(Duration::from_millis(1_005));
    assert_eq!(peer.headers(), [Header::window_update(1, Flags::ACK, 0)]);
    peer.side().write_all(key, b"x");
    assert_eq!(peer.headers(), [Header::data(1, Flags::NONE, 1)]);
}

#[test]
fn m01_opening_waits_for_acknowledgements_beyond_the_limit() {
    let mut pair = Pair::with(Config::new().max_unacknowledged(2), Config::default());
    let first = pair.client.open();
    pair.client.open();
    assert!(matches!(pair.client.core.open(), Poll::Pending));
    pair.client.write_all(first, b"x");
    pair.drive();
    assert!(!pair.client.happened(Event::Openable));
    pair.accept();
    pair.advance(Duration::from_millis(5));
    assert!(pair.client.happened(Event::Openable));
    pair.client.open();
    assert!(matches!(pair.client.core.open(), Poll::Pending));
}

#[test]
fn an_unacknowledged_place_is_free_when_the_stream_has_ended() {
    let mut pair = Pair::with(Config::new().max_unacknowledged(1), Config::default());
    let key = pair.client.open();
    assert!(matches!(pair.client.core.open(), Poll::Pending));
    let now = pair.now;
    pair.client.core.handle_dropped(key, || now);
    assert!(pair.client.happened(Event::Openable));
    pair.client.open();
}

#[test]
fn data_without_ack_acknowledges() {
    let mut peer = Scripted::new(Config::new().max_unacknowledged(1));
    let key = peer.side().open();
    peer.side().write_all(key, b"request");
    peer.send_data(2, Flags::NONE, b"result");
    assert_eq!(peer.side().read(key), b"result");
    peer.side().open();
}

#[test]
fn m11_the_stream_beyond_the_accept_queue_is_refused() {
    let mut pair = Pair::with(Config::default(), Config::new().accept_backlog(2));
    let keys: Vec<_> = (0..3)
        .map(|_| {
            let key = pair.client.open();
            pair.client.write_all(key, b"x");
            key
        })
        .collect();
    pair.drive();
    match pair.client.read_end(keys[2]) {
        Read::Failed(StreamError::Refused) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(pair.client.read_end(keys[0]), Read::Pending));
    assert_eq!(pair.server.core.stats().refused, 1);
    pair.accept();
    // There is space again.
    let again = pair.client.open();
    pair.client.write_all(again, b"x");
    pair.drive();
    assert!(matches!(pair.client.read_end(again), Read::Pending));
}

#[test]
fn m11_an_accepted_stream_is_reset_and_not_refused() {
    let mut pair = Pair::new();
    let near = pair.client.open();
    pair.client.write_all(near, b"pay the bill");
    pair.drive();
    let far = pair.accept();
    assert_eq!(pair.server.read(far), b"pay the bill");
    // Its acknowledgement is still delayed.
    pair.server.core.reset(far);
    pair.drive();
    match pair.client.read_end(near) {
        Read::Failed(StreamError::Reset) => {}
        other => panic!("it would be tried again: {other:?}"),
    }
}

#[test]
fn m11_the_accept_queue_has_256_places_by_default() {
    let mut peer = Scripted::new(Config::default());
    for index in 0..257 {
        peer.send(Header::window_update(1 + 2 * index, Flags::SYN, 0));
    }
    assert_eq!(peer.headers(), [Header::window_update(513, Flags::RST, 0)]);
    for index in 0..256 {
        assert_eq!(peer.accept().id, 1 + 2 * index);
    }
    assert!(peer.nothing_to_accept());
}

#[test]
fn streams_that_were_reset_in_the_accept_queue_are_never_accepted() {
    let mut peer = Scripted::new(Config::default());
    peer.send_data(1, Flags::SYN, b"never mind");
    peer.send(Header::window_update(3, Flags::SYN, 0));
    peer.send(Header::window_update(1, Flags::RST, 0));
    assert_eq!(peer.accept().id, 3);
    assert!(peer.nothing_to_accept());
    assert_eq!(peer.core().stats().unread_bytes, 0);
}

#[test]
fn a_stream_that_the_peer_finished_in_the_accept_queue_is_accepted_with_its_data() {
    let mut peer = Scripted::new(Config::default());
    peer.send_data(1, Flags::SYN, b"one way");
    peer.send(Header::window_update(1, Flags::FIN, 0));
    let key = peer.accept();
    let (bytes, end) = peer.side().read_at_most(key, usize::MAX);
    assert_eq!(bytes, b"one way");
    assert!(matches!(end, Read::End));
    peer.side().write_all(key, b"result");
    assert_eq!(peer.headers(), [Header::data(1, Flags::ACK, 6)]);
}

#[test]
fn a_stream_limit_refuses_the_peer_and_is_an_error_for_the_user() {
    let mut pair = Pair::with(Config::new().max_streams(2), Config::new().max_streams(1));
    let first = pair.client.open();
    let second = pair.client.open();
    assert!(matches!(
        pair.client.open_error(),
        OpenError::TooManyStreams { limit: 2 }
    ));
    pair.client.write_all(first, b"x");
    pair.client.write_all(second, b"x");
    pair.drive();
    match pair.client.read_end(second) {
        Read::Failed(StreamError::Refused) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn m29_two_ends_of_one_role_are_an_error() {
    let mut peer = Scripted::new(Config::default());
    peer.send(Header::window_update(2, Flags::SYN, 0));
    assert!(matches!(
        peer.protocol_error(),
        ProtocolError::WrongParity { .. }
    ));
    let cause = peer.protocol_error().to_string();
    assert!(
        cause.contains("both ends may have the same role"),
        "{cause}"
    );
}

#[test]
fn m29_a_client_opens_odd_and_a_server_even_ids() {
    let mut pair = Pair::new();
    let ids: Vec<u32> = (0..3).map(|_| pair.client.open().id).collect();
    assert_eq!(ids, [1, 3, 5]);
    let ids: Vec<u32> = (0..3).map(|_| pair.server.open().id).collect();
    assert_eq!(ids, [2, 4, 6]);
}

#[test]
fn the_last_id_is_the_last() {
    let mut pair = Pair::new();
    pair.client.core.next_id = u64::from(u32::MAX);
    assert_eq!(pair.client.open().id, u32::MAX);
    assert!(matches!(pair.client.open_error(), OpenError::IdsExhausted));
}

#[test]
fn m28_the_first_frames_may_arrive_in_any_pieces() {
    let mut opening = Header::window_update(1, Flags::SYN, 0).encode().to_vec();
    opening.extend_from_slice(&Header::data(1, Flags::NONE, 5).encode());
    opening.extend_from_slice(b"hello");
    for cut in 0..=opening.len() {
        let mut peer = Scripted::new(Config::default());
        peer.send_bytes(&opening[..cut]);
        peer.send_bytes(&opening[cut..]);
        let key = peer.accept();
        assert_eq!(peer.side().read(key), b"hello", "cut at {cut}");
    }
}
