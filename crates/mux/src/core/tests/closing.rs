//! Finishing, resetting, dropping, GoAway.

use std::{task::Poll, time::Duration};

use super::{
    pair::Pair,
    scripted::{Scripted, is_go_away},
};
use crate::{
    config::Config,
    core::{Event, Read},
    error::{OpenError, ProtocolError, SessionError, StreamError},
    frame::{Flags, Header},
};

#[test]
fn m19_fin_is_a_frame_of_its_own_behind_the_last_data() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.side().open();
    peer.side().write_all(key, b"last");
    peer.core().finish(key).unwrap();
    let expected = [
        Header::data(2, Flags::SYN, 4),
        Header::window_update(2, Flags::FIN, 0),
    ];
    assert_eq!(peer.headers(), expected);
    peer.core().finish(key).unwrap();
    assert_eq!(
        peer.headers(),
        [],
        "a second FIN would end a Go peer's session"
    );
    assert!(matches!(
        peer.side().write(key, b"x"),
        Poll::Ready(Err(StreamError::WriteClosed))
    ));
}

#[test]
fn m19_flags_count_on_every_kind_of_stream_frame() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.send(Header::window_update(1, Flags::FIN, 0));
    assert!(matches!(peer.side().read_end(key), Read::End));
    let key = peer.opened(3);
    peer.send(Header::window_update(3, Flags::RST, 0));
    assert!(matches!(
        peer.side().read_end(key),
        Read::Failed(StreamError::Reset)
    ));
    let key = peer.opened(5);
    peer.send_data(5, Flags::RST, b"");
    assert!(matches!(
        peer.side().read_end(key),
        Read::Failed(StreamError::Reset)
    ));
}

#[test]
fn a_fin_on_data_counts_behind_the_payload_however_it_is_cut() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.send(Header::data(1, Flags::FIN, 6));
    assert!(matches!(peer.side().read_end(key), Read::Pending));
    for byte in b"abcdef" {
        assert!(matches!(
            peer.side().read_at_most(key, usize::MAX).1,
            Read::Pending
        ));
        peer.send_bytes(&[*byte]);
    }
    let (bytes, end) = peer.side().read_at_most(key, usize::MAX);
    assert_eq!(bytes, b"f");
    assert!(matches!(end, Read::End));
}

#[test]
fn m20_reading_continues_after_finishing() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    pair.client.core.finish(near).unwrap();
    pair.drive();
    assert!(pair.server.happened(Event::Readable(far)));
    assert!(matches!(pair.server.read_end(far), Read::End));
    pair.server.write_all(far, b"still here");
    pair.server.core.finish(far).unwrap();
    pair.drive();
    let (bytes, end) = pair.client.read_at_most(near, usize::MAX);
    assert_eq!(bytes, b"still here");
    assert!(matches!(end, Read::End));
    assert_eq!(
        (pair.client.open_streams(), pair.server.open_streams()),
        (0, 0)
    );
}

#[test]
fn m20_both_ends_may_finish_at_once() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    pair.client.core.finish(near).unwrap();
    pair.server.core.finish(far).unwrap();
    pair.drive();
    assert!(matches!(pair.client.read_end(near), Read::End));
    assert!(matches!(pair.server.read_end(far), Read::End));
    assert_eq!(
        (pair.client.open_streams(), pair.server.open_streams()),
        (0, 0)
    );
}

#[test]
fn m17_bytes_written_before_the_drop_are_delivered() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    pair.client.write_all(near, &[9; 60_000]);
    let now = pair.now;
    pair.client.core.handle_dropped(near, || now);
    pair.drive();
    let (bytes, end) = pair.server.read_at_most(far, usize::MAX);
    assert_eq!(bytes, vec![9; 60_000]);
    assert!(matches!(end, Read::End));
}

#[test]
fn m18_late_frames_for_a_removed_stream_are_dropped() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.core().reset(key);
    peer.received();
    peer.send_data(1, Flags::NONE, b"late");
    peer.send(Header::window_update(1, Flags::NONE, 5));
    peer.send(Header::window_update(1, Flags::FIN, 0));
    peer.send(Header::window_update(1, Flags::RST, 0));
    peer.send_data(77, Flags::NONE, b"never seen");
    assert_eq!(
        peer.headers(),
        [],
        "a reply could cut off data that is still under way"
    );
    assert!(peer.core().outcome().is_none());
    // The payload was skipped: the next frame is decoded.
    let key = peer.opened(3);
    peer.send_data(3, Flags::NONE, b"fine");
    assert_eq!(peer.side().read(key), b"fine");
}

#[test]
fn m21_a_dropped_stream_is_counted_until_the_peer_has_finished_it() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.drop_handle(key);
    assert_eq!(
        peer.headers(),
        [Header::window_update(1, Flags::ACK.with(Flags::FIN), 0)]
    );
    assert_eq!(peer.side().open_streams(), 1);
    peer.send(Header::window_update(1, Flags::FIN, 0));
    assert_eq!(peer.side().open_streams(), 0);
}

