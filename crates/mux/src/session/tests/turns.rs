//! Who writes when several streams want to write much.

use std::{task::Poll, time::Duration};

use super::pair::Pair;
use crate::{
    frame::{HEADER_LEN, MAX_PAYLOAD},
    session::{BURST, Event},
    streams::{Key, LARGE_WRITE, Share},
};

const PIECE: usize = BURST * MAX_PAYLOAD;
const MIB: usize = 1 << 20;

/// A pair whose client waits for the next go, and has streams to write on.
fn resting(streams: usize) -> (Pair, Vec<Key>) {
    let mut pair = Pair::new();
    let keys: Vec<_> = (0..=streams).map(|_| pair.client.open()).collect();
    while !pair.client.core.has_used_go() {
        assert!(write(&mut pair, keys[0], PIECE));
    }
    (pair, keys[1..].to_vec())
}

/// Writes past the queue, and says whether it was possible. The peer reads all of it.
fn write(pair: &mut Pair, key: Key, wanted: usize) -> bool {
    let core = &mut pair.client.core;
    let Poll::Ready(grant) = core.begin_data(key, wanted, BURST) else {
        return false;
    };
    let length = grant.unwrap().len();
    if let Some(entry) = core.store.get_mut(key) {
        entry.send_window.give_back(length as u32);
    }
    true
}

/// Who is called in the next turn, or the one after it if nobody was to come before.
fn call(pair: &mut Pair) -> Vec<Key> {
    pair.client.collect();
    pair.client.events.clear();
    loop {
        let is_next_due = pair.client.turn(pair.now);
        let events = std::mem::take(&mut pair.client.events).into_iter();
        let called = events.filter_map(|event| match event {
            Event::Writable(key) => Some(key),
            _ => None,
        });
        let called: Vec<_> = called.collect();
        if !called.is_empty() || !is_next_due {
            return called;
        }
    }
}

/// Serves those who are called, each with a piece when it comes, until so many bytes were sent. Says how many
/// bytes of each stream.
fn serve(pair: &mut Pair, keys: &[Key], piece: usize, total: usize) -> Vec<usize> {
    let mut sent = vec![0; keys.len()];
    while sent.iter().sum::<usize>() < total {
        let called = call(pair);
        assert!(
            !called.is_empty(),
            "{sent:?} were sent, and nobody is called"
        );
        for key in called {
            let at = keys.iter().position(|other| *other == key).unwrap();
            while write(pair, key, piece) {
                sent[at] += piece;
            }
        }
    }
    sent
}

#[test]
fn m26_whoever_writes_much_gets_as_much_as_the_others() {
    for piece in [100, LARGE_WRITE - 1, LARGE_WRITE, MAX_PAYLOAD, PIECE] {
        let (mut pair, keys) = resting(8);
        for key in &keys {
            while write(&mut pair, *key, piece) {}
        }
        let sent = serve(&mut pair, &keys, piece, 64 * MIB);
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= 2 * MIB, "{sent:?} in pieces of {piece}");
    }
}

#[test]
fn m26_small_writes_pass_those_who_write_much_until_they_are_much() {
    let (mut pair, keys) = resting(2);
    assert!(!write(&mut pair, keys[0], PIECE));
    let mut passed = 0;
    while write(&mut pair, keys[1], 64) {
        passed += 64;
    }
    assert_eq!(passed, 16 * 1024);
    for key in keys {
        assert_eq!(call(&mut pair), [key]);
    }
}

#[test]
fn a_turn_is_a_mebibyte_if_others_wait() {
    let (mut pair, keys) = resting(2);
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let mut called = call(&mut pair);
    for key in [keys[0], keys[1], keys[0], keys[1]] {
        let mut sent = 0;
        while called == [key] {
            while write(&mut pair, key, PIECE) {
                sent += PIECE;
            }
            called = call(&mut pair);
        }
        assert_eq!(sent, MIB);
    }
}

#[test]
fn who_is_gone_keeps_nobody_waiting() {
    let (mut pair, keys) = resting(3);
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let core = &mut pair.client.core;
    core.release(keys[0], || pair.now);
    assert_eq!(call(&mut pair), [keys[1]]);
    assert!(write(&mut pair, keys[1], PIECE));
    pair.client.core.reset(keys[1]);
    assert_eq!(
        call(&mut pair),
        [keys[2]],
        "in the middle of another's turn"
    );
}

#[test]
fn on_a_slow_connection_nobody_keeps_its_turn() {
    let (mut pair, keys) = resting(3);
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let mut called = Vec::new();
    for _ in 0..6 {
        let [key] = call(&mut pair)[..] else {
            panic!("one is called at a time");
        };
        assert!(write(&mut pair, key, PIECE));
        pair.client.core.stalled(pair.now);
        assert!(!write(&mut pair, key, PIECE), "the socket is full");
        assert_eq!(call(&mut pair), [], "nobody can write");
        pair.client.core.progressed();
        called.push(key);
    }
    assert_eq!(called, [&keys[..], &keys[..]].concat());
}

