//! Frames of a large write, on their way to the socket straight from the caller's buffer.

use std::{
    io::IoSlice,
    iter,
    task::{Poll, ready},
};

use crate::{
    core::{Core, GO},
    error::StreamError,
    frame::{HEADER_LEN, MAX_PAYLOAD},
    streams::Key,
};

/// Up to how many frames the connection is given in pairs. A Unix socket of Linux keeps 32 KiB and a little more in one
/// allocation and cuts 64 KiB into four, which cost more than a second system call.
const IN_PAIRS: usize = 4;

/// A write from the caller's buffer.
pub(super) struct DirectWrite<'a> {
    pub(super) key: Key,
    pub(super) payload: &'a [u8],
}

impl DirectWrite<'_> {
    /// How many frames the connection is to take at once: of much as many as there may be.
    fn at_once(&self) -> usize {
        if self.payload.len() > IN_PAIRS * MAX_PAYLOAD {
            GO
        } else {
            2
        }
    }
}

/// Frames of a large write, begun and not yet written: a go at the most.
pub(super) struct Batch<'a> {
    headers: [[u8; HEADER_LEN]; GO],
    payload: &'a [u8],
    /// How many frames the connection is to take at once.
    at_once: usize,
}

impl<'a> Batch<'a> {
    /// Begins as many frames as the stream may send now.
    pub(super) fn begin(
        core: &mut Core,
        direct: &DirectWrite<'a>,
    ) -> Poll<Result<Self, StreamError>> {
        let grant = ready!(core.begin_data(direct.key, direct.payload.len(), GO))?;
        let mut headers = [[0; HEADER_LEN]; GO];
        for (bytes, header) in headers.iter_mut().zip(grant.headers()) {
            *bytes = header.encode();
        }
        Poll::Ready(Ok(Self {
            headers,
            payload: &direct.payload[..grant.len()],
            at_once: direct.at_once(),
        }))
    }

    fn frames(&self) -> impl ExactSizeIterator<Item = (&[u8; HEADER_LEN], &'a [u8])> {
        self.headers.iter().zip(self.payload.chunks(MAX_PAYLOAD))
    }

    /// How many bytes of payload there are.
    const fn len(&self) -> usize {
        self.payload.len()
    }

    /// What is queued and the frames, as one list of buffers.
    pub(super) fn after_queue<'b>(&'b self, queue: (&'b [u8], &'b [u8])) -> Slices<'b> {
        let mut slices = Slices {
            slices: [IoSlice::new(&[]); 2 * GO + 2],
            len: 0,
            queued: 0,
            at_once: 2 * self.at_once,
        };
        slices.push(queue.0);
        slices.push(queue.1);
        slices.queued = slices.len;
        for (header, payload) in self.frames() {
            slices.push(header);
            slices.push(payload);
        }
        slices
    }

    /// The socket took `written` bytes of the queue and the frames. The rest of a frame that it took in
    /// part is copied to the queue; frames behind it are not begun after all, unless there is none
    /// before them. Returns how much of the payload was taken.
    pub(super) fn account(&self, core: &mut Core, key: Key, written: usize) -> usize {
        let queued = core.out.len();
        core.out.consume(written);
        let mut left = written.saturating_sub(queued);
        if left > 0 {
            core.out.data_bypassed();
        }
        if left >= self.len() + self.frames().len() * HEADER_LEN {
            return self.len();
        }
        let mut taken = 0;
        for (header, payload) in self.frames() {
            if left == 0 && taken > 0 {
                break;
            }
            taken += payload.len();
            for bytes in [&header[..], payload] {
                let gone = left.min(bytes.len());
                left -= gone;
                core.out.push_data(&bytes[gone..]);
            }
        }
        core.refund(key, self.len() - taken);
        taken
    }
}

/// A list of buffers.
pub(super) struct Slices<'a> {
    slices: [IoSlice<'a>; 2 * GO + 2],
    len: usize,
    /// How many of the first are what was queued.
    queued: usize,
    /// How many of the others the connection is to take at once.
    at_once: usize,
}

impl<'a> Slices<'a> {
    fn push(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() {
            self.slices[self.len] = IoSlice::new(bytes);
            self.len += 1;
        }
    }

    /// What the connection is to take at once: what was queued with the first.
    pub(super) fn portions(&self) -> impl Iterator<Item = &[IoSlice<'a>]> {
        let first = self.len.min(self.queued + self.at_once);
        let (first, others) = self.slices[..self.len].split_at(first);
        iter::once(first).chain(others.chunks(self.at_once))
    }
}