#[test]
fn m21_a_fin_on_data_removes_a_dropped_stream_too() {
    for length in [0, 5] {
        let mut peer = Scripted::new(Config::default());
        let key = peer.opened(1);
        peer.drop_handle(key);
        peer.send(Header::data(1, Flags::FIN, length));
        assert_eq!(peer.side().open_streams(), usize::from(length > 0));
        peer.send_bytes(&vec![7; length as usize]);
        assert_eq!(peer.side().open_streams(), 0);
        assert!(peer.core().outcome().is_none());
    }
}

#[test]
fn m21_a_dropped_stream_that_the_peer_never_finishes_is_reset_in_the_end() {
    let config = Config::new()
        .close_timeout(Duration::from_secs(100))
        .keep_alive(None);
    let mut peer = Scripted::new(config);
    let key = peer.opened(1);
    peer.drop_handle(key);
    peer.received();
    let mut waited = 0;
    while peer.side().open_streams() == 1 {
        peer.wait(Duration::from_secs(5));
        waited += 5;
        assert!(waited <= 125, "it is never forgotten");
    }
    assert!(waited >= 100, "reset after {waited} seconds");
    assert_eq!(peer.headers(), [Header::window_update(1, Flags::RST, 0)]);
}

#[test]
fn m21_a_stream_dropped_within_a_period_has_its_whole_timeout() {
    let config = Config::new()
        .close_timeout(Duration::from_secs(100))
        .keep_alive(None);
    let mut peer = Scripted::new(config);
    let keys = [peer.opened(1), peer.opened(3)];
    for key in keys {
        peer.drop_handle(key);
        // The first period ends 25 seconds after the first drop, one second after the second.
        peer.wait(Duration::from_secs(24));
    }
    peer.received();
    // 24 seconds have passed for the second stream; the first one is reset by its 125th.
    for second in 24..125 {
        let is_over = peer
            .headers()
            .contains(&Header::window_update(3, Flags::RST, 0));
        assert!(!is_over || second >= 100, "reset after {second} seconds");
        peer.wait(Duration::from_secs(1));
    }
    assert_eq!(peer.side().open_streams(), 0);
}

#[test]
fn m21_a_half_closed_stream_in_use_is_never_reset() {
    let config = Config::new()
        .close_timeout(Duration::from_secs(1))
        .keep_alive(None);
    let mut peer = Scripted::new(config);
    let key = peer.opened(1);
    peer.core().finish(key).unwrap();
    for _ in 0..10 {
        peer.wait(Duration::from_secs(1));
    }
    peer.send_data(1, Flags::NONE, b"slow result");
    assert_eq!(peer.side().read(key), b"slow result");
}

#[test]
fn a_peer_that_fills_the_window_of_a_dropped_stream_is_reset_after_a_while() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.drop_handle(key);
    peer.received();
    // A few bytes are dropped silently: a reset could destroy the last bytes that this end sent.
    peer.send_data(1, Flags::NONE, &[0; 65_536]);
    assert_eq!(peer.headers(), []);
    for _ in 0..3 {
        peer.send_data(1, Flags::NONE, &[0; 65_536]);
    }
    // The peer has time to read the last bytes.
    peer.wait(Duration::from_millis(499));
    assert_eq!(peer.headers(), []);
    peer.wait(Duration::from_millis(1));
    assert_eq!(peer.headers(), [Header::window_update(1, Flags::RST, 0)]);
    assert_eq!(peer.side().open_streams(), 0);
    assert_eq!(peer.core().stats().unread_bytes, 0);
}

#[test]
fn data_before_a_reset_can_be_read() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.send_data(1, Flags::NONE, b"the last words");
    peer.send(Header::window_update(1, Flags::RST, 0));
    let (bytes, end) = peer.side().read_at_most(key, usize::MAX);
    assert_eq!(bytes, b"the last words");
    assert!(matches!(end, Read::Failed(StreamError::Reset)));
}

#[test]
fn a_reset_after_fin_leaves_the_end_readable() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.send_data(1, Flags::NONE, b"all");
    peer.send(Header::window_update(1, Flags::FIN, 0));
    peer.send(Header::window_update(1, Flags::RST, 0));
    let (bytes, end) = peer.side().read_at_most(key, usize::MAX);
    assert_eq!(bytes, b"all");
    assert!(matches!(end, Read::End));
    assert!(matches!(
        peer.side().write(key, b"x"),
        Poll::Ready(Err(StreamError::Reset))
    ));
}

