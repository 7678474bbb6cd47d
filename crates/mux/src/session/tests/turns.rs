//! Who writes when several streams want to write much.

use std::task::Poll;

use super::pair::Pair;
use crate::{
    frame::MAX_PAYLOAD,
    session::{BURST, Event},
    streams::{Key, LARGE_WRITE},
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
