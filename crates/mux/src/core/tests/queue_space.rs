//! Who writes when a connection is slow: its queue is full, and room in it is rare.

use std::task::Poll;

use super::pair::Pair;
use crate::{
    config::Config,
    core::Event,
    frame::{HEADER_LEN, MAX_PAYLOAD},
    streams::{Key, LARGE_WRITE},
};

/// A pair whose client may open any number of streams.
fn many() -> Pair {
    queue_of(64 * 1024)
}

/// The same with a smaller queue.
fn queue_of(bytes: usize) -> Pair {
    let config = Config::new().max_unacknowledged(100_000).send_queue(bytes);
    Pair::with(config, Config::new())
}

/// Sends `count` bytes of the queue to a connection that then takes no more, and has a turn.
fn trickle(pair: &mut Pair, count: usize) {
    let now = pair.now;
    let core = &mut pair.client.core;
    core.begin_poll(|| now);
    core.out.consume(count);
    core.progressed();
    if core.wants_to_send() {
        core.stalled(now);
    }
    pair.client.end_poll();
}

/// Fills the queue of a slow connection by small writes, each few of them of another stream. Says who waits then.
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

/// Lets streams that are opened later write little whenever there is room, on a slow connection. Returns how
/// much they have written when `waiting` is called, or after 200 frames.
fn passed(pair: &mut Pair, waiting: Key, piece: &[u8]) -> Option<usize> {
    pair.client.called();
    let mut passed = 0;
    for _ in 0..200 {
        trickle(pair, HEADER_LEN + piece.len());
        if pair.client.happened(Event::Writable(waiting)) {
            return Some(passed);
        }
        let newcomer = pair.client.open();
        while pair.client.core.has_room() && pair.client.write(newcomer, piece).is_ready() {
            passed += piece.len();
        }
    }
    None
}

#[test]
fn who_waits_for_room_on_a_slow_connection_is_not_passed() {
    let mut pair = many();
    let piece = [7; 4_000];
    let waiting = fill(&mut pair, &piece);
    assert!(pair.client.core.is_in_line(waiting) && !pair.client.core.has_room());
    assert_eq!(passed(&mut pair, waiting, &piece), Some(0));
    assert!(pair.client.write(waiting, &piece).is_ready());
}

#[test]
fn a_large_write_is_passed_by_a_queue_of_small_ones_and_no_more() {
    let mut pair = many();
    let piece = [7; 4_000];
    let large = pair.client.open();
    fill(&mut pair, &piece);
    assert!(pair.client.write(large, &[7; 8192]).is_pending());
    let queue = pair.client.core.config.send_queue;
    let passed = passed(&mut pair, large, &piece).expect("it is called");
    assert!(
        (queue..queue + 3 * piece.len()).contains(&passed),
        "{passed}"
    );
    assert!(pair.client.write(large, &[7; 8192]).is_ready());
}

#[test]
fn a_large_write_is_called_though_small_ones_wait_for_all_the_room() {
    let mut pair = many();
    let piece = [7; 4_000];
    let large = pair.client.open();
    fill(&mut pair, &piece);
    assert!(pair.client.write(large, &[7; 8192]).is_pending());
    for _ in 0..4 {
        let key = pair.client.open();
        assert!(pair.client.write(key, &piece).is_pending());
    }
    pair.client.called();
    let mut passed = 0;
    for _ in 0..200 {
        trickle(&mut pair, HEADER_LEN + piece.len());
        let called = pair.client.called();
        if called.contains(&large) {
            break;
        }
        for key in called {
            assert!(pair.client.write(key, &piece).is_ready());
            passed += piece.len();
            let newcomer = pair.client.open();
            assert!(pair.client.write(newcomer, &piece).is_pending());
        }
    }
    let queue = pair.client.core.config.send_queue;
    assert!(
        passed <= 2 * queue,
        "{passed} bytes passed, and it is not called"
    );
}

