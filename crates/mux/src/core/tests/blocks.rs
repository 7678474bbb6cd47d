//! The blocks that the connection is read into: when they are zeroized, and that nothing is lost in them.

use std::time::Duration;

use proptest::prelude::*;

use super::scripted::Scripted;
use crate::{
    config::{Config, INITIAL_WINDOW},
    core::{Core, MAX_BLOCK},
    frame::{Flags, Header, Kind, MAX_PAYLOAD},
    streams::Key,
    zeroize::tests::zeroized_by,
};

const ZEROIZE_DELAY: Duration = Duration::from_millis(5);

/// Full data frames of stream 1.
fn frames(count: usize) -> Vec<u8> {
    let header = Header::data(1, Flags::NONE, MAX_PAYLOAD as u32).encode();
    [&header[..], &[7; MAX_PAYLOAD]].concat().repeat(count)
}

/// The credit in bytes that the peer has received since the last call.
fn credit(peer: &mut Scripted) -> usize {
    let headers = peer.headers().into_iter();
    let updates = headers.filter(|header| header.kind == Kind::WindowUpdate);
    updates.map(|header| header.length as usize).sum()
}

/// An end that has received a whole window on stream 1, so that its blocks have grown, and that has
/// read all of it.
fn busy() -> (Scripted, Key) {
    let mut peer = Scripted::new(Config::default().keep_alive(None));
    let key = peer.acknowledged(1);
    let window = INITIAL_WINDOW as usize;
    peer.send_bytes(&frames(window / MAX_PAYLOAD));
    assert_eq!(peer.side().read(key).len(), window);
    let block = peer.core().take_block();
    assert_eq!(block.len(), MAX_BLOCK);
    peer.core().give_back(block, 0);
    assert_eq!(peer.core().zeroize_deadline(), None);
    assert_eq!(credit(&mut peer), window);
    (peer, key)
}

/// The same, after `count` frames that arrived at once and were read. Returns how many bytes they were.
fn busy_with(count: usize) -> (Scripted, Key, usize) {
    let (mut peer, key) = busy();
    let bytes = frames(count);
    peer.send_bytes(&bytes);
    let zeroized = zeroized_by(|| assert_eq!(peer.side().read(key).len(), count * MAX_PAYLOAD));
    assert_eq!(zeroized, 0, "the transfer continues");
    (peer, key, bytes.len())
}

#[test]
fn the_blocks_of_a_large_transfer_are_zeroized_within_5_ms() {
    let (mut peer, _, length) = busy_with(6);
    let deadline = peer.now() + ZEROIZE_DELAY;
    assert_eq!(peer.core().zeroize_deadline(), Some(deadline));
    assert_eq!(peer.core().deadline(), Some(deadline));
    assert_eq!(zeroized_by(|| peer.wait(ZEROIZE_DELAY)), length);
    assert_eq!(peer.core().zeroize_deadline(), None);
    assert_eq!(zeroized_by(|| peer.wait(ZEROIZE_DELAY)), 0);
}

#[test]
fn a_lone_payload_is_zeroized_as_soon_as_it_was_read() {
    let (mut peer, key) = busy();
    let bytes = frames(3);
    peer.send_bytes(&bytes);
    assert_eq!(zeroized_by(|| drop(peer.side().read(key))), bytes.len());
    assert_eq!(peer.core().zeroize_deadline(), None);
}

#[test]
fn bytes_that_a_shorter_read_does_not_overwrite_are_zeroized_with_it() {
    let (mut peer, key, length) = busy_with(6);
    peer.wait(ZEROIZE_DELAY / 2);
    peer.send_bytes(&frames(1));
    assert_eq!(zeroized_by(|| drop(peer.side().read(key))), 0);
    assert_eq!(zeroized_by(|| peer.wait(ZEROIZE_DELAY / 2)), length);
}

#[test]
fn a_block_that_is_read_when_the_others_are_zeroized_follows_them() {
    let (mut peer, key, length) = busy_with(6);
    peer.send_bytes(&frames(6));
    assert_eq!(zeroized_by(|| peer.wait(ZEROIZE_DELAY)), 0, "it is in use");
    assert_eq!(zeroized_by(|| drop(peer.side().read(key))), 0);
    assert_eq!(zeroized_by(|| peer.wait(Duration::ZERO)), 0);
    assert_eq!(zeroized_by(|| peer.wait(ZEROIZE_DELAY)), length);
}

#[test]
fn blocks_are_zeroized_when_the_session_ends() {
    let ways: [fn(&mut Core); 3] = [
        |core| core.end(Ok(())),
        |core| core.fail(core.now, crate::SessionError::DriverDropped),
        |core| core.close(core.now, Some(Duration::ZERO)),
    ];
    for end in ways {
        let (mut peer, key, length) = busy_with(6);
        peer.core().reset(key);
        peer.headers();
        assert_eq!(zeroized_by(|| end(peer.core())), length);
        assert_eq!(peer.core().zeroize_deadline(), None);
    }
}

#[test]
fn bytes_read_after_the_end_are_zeroized_at_once() {
    let (mut peer, key) = busy();
    let bytes = frames(6);
    peer.send_bytes(&bytes);
    peer.core().end(Ok(()));
    assert_eq!(zeroized_by(|| drop(peer.side().read(key))), bytes.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Blocks that were not zeroized expose none of their former bytes, wherever frames, reads of the
    /// connection and reads of the application end.
    #[test]
    fn read_bytes_are_the_sent_ones(
        steps in prop::collection::vec((1usize..150_000, 500usize..20_000, 1usize..100_000, 0u64..4), 1..40),
    ) {
        let (mut peer, key) = busy();
        let (mut next_in, mut next_out) = (0u8, 0u8);
        let mut window = INITIAL_WINDOW as usize;
        let mut unread = 0;
        for (arriving, frame, reading, millis) in steps {
            let mut bytes = Vec::new();
            let mut left = arriving.min(window);
            window -= left;
            unread += left;
            while left > 0 {
                let length = left.min(frame);
                bytes.extend(Header::data(1, Flags::NONE, length as u32).encode());
                bytes.extend((0..length).map(|_| { next_in = next_in.wrapping_add(1); next_in }));
                left -= length;
            }
            peer.send_bytes(&bytes);
            let (read, _) = peer.side().read_at_most(key, reading.min(unread));
            prop_assert_eq!(read.len(), reading.min(unread));
            unread -= read.len();
            for byte in read {
                next_out = next_out.wrapping_add(1);
                prop_assert_eq!(byte, next_out);
            }
            window += credit(&mut peer);
            peer.wait(Duration::from_millis(millis));
        }
    }
}
