//! Random operations on a pair, compared with what a byte pipe promises.

use std::{collections::HashMap, task::Poll, time::Duration};

use proptest::prelude::*;

use super::pair::{Pair, Side};
use crate::{config::Config, session::Read, streams::Key};

/// One step of a script. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Open {
        client: bool,
    },
    Accept {
        client: bool,
    },
    Write {
        client: bool,
        stream: usize,
        length: usize,
    },
    Read {
        client: bool,
        stream: usize,
        limit: usize,
    },
    Finish {
        client: bool,
        stream: usize,
    },
    Reset {
        client: bool,
        stream: usize,
    },
    Drop {
        client: bool,
        stream: usize,
    },
    Move {
        capacity: usize,
        chunk: usize,
    },
    Wait {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let stream = 0usize..8;
    let client = any::<bool>();
    prop_oneof![
        3 => client.prop_map(|client| Step::Open { client }),
        3 => client.prop_map(|client| Step::Accept { client }),
        8 => (client, stream.clone(), 1usize..40_000)
            .prop_map(|(client, stream, length)| Step::Write { client, stream, length }),
        8 => (client, stream.clone(), 1usize..60_000)
            .prop_map(|(client, stream, limit)| Step::Read { client, stream, limit }),
        2 => (client, stream.clone()).prop_map(|(client, stream)| Step::Finish { client, stream }),
        1 => (client, stream.clone()).prop_map(|(client, stream)| Step::Reset { client, stream }),
        2 => (client, stream).prop_map(|(client, stream)| Step::Drop { client, stream }),
        10 => (1usize..70_000, 1usize..5000)
            .prop_map(|(capacity, chunk)| Step::Move { capacity, chunk }),
        1 => (1u64..20_000).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// What one end has done with a stream.
#[derive(Default)]
struct Seen {
    written: usize,
    read: usize,
    finished: bool,
    ended: bool,
    was_reset: bool,
    dropped: bool,
}

/// The two ends of the test, with the streams that each holds.
struct Model {
    pair: Pair,
    held: [Vec<Key>; 2],
    seen: HashMap<(bool, u32), Seen>,
}

/// The byte that stands at a position of a stream in one direction.
fn byte_at(id: u32, client: bool, position: usize) -> u8 {
    (position as u32)
        .wrapping_mul(31)
        .wrapping_add(id)
        .wrapping_add(u32::from(client) * 101) as u8
}

impl Model {
    fn new() -> Self {
        let config = || Config::new().close_timeout(Duration::from_secs(1000));
        Self {
            pair: Pair::with(config(), config()),
            held: [Vec::new(), Vec::new()],
            seen: HashMap::new(),
        }
    }

    fn side(&mut self, client: bool) -> &mut Side {
        if client {
            &mut self.pair.client
        } else {
            &mut self.pair.server
        }
    }

    fn pick(&self, client: bool, stream: usize) -> Option<Key> {
        let held = &self.held[usize::from(client)];
        (!held.is_empty()).then(|| held[stream % held.len()])
    }

    fn seen(&mut self, client: bool, key: Key) -> &mut Seen {
        self.seen.entry((client, key.id)).or_default()
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Open { client } => {
                if let Poll::Ready(Ok(key)) = self.side(client).core.open() {
                    self.held[usize::from(client)].push(key);
                }
            }
            Step::Accept { client } => {
                let now = self.pair.now;
                if let Poll::Ready(Ok(key)) = self.side(client).core.accept(|| now) {
                    self.held[usize::from(client)].push(key);
                }
            }
            Step::Write {
                client,
                stream,
                length,
            } => self.write(client, stream, length),
            Step::Read {
                client,
                stream,
                limit,
            } => {
                if let Some(key) = self.pick(client, stream) {
                    self.read(client, key, limit);
                }
            }
            Step::Finish { client, stream } => {
                if let Some(key) = self.pick(client, stream)
                    && self.side(client).core.finish(key).is_ok()
                {
                    self.seen(client, key).finished = true;
                }
            }
            Step::Reset { client, stream } => self.reset(client, stream),
            Step::Drop { client, stream } => self.drop_stream(client, stream),
            Step::Move { capacity, chunk } => {
                (self.pair.capacity, self.pair.chunk) = (capacity, chunk);
                for _ in 0..50 {
                    self.pair.step();
                }
            }
            Step::Wait { millis } => {
                self.pair.capacity = usize::MAX;
                self.pair.advance(Duration::from_millis(millis));
            }
        }
        self.pair.client.collect();
        self.pair.server.collect();
    }

    fn write(&mut self, client: bool, stream: usize, length: usize) {
        let Some(key) = self.pick(client, stream) else {
            return;
        };
        let start = self.seen(client, key).written;
        let bytes: Vec<u8> = (start..start + length)
            .map(|position| byte_at(key.id, client, position))
            .collect();
        if let Poll::Ready(Ok(count)) = self.side(client).write(key, &bytes) {
            assert!(!self.seen(client, key).finished, "wrote after FIN");
            self.seen(client, key).written += count;
        }
    }

    fn read(&mut self, client: bool, key: Key, limit: usize) {
        let (bytes, read) = self.side(client).read_at_most(key, limit);
        let start = self.seen(client, key).read;
        for (offset, byte) in bytes.iter().enumerate() {
            assert_eq!(
                *byte,
                byte_at(key.id, !client, start + offset),
                "stream {}",
                key.id
            );
        }
        assert!(
            !self.seen(client, key).ended || bytes.is_empty(),
            "bytes after the end"
        );
        self.seen(client, key).read += bytes.len();
        match read {
            Read::End => {
                self.seen(client, key).ended = true;
                let (read, other) = (self.seen(client, key).read, self.seen(!client, key));
                assert!(other.finished || other.dropped, "an end that nobody caused");
                assert_eq!(other.written, read, "the end came before the last byte");
            }
            Read::Failed(error) => {
                let near = self.seen(client, key).was_reset;
                let other = self.seen(!client, key);
                // A dropped stream whose peer goes on sending is reset.
                assert!(near || other.was_reset || other.dropped, "{error}");
            }
            Read::Bytes | Read::Pending => {}
        }
    }

    fn reset(&mut self, client: bool, stream: usize) {
        if let Some(key) = self.pick(client, stream) {
            self.side(client).core.reset(key);
            self.seen(client, key).was_reset = true;
        }
    }

    fn drop_stream(&mut self, client: bool, stream: usize) {
        let Some(key) = self.pick(client, stream) else {
            return;
        };
        let now = self.pair.now;
        self.side(client).core.release(key, || now);
        self.seen(client, key).dropped = true;
        self.held[usize::from(client)].retain(|other| *other != key);
    }

    /// Accepts and drops everything; then nothing may be left at either end.
    fn finish(mut self) {
        self.pair.capacity = usize::MAX;
        for _ in 0..3 {
            self.pair.advance(Duration::from_secs(1));
            for client in [false, true] {
                let now = self.pair.now;
                while let Poll::Ready(Ok(key)) = self.side(client).core.accept(|| now) {
                    self.held[usize::from(client)].push(key);
                }
                while !self.held[usize::from(client)].is_empty() {
                    self.drop_stream(client, 0);
                }
            }
        }
        self.pair.advance(Duration::from_secs(1));
        for side in [&self.pair.client, &self.pair.server] {
            assert!(side.core.outcome().is_none(), "{:?}", side.core.outcome());
            assert_eq!(side.core.store.keys().count(), 0, "entries are left");
            assert_eq!(side.core.stats().unread_bytes, 0);
            assert_eq!(side.core.unacknowledged, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_pair_is_a_bundle_of_byte_pipes(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.finish();
    }

    #[test]
    fn any_bytes_at_all_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        chunk in 1usize..64,
    ) {
        let mut pair = Pair::new();
        for chunk in bytes.chunks(chunk) {
            let now = pair.now;
            pair.server.feed(now, chunk);
        }
        pair.advance(Duration::from_secs(60));
    }

    #[test]
    fn any_frames_at_all_do_no_harm(
        frames in prop::collection::vec((0u8..4, 0u16..16, 0u32..6, 0u32..40), 0..200),
    ) {
        let mut pair = Pair::new();
        for (kind, flags, stream, length) in frames {
            let mut bytes = vec![0, kind];
            bytes.extend_from_slice(&flags.to_be_bytes());
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            if kind == 0 {
                bytes.resize(12 + length as usize, 7);
            }
            let now = pair.now;
            pair.server.feed(now, &bytes);
            if let Poll::Ready(Ok(key)) = pair.server.core.accept(|| now) {
                pair.server.read(key);
                // A failure here is the peer's doing, and only panics count.
                let _ = pair.server.write(key, b"answer");
                if length % 3 == 0 {
                    pair.server.core.release(key, || now);
                }
            }
        }
        pair.advance(Duration::from_secs(60));
    }
}
