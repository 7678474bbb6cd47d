//! A slow connection: the send queue is full, and space in it is rare.

use std::task::Poll;

use super::pair::Pair;
use crate::{
    config::Config,
    core::Event,
    frame::{HEADER_LEN, MAX_PAYLOAD},
    streams::Key,
};

/// A write of a bulk stream.
static BULK: [u8; 20_000] = [7; 20_000];

/// A pair whose client may open any number of streams.
fn many() -> Pair {
    Pair::with(Config::new().max_unacknowledged(100_000), Config::new())
}

/// Sends `count` bytes of the queue to a connection that then accepts no more, and polls the core.
fn trickle(pair: &mut Pair, count: usize) {
    let now = pair.now;
    let core = &mut pair.client.core;
    core.begin_poll();
    core.out.consume(count);
    core.progressed();
    if core.wants_to_send() {
        core.stalled(now);
    }
    pair.client.end_poll();
}

/// Fills the queue of a slow connection by small writes of many streams. Returns the streams that wait then.
fn fill(pair: &mut Pair, piece: &[u8]) -> Key {
    pair.client.core.stalled(pair.now);
    loop {
        let key = pair.client.open();
        for _ in 0..4 {
            if pair.client.write(key, piece).is_pending() {
                return key;
            }
        }
    }
}

/// Makes later streams write little whenever there is space, on a slow connection. Returns how many bytes they
/// have written when `waiting` is granted a write, or after 200 frames.
fn passed(pair: &mut Pair, waiting: Key, piece: &[u8]) -> Option<usize> {
    pair.client.granted();
    let mut passed = 0;
    for _ in 0..200 {
        trickle(pair, HEADER_LEN + piece.len());
        if pair.client.happened(Event::Writable(waiting)) {
            return Some(passed);
        }
        let newcomer = pair.client.open();
        while pair.client.core.has_space() && pair.client.write(newcomer, piece).is_ready() {
            passed += piece.len();
        }
    }
    None
}

#[test]
fn a_sparse_stream_that_waits_for_space_is_not_bypassed() {
    let mut pair = many();
    let piece = [7; 4_000];
    let waiting = fill(&mut pair, &piece);
    assert!(pair.client.core.is_enqueued(waiting) && !pair.client.core.has_space());
    assert_eq!(passed(&mut pair, waiting, &piece), Some(0));
    assert!(pair.client.write(waiting, &piece).is_ready());
}

#[test]
fn no_more_than_a_queue_bypasses_a_bulk_stream() {
    let mut pair = many();
    let piece = [7; 4_000];
    let large = pair.client.open();
    fill(&mut pair, &piece);
    assert!(pair.client.write(large, &BULK).is_pending());
    let queue = pair.client.core.config.send_queue;
    let passed = passed(&mut pair, large, &piece).expect("it is granted a write");
    assert!(passed < queue + 3 * piece.len(), "{passed}");
    assert!(pair.client.write(large, &BULK).is_ready());
}

#[test]
fn a_bulk_stream_is_granted_a_write_although_sparse_streams_wait_for_all_space() {
    let mut pair = many();
    let piece = [7; 4_000];
    let large = pair.client.open();
    fill(&mut pair, &piece);
    assert!(pair.client.write(large, &BULK).is_pending());
    for _ in 0..4 {
        let key = pair.client.open();
        assert!(pair.client.write(key, &piece).is_pending());
    }
    pair.client.granted();
    let mut passed = 0;
    for _ in 0..200 {
        trickle(&mut pair, HEADER_LEN + piece.len());
        let granted = pair.client.granted();
        if granted.contains(&large) {
            break;
        }
        for key in granted {
            assert!(pair.client.write(key, &piece).is_ready());
            passed += piece.len();
            let newcomer = pair.client.open();
            assert!(pair.client.write(newcomer, &piece).is_pending());
        }
    }
    let queue = pair.client.core.config.send_queue;
    assert!(
        passed <= 2 * queue,
        "{passed} bytes bypassed it, and it is not granted a write"
    );
}