#[test]
fn a_large_write_that_was_called_finds_room_although_others_came_first() {
    let mut pair = many();
    let piece = [7; 4_000];
    let large = pair.client.open();
    fill(&mut pair, &piece);
    assert!(pair.client.write(large, &[7; 8192]).is_pending());
    pair.client.called();
    let (mut passed, mut calls) = (0, 0);
    for _ in 0..200 {
        trickle(&mut pair, HEADER_LEN + piece.len());
        let called = pair.client.called();
        // A request that came meanwhile is answered first.
        let newcomer = pair.client.open();
        while pair.client.core.has_room() && pair.client.write(newcomer, &piece).is_ready() {
            passed += piece.len();
        }
        if called.contains(&large) {
            calls += 1;
            if pair.client.write(large, &[7; 8192]).is_ready() {
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
fn a_large_write_behind_others_that_are_gone_is_passed_by_a_queue_and_no_more() {
    let mut pair = many();
    let piece = [7; 4_000];
    let gone: Vec<_> = (0..40).map(|_| pair.client.open()).collect();
    let large = pair.client.open();
    fill(&mut pair, &piece);
    let now = pair.now;
    for key in gone {
        assert!(pair.client.write(key, &[7; 8192]).is_pending());
        pair.client.core.handle_dropped(key, || now);
    }
    assert!(pair.client.write(large, &[7; 8192]).is_pending());
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
fn a_small_write_that_has_grown_is_counted_or_stands_in_line() {
    let mut pair = many();
    let large = pair.client.open();
    fill(&mut pair, &[7; 4_000]);
    assert!(pair.client.write(large, &[7; 8192]).is_pending());
    let newcomer = pair.client.open();
    assert!(pair.client.write(newcomer, &[7; 100]).is_pending());
    pair.client.called();
    let mut passed = 0;
    for _ in 0..200 {
        // The go is over, and a little leaves.
        trickle(&mut pair, 0);
        trickle(&mut pair, 0);
        let full = pair.client.core.out.len();
        let full = full.saturating_sub(pair.client.core.config.send_queue);
        trickle(&mut pair, full + 100);
        let called = pair.client.called();
        if called.contains(&large) {
            break;
        }
        for key in called {
            // The head has found its body.
            if let Poll::Ready(Ok(length)) = pair.client.write(key, &[7; 8_000]) {
                passed += length;
            }
        }
        // Others begin while the queue is full.
        while !pair.client.core.has_room() && !pair.client.core.line.has_small() {
            let newcomer = pair.client.open();
            assert!(pair.client.write(newcomer, &[7; 100]).is_pending());
        }
    }
    let queue = pair.client.core.config.send_queue;
    assert!(passed <= 2 * queue, "{passed}");
}

#[test]
fn small_writes_that_found_no_room_keep_their_order() {
    let mut pair = many();
    let piece = [7; 4_000];
    let first = fill(&mut pair, &piece);
    let mut waiting = vec![first];
    for _ in 0..15 {
        let key = pair.client.open();
        assert!(pair.client.write(key, &piece).is_pending());
        waiting.push(key);
    }
    pair.client.called();
    // Nearly all leaves at once, so all of them are called.
    let nearly_all = pair.client.core.out.len() - 1;
    trickle(&mut pair, nearly_all);
    let called = pair.client.called();
    assert_eq!(called, waiting);
    // Requests that came meanwhile are answered first.
    while pair.client.core.has_room() {
        let key = pair.client.open();
        while pair.client.write(key, &piece).is_ready() {}
        pair.client.core.reset(key);
    }
    pair.client.called();
    let mut late = Vec::new();
    for key in called {
        if pair.client.write(key, &piece).is_pending() {
            late.push(key);
        }
    }
    assert!(late.len() > 1, "{late:?}");
    let mut order = Vec::new();
    while order.len() < late.len() {
        trickle(&mut pair, HEADER_LEN + piece.len());
        for key in pair.client.called() {
            assert!(pair.client.write(key, &piece).is_ready());
            order.push(key);
        }
    }
    let order: Vec<_> = order.into_iter().filter(|key| late.contains(key)).collect();
    assert_eq!(order, late);
}

#[test]
fn a_small_write_of_a_stream_that_stands_in_line_gets_room_as_others_do() {
    let mut pair = many();
    let piece = [7; 4_000];
    let keys: Vec<_> = (0..4).map(|_| pair.client.open()).collect();
    fill(&mut pair, &piece);
    for key in &keys {
        assert!(pair.client.write(*key, &[7; 8192]).is_pending());
    }
    // The last one's caller has given up, and says so.
    assert!(pair.client.write(keys[3], &[7; 64]).is_pending());
    let newcomer = pair.client.open();
    assert!(pair.client.write(newcomer, &[7; 64]).is_pending());
    pair.client.called();
    let mut called = Vec::new();
    while !called.contains(&newcomer) {
        trickle(&mut pair, 2 * (HEADER_LEN + piece.len()));
        called.extend(pair.client.called());
    }
    assert!(
        called.contains(&keys[3]),
        "a newcomer passes it: {called:?}"
    );
}

/// Two who write small and large pieces to a connection that takes all, but not at once, get the same. That it is slow is
/// seen after each write, or when both have to wait.
fn get_the_same(mut pair: Pair, after_each: bool) {
    let keys: Vec<_> = (0..2).map(|_| pair.client.open()).collect();
    let pieces = [vec![7; LARGE_WRITE], vec![7; MAX_PAYLOAD]];
    pair.client.core.out.push(&[0; 80_000]);
    pair.client.core.stalled(pair.now);
    for (key, piece) in keys.iter().zip(&pieces) {
        assert!(pair.client.write(*key, piece).is_pending());
    }
    let mut sent = [0_usize; 2];
    for _ in 0..200 {
        let all = pair.client.core.out.len();
        trickle(&mut pair, all);
        for key in pair.client.called() {
            let at = keys.iter().position(|other| *other == key).unwrap();
            while let Poll::Ready(Ok(length)) = pair.client.write(key, &pieces[at]) {
                sent[at] += length;
                let entry = pair.client.core.store.get_mut(key).unwrap();
                entry.send_window.give_back(length as u32);
                if after_each {
                    pair.client.core.stalled(pair.now);
                }
            }
            pair.client.core.stalled(pair.now);
        }
        assert!(sent[0].abs_diff(sent[1]) <= 2 * MAX_PAYLOAD, "{sent:?}");
    }
}

#[test]
fn on_a_slow_connection_too_each_gets_as_much_in_whatever_pieces() {
    get_the_same(many(), true);
}

/// Who fills a queue that is smaller than what writers flush by themselves has to wait before the connection is asked.
#[test]
fn on_a_slow_connection_a_turn_is_a_frame_with_a_small_queue_too() {
    get_the_same(queue_of(5_000), false);
}

#[test]
fn streams_that_gave_up_do_not_fill_the_line() {
    let mut pair = many();
    pair.client.core.out.push(&[0; 20_000]);
    pair.client.core.stalled(pair.now);
    let now = pair.now;
    for _ in 0..10_000 {
        let key = pair.client.open();
        assert!(pair.client.write(key, &[7; LARGE_WRITE]).is_pending());
        pair.client.core.handle_dropped(key, || now);
        pair.client.collect();
        pair.client.events.clear();
        trickle(&mut pair, 1);
        assert!(pair.client.core.line.len() <= 64 + 2);
    }
    assert_eq!(pair.client.open_streams(), 0);
}

/// Writes little on new streams while there is room.
fn newcomers(pair: &mut Pair, piece: &[u8]) -> usize {
    let mut passed = 0;
    while pair.client.core.has_room() {
        let key = pair.client.open();
        for _ in 0..4 {
            if !pair.client.core.has_room() {
                break;
            }
            assert!(pair.client.write(key, piece).is_ready());
            passed += piece.len();
        }
    }
    passed
}

/// Streams that begin to wait for room with the queue full.
fn waiters(pair: &mut Pair, count: usize, piece: &[u8]) {
    for _ in 0..count {
        let key = pair.client.open();
        assert!(pair.client.write(key, piece).is_pending());
    }
}

/// Lets a write come last whenever it is called. Returns how many bytes passed it before it was served.
fn served_last(is_large: bool) -> usize {
    let mut pair = many();
    let piece = [7; 4_000];
    let wanted = if is_large { 8_192 } else { 64 };
    let last = pair.client.open();
    pair.client.core.stalled(pair.now);
    newcomers(&mut pair, &piece);
    assert!(pair.client.write(last, &vec![7; wanted]).is_pending());
    waiters(&mut pair, 12, &piece);
    pair.client.called();
    let mut passed = 0;
    let mut calls = 0;
    for _ in 0..100 {
        // Most of the queue leaves; the driver has as many turns as it likes before that.
        trickle(&mut pair, 0);
        trickle(&mut pair, 0);
        let most = pair.client.core.out.len() - 1_000;
        trickle(&mut pair, most);
        let called = pair.client.called();
        passed += newcomers(&mut pair, &piece);
        for key in called.iter().filter(|key| **key != last) {
            if pair.client.write(*key, &piece).is_ready() {
                passed += piece.len();
            }
        }
        if called.contains(&last) {
            calls += 1;
            if pair.client.write(last, &vec![7; wanted]).is_ready() {
                return passed;
            }
        }
        if !pair.client.core.has_room() {
            waiters(&mut pair, 12, &piece);
        }
    }
    panic!("{passed} bytes passed, and {calls} calls");
}

#[test]
fn a_large_write_that_always_runs_last_is_served() {
    let passed = served_last(true);
    assert!(passed < 5 * 64 * 1024, "{passed}");
}

#[test]
fn a_small_write_that_always_runs_last_is_served() {
    let passed = served_last(false);
    assert!(passed < 5 * 64 * 1024, "{passed}");
}

/// A small write waits while large ones are overdue, which newcomers see to.
fn small_queue(queue: usize) {
    let mut pair = queue_of(queue);
    let piece = [7; 1_000];
    let large: Vec<_> = (0..2).map(|_| pair.client.open()).collect();
    let small = pair.client.open();
    pair.client.core.stalled(pair.now);
    newcomers(&mut pair, &piece);
    assert!(pair.client.write(small, &[7; 64]).is_pending());
    for key in &large {
        assert!(pair.client.write(*key, &[7; MAX_PAYLOAD]).is_pending());
    }
    pair.client.called();
    let mut passed = 0;
    let mut larges = 0;
    for round in 0..200 {
        // The socket is full while the go ends.
        trickle(&mut pair, 0);
        trickle(&mut pair, 0);
        let all = pair.client.core.out.len();
        trickle(&mut pair, all);
        let called = pair.client.called();
        if called.contains(&small) && round > 0 {
            return;
        }
        passed += newcomers(&mut pair, &piece);
        for key in called {
            if key == small {
                // It always comes with something else before: leave the first call aside.
                assert!(pair.client.write(small, &[7; 64]).is_ready());
                assert!(pair.client.write(small, &[7; 64]).is_pending());
                continue;
            }
            while pair.client.write(key, &[7; MAX_PAYLOAD]).is_ready() {
                larges += 1;
                let entry = pair.client.core.store.get_mut(key).unwrap();
                entry.send_window.give_back(MAX_PAYLOAD as u32);
            }
        }
    }
    panic!("{passed} bytes of newcomers and {larges} frames passed");
}

#[test]
fn a_small_write_is_called_though_larges_are_overdue_with_a_queue_of_8k() {
    small_queue(8 * 1024);
}

#[test]
fn a_small_write_is_called_though_larges_are_overdue_with_a_queue_of_1() {
    small_queue(1);
}

#[test]
fn tiny_writes_pass_by_what_they_cost() {
    let mut pair = many();
    let large = pair.client.open();
    pair.client.core.stalled(pair.now);
    newcomers(&mut pair, &[7; 4_000]);
    assert!(pair.client.write(large, &[7; 8192]).is_pending());
    pair.client.called();
    let mut wire = 0;
    let mut newcomer = pair.client.open();
    let mut count = 0;
    for _ in 0..10_000 {
        trickle(&mut pair, 4_000);
        if pair.client.called().contains(&large) {
            assert!(wire < 2 * 64 * 1024, "{wire} bytes passed");
            return;
        }
        while pair.client.core.has_room() {
            if count % 4000 == 3999 {
                newcomer = pair.client.open();
            }
            count += 1;
            assert!(pair.client.write(newcomer, &[7; 1]).is_ready());
            wire += HEADER_LEN + 1;
        }
    }
    panic!("{wire} bytes passed");
}