#[test]
fn a_reset_wakes_writers_and_readers() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.side().collect();
    peer.side().events.clear();
    peer.send(Header::window_update(1, Flags::RST, 0));
    assert!(peer.side().happened(Event::Readable(key)));
    assert!(peer.side().happened(Event::Writable(key)));
}

#[test]
fn a_second_fin_or_syn_ends_the_session() {
    let mut peer = Scripted::new(Config::default());
    peer.opened(1);
    peer.send(Header::window_update(1, Flags::FIN, 0));
    peer.send(Header::window_update(1, Flags::FIN, 0));
    assert!(matches!(
        peer.protocol_error(),
        ProtocolError::DuplicateFin { .. }
    ));

    let mut peer = Scripted::new(Config::default());
    peer.opened(1);
    peer.send(Header::window_update(1, Flags::SYN, 0));
    assert!(matches!(
        peer.protocol_error(),
        ProtocolError::DuplicateStream { .. }
    ));
}

#[test]
fn m15_go_away_ends_accepting_but_not_the_streams() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    pair.server.core.go_away();
    assert!(pair.server.happened(Event::Acceptable));
    let now = pair.now;
    assert!(matches!(
        pair.server.core.accept(|| now),
        Poll::Ready(Ok(None))
    ));
    pair.drive();
    assert!(pair.client.happened(Event::PeerDraining));
    assert!(matches!(pair.client.open_error(), OpenError::RemoteGoAway));
    pair.client.write_all(near, b"as usual");
    pair.drive();
    assert_eq!(pair.server.read(far), b"as usual");
    // The one that sent it may still open.
    let back = pair.server.open();
    pair.server.write_all(back, b"x");
    pair.drive();
    assert!(matches!(
        pair.client.core.accept(|| now),
        Poll::Ready(Ok(_))
    ));
}

#[test]
fn m15_streams_that_cross_a_go_away_are_refused() {
    let mut pair = Pair::new();
    let key = pair.client.open();
    pair.client.write_all(key, b"x");
    pair.server.core.go_away();
    pair.drive();
    match pair.client.read_end(key) {
        Read::Failed(StreamError::Refused) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(pair.client.open_streams(), 0);
}

#[test]
fn m15_a_close_that_the_peer_ignores_ends_nevertheless() {
    let mut peer = Scripted::new(Config::new().drain_timeout(Duration::from_secs(2)));
    let key = peer.opened(1);
    let now = peer.now();
    peer.core().close(now, Some(Duration::from_secs(2)));
    peer.wait(Duration::from_millis(1999));
    assert!(peer.core().outcome().is_none());
    peer.wait(Duration::from_millis(1));
    assert!(peer.core().is_finishing());
    let headers = peer.headers();
    assert!(headers.iter().any(|header| is_go_away(header, 0)));
    assert!(headers.contains(&Header::window_update(1, Flags::RST, 0)));
    assert!(matches!(
        peer.side().read_end(key),
        Read::Failed(StreamError::Closed)
    ));
    peer.wait(Duration::from_secs(1));
    assert!(peer.core().has_ended());
    assert!(matches!(
        peer.outcome(),
        Err(SessionError::DrainTimeout { streams: 1 })
    ));
}

#[test]
fn m16_close_sends_written_bytes_then_ends() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    pair.client.write_all(near, &[3; 50_000]);
    let now = pair.now;
    pair.client.core.handle_dropped(near, || now);
    pair.client.core.close(now, Some(Duration::from_secs(2)));
    assert!(
        !pair.client.core.is_finishing(),
        "the stream has not been finished by the peer"
    );
    pair.drive();
    assert_eq!(pair.server.read(far), vec![3; 50_000]);
    pair.server.core.finish(far).unwrap();
    pair.drive();
    assert!(pair.client.core.is_finishing());
    assert!(pair.client.core.out.is_empty());
}

#[test]
fn closing_refuses_unaccepted_streams() {
    let mut peer = Scripted::new(Config::default());
    peer.send_data(1, Flags::SYN, b"hello?");
    let now = peer.now();
    peer.core().close(now, Some(Duration::from_secs(2)));
    let expected = [Header::go_away(0), Header::window_update(1, Flags::RST, 0)];
    assert_eq!(peer.headers(), expected);
    assert!(peer.core().is_finishing());
}

#[test]
fn m04_the_end_wakes_all_tasks_and_keeps_received_bytes() {
    let mut peer = Scripted::new(Config::default());
    let reader = peer.opened(1);
    let writer = peer.opened(3);
    peer.send_data(1, Flags::NONE, b"unread");
    peer.side().collect();
    peer.side().events.clear();
    peer.core().end_of_input();
    for event in [
        Event::Readable(reader),
        Event::Writable(reader),
        Event::Readable(writer),
        Event::Writable(writer),
        Event::Acceptable,
        Event::Openable,
        Event::PeerDraining,
    ] {
        assert!(peer.side().happened(event), "{event:?}");
    }
    let error = peer.outcome().unwrap_err();
    assert!(matches!(error, SessionError::ConnectionLost { streams: 2 }));
    let (bytes, end) = peer.side().read_at_most(reader, usize::MAX);
    assert_eq!(bytes, b"unread");
    assert!(matches!(end, Read::Failed(StreamError::Session(_))));
    peer.drop_handle(reader);
    peer.drop_handle(writer);
    assert_eq!(peer.core().store.keys().count(), 0);
}

