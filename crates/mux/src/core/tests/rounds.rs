//! Who writes when several streams want to write much.

use std::{task::Poll, time::Duration};

use super::pair::Pair;
use crate::{
    frame::MAX_PAYLOAD,
    streams::{Key, LARGE_WRITE, Share},
};

const FRAMES: usize = 4;
const PIECE: usize = FRAMES * MAX_PAYLOAD;
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

/// Writes past the queue, and returns whether it was possible. The peer reads all of it.
fn write(pair: &mut Pair, key: Key, wanted: usize) -> bool {
    let core = &mut pair.client.core;
    let Poll::Ready(grant) = core.begin_data(key, wanted, FRAMES) else {
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
    pair.client.called();
    loop {
        let is_next_due = pair.client.poll(pair.now);
        let called = pair.client.called();
        if !called.is_empty() || !is_next_due {
            return called;
        }
    }
}

/// Serves those who are called, each with a piece when it comes, until so many bytes were sent. Returns how many
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
    core.handle_dropped(keys[0], || pair.now);
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
        core.begin_poll(|| pair.now);
        core.grant_writers();
        while write(&mut pair, others[0], PIECE) {}
        assert_eq!(write(&mut pair, *late, PIECE), is_served);
    }
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
fn the_head_of_a_known_transfer_does_not_end_the_company_of_others() {
    let mut pair = Pair::new();
    let keys: Vec<_> = (0..2).map(|_| pair.client.open()).collect();
    let (asking, large) = (keys[0], keys[1]);
    let mut most = 0;
    for round in 0..10 {
        // A question, and somebody waits for the answer.
        assert!(pair.client.write(asking, &[1; 64]).is_ready());
        for _ in 0..100 {
            // Meanwhile the driver reads what others send.
            pair.drive();
        }
        assert!(pair.client.core.pace.has_company());
        // A response: its head, and a mebibyte.
        assert!(pair.client.write(large, &[1; 200]).is_ready());
        let mut go = 0;
        while !pair.client.core.has_used_go() {
            let core = &mut pair.client.core;
            let Poll::Ready(Ok(grant)) = core.begin_data(large, PIECE, FRAMES) else {
                break;
            };
            go += grant.len();
            let entry = core.store.get_mut(large).unwrap();
            entry.send_window.give_back(grant.len() as u32);
        }
        if round > 0 {
            // The first was a stranger.
            most = most.max(go);
        }
        call(&mut pair);
        pair.drive();
    }
    assert!(
        most <= PIECE,
        "a go of {most} bytes beside somebody who asks"
    );
}

#[test]
fn in_company_pieces_of_nearly_a_frame_get_no_more_than_others() {
    let (mut pair, keys) = resting(3);
    let pieces = [MAX_PAYLOAD - 1, PIECE];
    let (large, asking) = (&keys[..2], keys[2]);
    for (key, piece) in large.iter().zip(pieces) {
        while write(&mut pair, *key, piece) {}
    }
    let mut sent = [0; 2];
    while sent.iter().sum::<usize>() < 4 * MIB {
        let entry = pair.client.core.store.get_mut(asking).unwrap();
        entry.share = Share::default();
        assert!(write(&mut pair, asking, 64), "somebody asks");
        for key in call(&mut pair) {
            let at = large.iter().position(|other| *other == key).unwrap();
            loop {
                let core = &mut pair.client.core;
                let Poll::Ready(Ok(grant)) = core.begin_data(key, pieces[at], FRAMES) else {
                    break;
                };
                sent[at] += grant.len();
                let entry = core.store.get_mut(key).unwrap();
                entry.send_window.give_back(grant.len() as u32);
            }
        }
    }
    let (least, most) = (sent[0].min(sent[1]), sent[0].max(sent[1]));
    assert!(most <= least + 2 * MAX_PAYLOAD, "{sent:?}");
}

#[test]
fn a_call_for_little_is_no_place_at_the_head_of_the_line() {
    let (mut pair, keys) = resting(4);
    let (waiting, grown) = (&keys[..3], keys[3]);
    for key in waiting {
        assert!(!write(&mut pair, *key, PIECE));
    }
    // For a moment the queue is full.
    let full = pair.client.core.config.send_queue;
    pair.client.core.out.push(&vec![0; full]);
    assert!(!write(&mut pair, grown, 200));
    pair.client.core.out.consume(full);
    let now = pair.now;
    pair.client.core.grant_writers();
    assert!(pair.client.called().contains(&grown));
    // The go is still used up; its head has found its body.
    assert!(!write(&mut pair, grown, PIECE));
    pair.client.poll(now);
    let mut order = pair.client.called();
    for _ in 0..20 {
        pair.client.poll(now);
        order.extend(pair.client.called());
    }
    assert_eq!(order, [waiting, &[grown]].concat());
}
