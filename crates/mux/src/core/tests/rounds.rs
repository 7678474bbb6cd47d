//! Bulk streams share the connection in quanta; sparse streams are scheduled before them.

use std::{task::Poll, time::Duration};

use super::pair::Pair;
use crate::{
    core::ROUND_FRAMES,
    frame::MAX_PAYLOAD,
    streams::{Flow, Key},
};

const FRAMES: usize = 4;
const PIECE: usize = FRAMES * MAX_PAYLOAD;
const ROUND: usize = ROUND_FRAMES * MAX_PAYLOAD;
const MIB: usize = 1 << 20;

/// A pair whose client has used a round up, and streams of it that have written nothing.
fn spent(streams: usize) -> (Pair, Vec<Key>) {
    let mut pair = Pair::new();
    let keys: Vec<_> = (0..=streams).map(|_| pair.client.open()).collect();
    while !pair.client.core.is_round_spent() {
        assert!(write(&mut pair, keys[0], PIECE));
    }
    (pair, keys[1..].to_vec())
}

/// Writes without the queue, and returns how many bytes. The peer reads all of them.
fn write_some(pair: &mut Pair, key: Key, wanted: usize) -> Option<usize> {
    let core = &mut pair.client.core;
    let Poll::Ready(grant) = core.begin_data(key, wanted, FRAMES) else {
        return None;
    };
    let length = grant.unwrap().len();
    if let Some(entry) = core.store.get_mut(key) {
        entry.send_window.give_back(length as u32);
    }
    Some(length)
}

/// As [`write_some`]; returns whether all of it was written.
fn write(pair: &mut Pair, key: Key, wanted: usize) -> bool {
    write_some(pair, key, wanted).is_some()
}

/// Writes pieces for as long as possible, and returns how many bytes.
fn write_all(pair: &mut Pair, key: Key, piece: usize) -> usize {
    std::iter::from_fn(|| write_some(pair, key, piece)).sum()
}

/// The streams that the next poll grants a write, or a later one if it is to follow.
fn grant(pair: &mut Pair) -> Vec<Key> {
    pair.client.granted();
    loop {
        let is_next_due = pair.client.poll();
        let granted = pair.client.granted();
        if !granted.is_empty() || !is_next_due {
            return granted;
        }
    }
}

/// Writes pieces of each stream whenever it is granted a write, until so many bytes were sent. Returns how many of
/// each stream.
fn serve(pair: &mut Pair, keys: &[Key], piece: usize, total: usize) -> Vec<usize> {
    let mut sent = vec![0; keys.len()];
    while sent.iter().sum::<usize>() < total {
        let granted = grant(pair);
        assert!(
            !granted.is_empty(),
            "{sent:?} were sent, and no stream is granted a write"
        );
        for key in granted {
            let at = keys.iter().position(|other| *other == key).unwrap();
            sent[at] += write_all(pair, key, piece);
        }
    }
    sent
}

#[test]
fn m26_bulk_streams_get_equal_shares_in_whatever_pieces() {
    for piece in [100, 4_095, 4_096, MAX_PAYLOAD, PIECE] {
        let (mut pair, keys) = spent(8);
        for key in &keys {
            write_all(&mut pair, *key, piece);
        }
        let sent = serve(&mut pair, &keys, piece, 64 * MIB);
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= 2 * ROUND, "{sent:?} in pieces of {piece}");
    }
}

#[test]
fn m26_a_sparse_stream_bypasses_bulk_streams_for_a_burst() {
    let (mut pair, keys) = spent(2);
    assert!(!write(&mut pair, keys[0], PIECE));
    assert_eq!(write_all(&mut pair, keys[1], 64), 16 * 1024);
    for key in keys {
        assert_eq!(grant(&mut pair), [key]);
    }
}

#[test]
fn a_quantum_is_a_round_if_other_streams_wait() {
    let (mut pair, keys) = spent(2);
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    for key in [keys[0], keys[1], keys[0], keys[1]] {
        assert_eq!(grant(&mut pair), [key]);
        assert_eq!(write_all(&mut pair, key, PIECE), ROUND);
    }
}