#[test]
fn an_end_between_frames_with_nothing_open_is_clean() {
    let mut peer = Scripted::new(Config::default());
    let key = peer.opened(1);
    peer.drop_handle(key);
    peer.core().end_of_input();
    peer.outcome().unwrap();

    let mut peer = Scripted::new(Config::default());
    peer.send_bytes(&[0, 1, 0]);
    peer.core().end_of_input();
    assert!(matches!(peer.outcome(), Err(SessionError::IncompleteFrame)));
}

#[test]
fn other_codes_of_go_away_are_errors() {
    let mut peer = Scripted::new(Config::default());
    peer.send(Header::go_away(2));
    let error = peer.outcome().unwrap_err();
    assert!(matches!(error, SessionError::RemoteGoAway { code: 2 }));
    assert!(error.to_string().contains("internal error"), "{error}");
}

#[test]
fn m31_a_reset_connection_after_go_away_is_a_clean_end() {
    let mut peer = Scripted::new(Config::default());
    peer.send(Header::go_away(0));
    peer.core()
        .connection_failed(std::io::ErrorKind::ConnectionReset.into());
    peer.outcome().unwrap();

    let mut peer = Scripted::new(Config::default());
    peer.opened(1);
    peer.core()
        .connection_failed(std::io::ErrorKind::ConnectionReset.into());
    assert!(matches!(peer.outcome(), Err(SessionError::Io(_))));
}

/// HashiCorp's `Session.Close` sends no GoAway. Where our ping crosses it, the system reports a
/// broken pipe or a reset instead of the end.
#[test]
fn m31_a_close_that_crosses_a_ping_is_a_clean_end() {
    use std::io::ErrorKind;
    for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset] {
        let mut peer = Scripted::new(Config::default());
        peer.core().connection_failed(kind.into());
        peer.outcome().unwrap();
    }
    let mut peer = Scripted::new(Config::default());
    peer.core().connection_failed(ErrorKind::TimedOut.into());
    assert!(matches!(peer.outcome(), Err(SessionError::Io(_))));
    // An end within a frame is not clean.
    let mut peer = Scripted::new(Config::default());
    peer.send_bytes(&Header::ping(Flags::SYN, 1).encode()[..5]);
    peer.core()
        .connection_failed(ErrorKind::ConnectionReset.into());
    assert!(matches!(peer.outcome(), Err(SessionError::Io(_))));
}

#[test]
fn m16_streams_that_wait_when_the_peer_closes_are_still_accepted() {
    let mut peer = Scripted::new(Config::default());
    peer.send_data(1, Flags::SYN, b"one way");
    peer.send(Header::window_update(1, Flags::FIN, 0));
    peer.send_data(3, Flags::SYN, b"cut off");
    peer.send_data(5, Flags::SYN, b"never mind");
    peer.send(Header::window_update(5, Flags::RST, 0));
    peer.core().end_of_input();
    assert_eq!(peer.core().stats().open_streams, 0);
    let key = peer.accept();
    assert_eq!(key.id, 1);
    let (bytes, end) = peer.side().read_at_most(key, usize::MAX);
    assert_eq!(bytes, b"one way");
    assert!(matches!(end, Read::End));
    let now = peer.now();
    peer.drop_handle(key);
    let key = peer.accept();
    assert_eq!(key.id, 3);
    let (bytes, end) = peer.side().read_at_most(key, usize::MAX);
    assert_eq!(bytes, b"cut off");
    assert!(matches!(end, Read::Failed(StreamError::Session(_))));
    assert!(matches!(
        peer.side().write(key, b"result"),
        Poll::Ready(Err(StreamError::Session(_)))
    ));
    peer.drop_handle(key);
    assert!(matches!(peer.core().accept(|| now), Poll::Ready(Err(_))));
    assert_eq!(peer.core().stats().unread_bytes, 0);
}

#[test]
fn unaccepted_streams_are_freed_with_the_last_handle_of_the_session() {
    let mut peer = Scripted::new(Config::default());
    peer.send_data(1, Flags::SYN, b"too late");
    peer.core().end_of_input();
    assert_eq!(peer.core().stats().unread_bytes, 8);
    peer.core().drop_unaccepted();
    assert_eq!(peer.core().stats().unread_bytes, 0);
    let now = peer.now();
    assert!(matches!(peer.core().accept(|| now), Poll::Ready(Err(_))));
}