#[test]
fn a_bulk_stream_finds_its_reservation_although_sparse_streams_write_first() {
    let mut pair = many();
    let piece = [7; 4_000];
    let large = pair.client.open();
    fill(&mut pair, &piece);
    assert!(pair.client.write(large, &BULK).is_pending());
    pair.client.granted();
    let (mut passed, mut calls) = (0, 0);
    for _ in 0..200 {
        trickle(&mut pair, HEADER_LEN + piece.len());
        let granted = pair.client.granted();
        // The response to a request that arrived meanwhile is sent first.
        let newcomer = pair.client.open();
        while pair.client.core.has_space() && pair.client.write(newcomer, &piece).is_ready() {
            passed += piece.len();
        }
        if granted.contains(&large) {
            calls += 1;
            if pair.client.write(large, &BULK).is_ready() {
                break;
            }
        }
    }
    let queue = pair.client.core.config.send_queue;
    assert!(
        passed <= 2 * queue,
        "{passed} bytes passed, and {calls} calls"
    );
}

#[test]
fn no_more_than_a_queue_bypasses_a_bulk_stream_behind_streams_that_ended() {
    let mut pair = many();
    let piece = [7; 4_000];
    let gone: Vec<_> = (0..40).map(|_| pair.client.open()).collect();
    let large = pair.client.open();
    fill(&mut pair, &piece);
    let now = pair.now;
    for key in gone {
        assert!(pair.client.write(key, &BULK).is_pending());
        pair.client.core.handle_dropped(key, || now);
    }
    assert!(pair.client.write(large, &BULK).is_pending());
    let queue = pair.client.core.config.send_queue;
    let mut all = 0;
    for _ in 0..10 {
        match passed(&mut pair, large, &piece) {
            Some(passed) => {
                all += passed;
                break;
            }
            None => all += 200 * piece.len(),
        }
    }
    assert!(all <= 2 * queue, "{all}");
}

#[test]
fn a_sparse_write_that_grows_waits_with_the_bulk_streams() {
    let mut pair = many();
    let bulk = pair.client.open();
    fill(&mut pair, &[7; 4_000]);
    assert!(pair.client.write(bulk, &BULK).is_pending());
    let newcomer = pair.client.open();
    assert!(pair.client.write(newcomer, &[7; 100]).is_pending());
    pair.client.granted();
    // The body follows the head before there is space.
    assert!(pair.client.write(newcomer, &BULK).is_pending());
    let mut order = Vec::new();
    while order.len() < 2 {
        let all = pair.client.core.out.len();
        trickle(&mut pair, all);
        for key in pair.client.granted() {
            while pair.client.write(key, &BULK).is_ready() {
                let entry = pair.client.core.store.get_mut(key).unwrap();
                entry.send_window.give_back(MAX_PAYLOAD as u32);
            }
            if (key == bulk || key == newcomer) && !order.contains(&key) {
                order.push(key);
            }
        }
    }
    assert_eq!(order, [bulk, newcomer]);
}

#[test]
fn sparse_writes_that_find_no_space_keep_their_order() {
    let mut pair = many();
    let piece = [7; 4_000];
    let mut waiting = vec![fill(&mut pair, &piece)];
    for _ in 0..15 {
        let key = pair.client.open();
        assert!(pair.client.write(key, &piece).is_pending());
        waiting.push(key);
    }
    pair.client.granted();
    let mut order = Vec::new();
    while order.len() < waiting.len() {
        // New streams use the remaining space, and the granted ones have their reservations.
        trickle(&mut pair, 2 * (HEADER_LEN + piece.len()));
        let granted = pair.client.granted();
        newcomers(&mut pair, &piece);
        for key in granted {
            assert!(pair.client.write(key, &piece).is_ready());
            order.push(key);
        }
    }
    assert_eq!(order, waiting);
}

#[test]
fn on_a_slow_connection_bulk_streams_get_equal_shares_in_whatever_pieces() {
    // The connection accepts all, but not at once. It is known to be slow after each write, or when both have to wait.
    let mut pair = many();
    let keys: Vec<_> = (0..2).map(|_| pair.client.open()).collect();
    let pieces = [vec![7; 4_096], vec![7; MAX_PAYLOAD]];
    pair.client.core.out.push(&[0; 80_000]);
    pair.client.core.stalled(pair.now);
    for (key, piece) in keys.iter().zip(&pieces) {
        assert!(pair.client.write(*key, piece).is_pending());
    }
    let mut sent = [0_usize; 2];
    for _ in 0..200 {
        let all = pair.client.core.out.len();
        trickle(&mut pair, all);
        for key in pair.client.granted() {
            let at = keys.iter().position(|other| *other == key).unwrap();
            while let Poll::Ready(Ok(length)) = pair.client.write(key, &pieces[at]) {
                sent[at] += length;
                let entry = pair.client.core.store.get_mut(key).unwrap();
                entry.send_window.give_back(length as u32);
                pair.client.core.stalled(pair.now);
            }
            pair.client.core.stalled(pair.now);
        }
        assert!(sent[0].abs_diff(sent[1]) <= 2 * MAX_PAYLOAD, "{sent:?}");
    }
}