#[test]
fn a_stream_that_ends_delays_no_other() {
    let (mut pair, keys) = spent(3);
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let now = pair.now;
    pair.client.core.handle_dropped(keys[0], || now);
    assert_eq!(grant(&mut pair), [keys[1]]);
    assert!(write(&mut pair, keys[1], PIECE));
    pair.client.core.reset(keys[1]);
    assert_eq!(grant(&mut pair), [keys[2]], "within the quantum of another");
}

#[test]
fn a_granted_stream_that_never_writes_delays_no_other() {
    let (mut pair, keys) = spent(3);
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let mut granted = Vec::new();
    for _ in 0..3 {
        granted.extend(grant(&mut pair));
    }
    assert_eq!(granted, keys);
    // Its grant is still valid.
    assert!(write(&mut pair, keys[0], PIECE));
}

#[test]
fn on_a_blocked_connection_a_quantum_is_a_frame() {
    let (mut pair, keys) = spent(3);
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let mut granted = Vec::new();
    for _ in 0..6 {
        let [key] = grant(&mut pair)[..] else {
            panic!("one stream is granted a write at a time");
        };
        assert!(write(&mut pair, key, PIECE));
        pair.client.core.stalled(pair.now);
        while write(&mut pair, key, PIECE) {}
        assert_eq!(grant(&mut pair), [], "no stream can write");
        pair.client.core.progressed();
        granted.push(key);
    }
    assert_eq!(granted, [&keys[..], &keys[..]].concat());
}

#[test]
fn a_granted_writer_always_gets_its_reservation() {
    let (mut pair, keys) = spent(3);
    let [late, others @ ..] = &keys[..] else {
        panic!("there are three");
    };
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    // Before its task runs, another stream that was granted a write later uses the round up.
    assert_eq!(grant(&mut pair), [*late]);
    while !grant(&mut pair).contains(&others[0]) {}
    write_all(&mut pair, others[0], PIECE);
    assert!(write(&mut pair, *late, PIECE));
}

/// Two bulk streams write pieces of these lengths while a third sends small requests. Returns how many bytes each has sent.
fn beside_a_sparse_stream(pieces: [usize; 2], total: usize) -> [usize; 2] {
    let (mut pair, keys) = spent(3);
    let (bulk, sparse) = (&keys[..2], keys[2]);
    for (key, piece) in bulk.iter().zip(pieces) {
        write_all(&mut pair, *key, piece);
    }
    let mut sent = [0; 2];
    while sent.iter().sum::<usize>() < total {
        let entry = pair.client.core.store.get_mut(sparse).unwrap();
        entry.flow = Flow::default();
        assert!(write(&mut pair, sparse, 64), "a request waits");
        for key in grant(&mut pair) {
            let at = bulk.iter().position(|other| *other == key).unwrap();
            sent[at] += write_all(&mut pair, key, pieces[at]);
        }
    }
    sent
}

#[test]
fn beside_a_sparse_stream_bulk_streams_get_equal_shares_in_whatever_pieces() {
    for pieces in [
        [8 * 1024, PIECE],
        [1_000, PIECE],
        [100, 16 * 1024],
        [4_095, 5_000],
        [MAX_PAYLOAD - 1, PIECE],
    ] {
        let sent = beside_a_sparse_stream(pieces, 4 * MIB);
        assert!(
            sent[0].abs_diff(sent[1]) <= 2 * ROUND,
            "{pieces:?}: {sent:?}"
        );
    }
}

#[test]
fn beside_a_sparse_stream_rounds_are_short() {
    let (mut pair, keys) = spent(2);
    let (bulk, sparse) = (keys[0], keys[1]);
    assert!(!write(&mut pair, bulk, PIECE));
    assert!(write(&mut pair, sparse, 64));
    for round in 0..10 {
        assert_eq!(grant(&mut pair), [bulk]);
        let sent = write_all(&mut pair, bulk, PIECE);
        let is_short = round < 7;
        assert_eq!(sent <= 2 * MAX_PAYLOAD, is_short, "{sent} in round {round}");
    }
}

