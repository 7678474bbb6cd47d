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
    pair.client.events.clear();
    while pair.client.turn(pair.now) && pair.client.events.is_empty() {}
    let events = pair.client.events.iter();
    let writable = events.filter_map(|event| match event {
        Event::Writable(key) => Some(*key),
        _ => None,
    });
    writable.collect()
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
