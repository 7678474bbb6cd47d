//! Keep-alive and stalled connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{pair::Pair, scripted::Scripted};
use crate::{
    config::{Config, PeerSuspension},
    error::SessionError,
    frame::{Flags, Header},
    streams::Key,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn m24_idle_sessions_ping_each_other_and_stay_connected() {
    let mut pair = Pair::new();
    pair.advance(3600 * SECOND);
    assert!(pair.client.core.outcome().is_none());
    assert!(pair.server.core.outcome().is_none());
    assert!(pair.client.core.stats().rtt.is_some());
}

/// The peer, which has not responded to a ping until now, is given up at the end of the timeout and not before.
#[track_caller]
fn assert_dead_after_10_s_of_silence(peer: &mut Scripted) {
    peer.wait(9 * SECOND);
    assert!(peer.core().outcome().is_none());
    peer.wait(SECOND);
    assert!(matches!(
        peer.outcome(),
        Err(SessionError::KeepAliveTimeout(_))
    ));
}

#[test]
fn m24_a_silent_peer_is_detected_without_traffic() {
    let mut peer = Scripted::new(Config::default());
    peer.wait(30 * SECOND);
    assert_eq!(peer.headers(), [Header::ping(Flags::SYN, 0)]);
    assert_dead_after_10_s_of_silence(&mut peer);
}

/// A peer that is suspended, until the second value says otherwise.
fn suspended_peer(config: Config) -> (Scripted, Arc<AtomicBool>) {
    let is_suspended = Arc::new(AtomicBool::new(true));
    let checked = Arc::clone(&is_suspended);
    let suspension = PeerSuspension::checked_by(move || checked.load(Ordering::Relaxed));
    (
        Scripted::new(config.peer_suspension(suspension)),
        is_suspended,
    )
}

#[test]
fn a_suspended_peer_stays_connected_until_it_is_silent_after_its_suspension() {
    let (mut peer, is_suspended) = suspended_peer(Config::default());
    for _ in 0..3600 {
        peer.wait(SECOND);
    }
    assert!(peer.core().outcome().is_none());
    // One ping is outstanding, whatever the time.
    assert_eq!(peer.headers(), [Header::ping(Flags::SYN, 0)]);
    is_suspended.store(false, Ordering::Relaxed);
    peer.send(Header::ping(Flags::ACK, 0));
    peer.wait(30 * SECOND);
    assert_eq!(peer.headers(), [Header::ping(Flags::SYN, 1)]);
    assert_dead_after_10_s_of_silence(&mut peer);
}

#[test]
fn a_connection_that_a_suspended_peer_does_not_read_is_not_stalled() {
    let (mut peer, is_suspended) = suspended_peer(Config::new().keep_alive(None));
    let now = peer.now();
    peer.core().stalled(now);
    for _ in 0..3600 {
        peer.wait(SECOND);
    }
    assert!(peer.core().outcome().is_none());
    is_suspended.store(false, Ordering::Relaxed);
    peer.wait(10 * SECOND);
    assert!(matches!(peer.outcome(), Err(SessionError::WriteTimeout(_))));
}

#[test]
fn a_peer_is_not_blamed_for_the_suspension_of_this_process() {
    let mut peer = Scripted::new(Config::default());
    peer.wait(30 * SECOND);
    // In one step, as after SIGSTOP and SIGCONT.
    peer.wait(60 * SECOND);
    assert!(peer.core().outcome().is_none());
    assert_dead_after_10_s_of_silence(&mut peer);
}

#[test]
fn a_session_that_finishes_does_not_wait_for_a_suspended_peer() {
    let (mut peer, _is_suspended) = suspended_peer(Config::default());
    let now = peer.now();
    peer.core().close(now, None);
    peer.core().stalled(now);
    peer.wait(20 * SECOND);
    assert!(peer.core().outcome().is_some());
}

#[test]
fn m24_a_busy_peer_that_responds_late_stays_connected() {
    let mut peer = Scripted::new(Config::default());
    peer.opened(1);
    peer.wait(30 * SECOND);
    for _ in 0..60 {
        peer.wait(SECOND);
        peer.send_data(1, Flags::NONE, b"x");
    }
    assert!(peer.core().outcome().is_none());
}

#[test]
fn m24_pings_are_acknowledged_with_their_value() {
    let mut peer = Scripted::new(Config::new().keep_alive(None));
    peer.send(Header::ping(Flags::SYN, 0xdead_beef));
    assert_eq!(peer.headers(), [Header::ping(Flags::ACK, 0xdead_beef)]);
}

/// A pair that sends no pings, and a stream of its client.
fn pair_without_pings() -> (Pair, Key) {
    let config = || Config::new().keep_alive(None);
    let mut pair = Pair::with(config(), config());
    let (near, _) = pair.stream();
    (pair, near)
}

#[test]
fn m23_a_stalled_connection_ends_the_session() {
    let (mut pair, near) = pair_without_pings();
    pair.capacity = 0;
    pair.client.write_all(near, b"stuck");
    pair.advance(9 * SECOND);
    assert!(pair.client.core.outcome().is_none());
    pair.advance(SECOND);
    let outcome = pair.client.core.outcome();
    assert!(
        matches!(outcome, Some(Err(SessionError::WriteTimeout(_)))),
        "{outcome:?}"
    );
}

#[test]
fn m23_a_slow_connection_that_makes_progress_stays_open() {
    let (mut pair, near) = pair_without_pings();
    pair.client.write_all(near, &[0; 20]);
    for _ in 0..20 {
        pair.capacity = 1;
        pair.step();
        pair.capacity = 0;
        pair.advance(9 * SECOND);
    }
    assert!(pair.client.core.outcome().is_none());
}

#[test]
fn the_longest_timeouts_never_elapse() {
    let config = Config::new()
        .close_timeout(Duration::MAX)
        .drain_timeout(Duration::MAX)
        .keep_alive(Some(Duration::MAX))
        .keep_alive_timeout(Duration::MAX)
        .write_timeout(Duration::MAX);
    let mut peer = Scripted::new(config);
    let key = peer.opened(1);
    let now = peer.now();
    peer.drop_handle(key);
    peer.opened(3);
    let drain_timeout = peer.core().drain_timeout();
    peer.core().close(now, Some(drain_timeout));
    peer.core().stalled(now);
    peer.received();
    peer.wait(3600 * 24 * 365 * SECOND);
    assert_eq!(peer.headers(), []);
    assert_eq!(peer.side().open_streams(), 2);
    assert!(peer.core().outcome().is_none());
}

#[test]
fn a_queue_limit_of_zero_still_makes_progress() {
    let config = || Config::new().send_queue(0);
    let mut pair = Pair::with(config(), config());
    let (near, far) = pair.stream();
    pair.client.write_all(near, b"x");
    pair.drive();
    assert_eq!(pair.server.read(far), b"x");
    pair.server.write_all(far, b"y");
    pair.drive();
    assert_eq!(pair.client.read(near), b"y");
}