#[test]
fn who_comes_too_late_twice_may_write_all_the_same() {
    let (mut pair, keys) = resting(3);
    let [late, others @ ..] = &keys[..] else {
        panic!("there are three");
    };
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    for is_served in [false, true] {
        // While it is called, another that was called before uses the go up.
        assert_eq!(call(&mut pair), [*late]);
        let core = &mut pair.client.core;
        core.begin_turn(|| pair.now);
        core.call_writers();
        while write(&mut pair, others[0], PIECE) {}
        assert_eq!(write(&mut pair, *late, PIECE), is_served);
    }
}

/// Sends `count` bytes of the queue to a connection that then takes no more, and has a turn.
fn trickle(pair: &mut Pair, count: usize) {
    let now = pair.now;
    let core = &mut pair.client.core;
    core.begin_turn(|| now);
    core.out.consume(count);
    core.progressed();
    if core.wants_to_send() {
        core.stalled(now);
    }
    pair.client.end_turn();
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

/// Lets streams that are opened later write little whenever there is room, on a slow connection. Says how
/// much they have written when `waiting` is called, or after 200 frames.
fn passed(pair: &mut Pair, waiting: Key, piece: &[u8]) -> Option<usize> {
    pair.client.events.clear();
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
    let mut pair = Pair::new();
    let piece = [7; 4_000];
    let waiting = fill(&mut pair, &piece);
    assert!(pair.client.core.is_in_line(waiting) && !pair.client.core.has_room());
    assert_eq!(passed(&mut pair, waiting, &piece), Some(0));
    assert!(pair.client.write(waiting, &piece).is_ready());
}

#[test]
fn a_large_write_is_passed_by_a_queue_of_small_ones_and_no_more() {
    let mut pair = Pair::new();
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
fn in_company_a_turn_is_a_frame_in_whatever_pieces() {
    for pieces in [
        [8 * 1024, PIECE],
        [1_000, PIECE],
        [100, 16 * 1024],
        [4_095, 5_000],
    ] {
        let (mut pair, keys) = resting(3);
        let (large, asking) = (&keys[..2], keys[2]);
        for (key, piece) in large.iter().zip(pieces) {
            while write(&mut pair, *key, piece) {}
        }
        let mut sent = [0; 2];
        while sent.iter().sum::<usize>() < MIB {
            let entry = pair.client.core.store.get_mut(asking).unwrap();
            entry.share = Share::default();
            assert!(
                write(&mut pair, asking, 64),
                "somebody asks, again and again"
            );
            for key in call(&mut pair) {
                let at = large.iter().position(|other| *other == key).unwrap();
                while write(&mut pair, key, pieces[at]) {
                    sent[at] += pieces[at].min(MAX_PAYLOAD);
                }
            }
        }
        // The last piece of a turn may exceed it.
        let most = sent[0].max(sent[1]);
        assert!(
            sent.iter().all(|sent| *sent * 3 >= most * 2),
            "{pieces:?}: {sent:?}"
        );
    }
}

#[test]
fn no_turn_begins_anew_before_everybody_had_one() {
    let (mut pair, keys) = resting(3);
    let mut sent = [0, 0];
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let (both, last) = (&keys[..2], keys[2]);
    // The first begins its turn, and waits for its window.
    assert_eq!(call(&mut pair), [both[0]]);
    for _ in 0..2 {
        assert!(write(&mut pair, both[0], PIECE));
        sent[0] += PIECE;
    }
    // The second has nearly ended its turn when it does the same.
    assert_eq!(call(&mut pair), [both[1]]);
    while sent[1] < MIB - PIECE {
        if write(&mut pair, both[1], PIECE) {
            sent[1] += PIECE;
        } else {
            assert_eq!(call(&mut pair), [both[1]]);
        }
    }
    // Both windows come, and one task writes both: it comes whenever one of them is called.
    loop {
        for (key, sent) in both.iter().zip(&mut sent) {
            while write(&mut pair, *key, PIECE) {
                *sent += PIECE;
            }
        }
        if call(&mut pair) == [last] {
            break;
        }
    }
    assert_eq!(sent, [MIB; 2]);
}

#[test]
fn small_calls_far_apart_stay_small() {
    let mut pair = Pair::new();
    let (asking, far) = pair.stream();
    let others: Vec<_> = (0..8).map(|_| pair.client.open()).collect();
    for _ in 0..300 {
        pair.client.write_all(asking, &[1; 64]);
        pair.advance(Duration::from_secs(60));
        pair.server.read(far);
    }
    for key in &others {
        while write(&mut pair, *key, PIECE) {}
    }
    assert!(write(&mut pair, asking, 64), "it waits for nobody");
}

#[test]
fn streams_that_gave_up_do_not_fill_the_line() {
    let mut pair = Pair::new();
    pair.client.core.out.push(&[0; 20_000]);
    pair.client.core.stalled(pair.now);
    let now = pair.now;
    for _ in 0..10_000 {
        let key = pair.client.open();
        assert!(!write(&mut pair, key, PIECE));
        pair.client.core.release(key, || now);
        pair.client.collect();
        pair.client.events.clear();
        trickle(&mut pair, 1);
        assert!(pair.client.core.line.len() <= 64 + 2);
    }
    assert_eq!(pair.client.open_streams(), 0);
}