#[test]
fn no_stream_gets_a_second_quantum_before_another_has_had_one() {
    let (mut pair, keys) = spent(3);
    let mut sent = [0, 0];
    for key in &keys {
        assert!(!write(&mut pair, *key, PIECE));
    }
    let (both, last) = (&keys[..2], keys[2]);
    // Each begins its quantum and has no window then.
    for (key, sent) in both.iter().zip(&mut sent) {
        assert_eq!(grant(&mut pair), [*key]);
        assert!(write(&mut pair, *key, PIECE));
        *sent += PIECE;
        let core = &mut pair.client.core;
        let entry = core.store.get_mut(*key).unwrap();
        let window = entry.send_window.take(usize::MAX);
        assert!(core.begin_data(*key, PIECE, FRAMES).is_pending());
        core.store
            .get_mut(*key)
            .unwrap()
            .send_window
            .give_back(window);
    }
    // Both windows are updated, and one task writes both streams whenever one of them is granted a write.
    loop {
        for (key, sent) in both.iter().zip(&mut sent) {
            *sent += write_all(&mut pair, *key, PIECE);
        }
        if grant(&mut pair).contains(&last) {
            break;
        }
    }
    assert!(sent.iter().all(|sent| *sent <= 2 * ROUND), "{sent:?}");
}

#[test]
fn small_requests_far_apart_stay_sparse() {
    let mut pair = Pair::new();
    let (sparse, far) = pair.stream();
    let others: Vec<_> = (0..8).map(|_| pair.client.open()).collect();
    for _ in 0..300 {
        pair.client.write_all(sparse, &[1; 64]);
        pair.advance(Duration::from_secs(60));
        pair.server.read(far);
    }
    for key in &others {
        write_all(&mut pair, *key, PIECE);
    }
    assert!(write(&mut pair, sparse, 64), "it waits for no stream");
}

#[test]
fn the_head_of_a_large_response_does_not_end_short_rounds() {
    let mut pair = Pair::new();
    let keys: Vec<_> = (0..2).map(|_| pair.client.open()).collect();
    let (sparse, bulk) = (keys[0], keys[1]);
    let mut most = 0;
    for _ in 0..10 {
        // A request of another stream, and polls in which the driver reads what others send.
        assert!(pair.client.write(sparse, &[1; 64]).is_ready());
        for _ in 0..100 {
            pair.drive();
        }
        // A response: its head, and a mebibyte.
        assert!(pair.client.write(bulk, &[1; 200]).is_ready());
        let mut sent = 0;
        while !pair.client.core.is_round_spent() {
            let Some(length) = write_some(&mut pair, bulk, PIECE) else {
                break;
            };
            sent += length;
        }
        most = most.max(sent);
        grant(&mut pair);
        pair.drive();
    }
    assert!(
        most <= PIECE,
        "a round of {most} bytes beside a sparse stream"
    );
}

#[test]
fn a_grant_for_a_small_write_does_not_cover_a_large_one() {
    let (mut pair, keys) = spent(4);
    let (waiting, grown) = (&keys[..3], keys[3]);
    for key in waiting {
        assert!(!write(&mut pair, *key, PIECE));
    }
    // The queue is full temporarily.
    let full = pair.client.core.config.send_queue;
    pair.client.core.out.push(&vec![0; full]);
    assert!(!write(&mut pair, grown, 200));
    pair.client.core.out.consume(full);
    pair.client.core.grant_writers();
    assert!(pair.client.granted().contains(&grown));
    // The round is still spent, and the head is followed by its body.
    assert!(!write(&mut pair, grown, PIECE));
    let mut order = Vec::new();
    for _ in 0..40 {
        pair.client.poll();
        order.extend(pair.client.granted());
    }
    assert_eq!(order, [waiting, &[grown]].concat());
}