#[test]
fn streams_that_ended_do_not_fill_the_lists() {
    let mut pair = many();
    pair.client.core.out.push(&[0; 20_000]);
    pair.client.core.stalled(pair.now);
    let now = pair.now;
    for _ in 0..10_000 {
        let key = pair.client.open();
        assert!(pair.client.write(key, &BULK).is_pending());
        pair.client.core.handle_dropped(key, || now);
        pair.client.collect();
        pair.client.events.clear();
        trickle(&mut pair, 1);
        assert!(pair.client.core.scheduler.len() <= 64 + 2);
    }
    assert_eq!(pair.client.open_streams(), 0);
}

/// Writes little on new streams while there is space.
fn newcomers(pair: &mut Pair, piece: &[u8]) -> usize {
    let mut passed = 0;
    while pair.client.core.has_space() {
        let key = pair.client.open();
        for _ in 0..4 {
            // The remaining space may be reserved.
            if pair.client.write(key, piece).is_pending() {
                return passed;
            }
            passed += piece.len();
        }
    }
    passed
}

/// Streams that begin to wait for space with the queue full.
fn waiters(pair: &mut Pair, count: usize, piece: &[u8]) {
    for _ in 0..count {
        let key = pair.client.open();
        assert!(pair.client.write(key, piece).is_pending());
    }
}

/// Makes the write of a granted stream the last one each time. Returns how many bytes bypassed it before it succeeded.
fn served_last(is_large: bool) -> usize {
    let mut pair = many();
    let piece = [7; 4_000];
    let wanted = if is_large { BULK.len() } else { 64 };
    let last = pair.client.open();
    pair.client.core.stalled(pair.now);
    newcomers(&mut pair, &piece);
    assert!(pair.client.write(last, &vec![7; wanted]).is_pending());
    waiters(&mut pair, 12, &piece);
    pair.client.granted();
    let mut passed = 0;
    let mut calls = 0;
    for _ in 0..100 {
        // Most of the queue is sent; the driver may be polled any number of times before that.
        trickle(&mut pair, 0);
        trickle(&mut pair, 0);
        let most = pair.client.core.out.len() - 1_000;
        trickle(&mut pair, most);
        let granted = pair.client.granted();
        passed += newcomers(&mut pair, &piece);
        for key in granted.iter().filter(|key| **key != last) {
            if pair.client.write(*key, &piece).is_ready() {
                passed += piece.len();
            }
        }
        if granted.contains(&last) {
            calls += 1;
            if pair.client.write(last, &vec![7; wanted]).is_ready() {
                return passed;
            }
        }
        if !pair.client.core.has_space() {
            waiters(&mut pair, 12, &piece);
        }
    }
    panic!("{passed} bytes passed, and {calls} calls");
}

#[test]
fn a_bulk_stream_whose_task_always_runs_last_writes() {
    let passed = served_last(true);
    assert!(passed < 5 * 64 * 1024, "{passed}");
}

#[test]
fn a_sparse_stream_whose_task_always_runs_last_writes() {
    let passed = served_last(false);
    assert!(passed < 5 * 64 * 1024, "{passed}");
}

#[test]
fn tiny_writes_bypass_by_their_bytes_in_the_queue() {
    let mut pair = many();
    let large = pair.client.open();
    pair.client.core.stalled(pair.now);
    newcomers(&mut pair, &[7; 4_000]);
    assert!(pair.client.write(large, &BULK).is_pending());
    pair.client.granted();
    let mut wire = 0;
    let mut newcomer = pair.client.open();
    let mut count = 0;
    for _ in 0..10_000 {
        trickle(&mut pair, 4_000);
        if pair.client.granted().contains(&large) {
            assert!(wire < 2 * 64 * 1024, "{wire} bytes passed");
            return;
        }
        while pair.client.core.has_space() {
            if count % 4000 == 3999 {
                newcomer = pair.client.open();
            }
            count += 1;
            if pair.client.write(newcomer, &[7; 1]).is_pending() {
                break;
            }
            wire += HEADER_LEN + 1;
        }
    }
    panic!("{wire} bytes passed");
}