#[cfg(all(test, not(keyway_loom)))]
mod tests {
    use super::*;
    use crate::{
        config::{Config, INITIAL_WINDOW, Role},
        driver::clock::now,
    };

    const QUEUED: &[u8] = b"what was queued";

    fn core() -> (Core, Key) {
        let mut core = Core::new(1, Role::Client, Config::default(), now());
        let Poll::Ready(Ok(key)) = core.open() else {
            panic!("a new session opens streams");
        };
        core.out.push(QUEUED);
        (core, key)
    }

    fn begin<'a>(core: &mut Core, key: Key, payload: &'a [u8]) -> Batch<'a> {
        match Batch::begin(core, &DirectWrite { key, payload }) {
            Poll::Ready(Ok(batch)) => batch,
            _ => panic!("the stream can be written"),
        }
    }

    fn wire(core: &Core, batch: &Batch<'_>) -> Vec<u8> {
        let slices = batch.after_queue(core.out.parts());
        let portions = slices.portions();
        portions
            .flatten()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    /// How many bytes of a write of this length are sent after so many others, and in which portions with their
    /// headers.
    fn burst_of(length: usize, before: usize) -> (usize, Vec<usize>) {
        let payload = vec![7; length];
        let (mut core, key) = core();
        assert!(before == 0 || core.begin_data(key, before, usize::MAX).is_ready());
        let batch = begin(&mut core, key, &payload);
        let slices = batch.after_queue(core.out.parts());
        let portions = slices.portions();
        let portions = portions.map(|portion| portion.iter().map(|slice| slice.len()).sum());
        (batch.len(), portions.collect())
    }

    #[test]
    fn little_is_given_to_the_connection_in_pairs_of_frames_and_much_at_once() {
        let queued = QUEUED.len();
        let (frame, pair) = (12 + 16_384, 2 * (12 + 16_384));
        for (length, portions) in [
            (1, vec![queued + 13]),
            (16_384, vec![queued + frame]),
            (20_000, vec![queued + 20_024]),
            (32_768, vec![queued + pair]),
            (32_769, vec![queued + pair, 13]),
            (65_536, vec![queued + pair, pair]),
            (65_537, vec![queued + 65_537 + 5 * 12]),
            (196_608, vec![queued + 6 * pair]),
        ] {
            assert_eq!(burst_of(length, 0), (length, portions));
        }
    }

    #[test]
    fn a_burst_is_no_more_than_the_go_has_left() {
        for (before, expected) in [(0, 196_608), (131_072, 65_536), (180_224, 16_384)] {
            assert_eq!(burst_of(250_000, before).0, expected);
        }
        assert_eq!(burst_of(65_536, 180_224).0, 16_384);
    }

    #[test]
    fn whatever_the_socket_takes_the_wire_carries_whole_frames() {
        // One write at once, and one in pairs of frames.
        for length in [70_000, 65_000] {
            whole_frames(length);
        }
    }

    fn whole_frames(length: u32) {
        let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        let frames = payload.len().div_ceil(16_384);
        let frame = HEADER_LEN + 16_384;
        let borders = (0..frames).map(|index| QUEUED.len() + index * frame);
        let places = borders.flat_map(|at| [at - 1, at, at + 1, at + HEADER_LEN, at + 9_000]);
        let end = QUEUED.len() + frames * HEADER_LEN + payload.len();
        for written in places.chain([0, 5, end - 1, end, usize::MAX]) {
            let (mut core, key) = core();
            let batch = begin(&mut core, key, &payload);
            let all = wire(&core, &batch);
            assert_eq!(all.len(), end);
            let taken = batch.account(&mut core, key, written);
            let mut sent = all[..written.min(end)].to_vec();
            let (front, back) = core.out.parts();
            sent.extend_from_slice(front);
            sent.extend_from_slice(back);
            let begun = written
                .saturating_sub(QUEUED.len())
                .div_ceil(frame)
                .clamp(1, frames);
            assert_eq!(taken, (begun * 16_384).min(payload.len()), "{written}");
            let expected = QUEUED.len() + begun * HEADER_LEN + taken;
            assert!(sent == all[..expected], "{written} bytes were taken");
            assert_eq!(core.use_up_window(key), INITIAL_WINDOW as usize - taken);
        }
    }

    #[test]
    fn what_is_taken_back_is_not_counted_in_the_go() {
        let payload = vec![7; 100_000];
        let (mut core, key) = core();
        let mut sent = 0;
        while !core.has_used_go() {
            let batch = begin(&mut core, key, &payload);
            let written = core.out.len() + HEADER_LEN + 16_384;
            sent += batch.account(&mut core, key, written);
        }
        assert_eq!(sent, 192 * 1024);
    }
}
