//! Frames of a large write, on their way to the socket straight from the caller's buffer.

use std::{
    io::IoSlice,
    task::{Poll, ready},
};

use crate::{
    error::StreamError,
    frame::{HEADER_LEN, MAX_PAYLOAD},
    session::{Core, GO},
    streams::Key,
};

/// Up to how many frames the connection is given in pairs. A Unix socket of Linux keeps 32 KiB and a little more in one
/// allocation and cuts 64 KiB into four, which cost more than a second system call.
const IN_PAIRS: usize = 4;

/// A write from the caller's buffer.
pub(super) struct Direct<'a> {
    pub(super) key: Key,
    pub(super) payload: &'a [u8],
}

impl Direct<'_> {
    /// How many frames the connection is to take at once: of much as many as there may be.
    fn frames(&self) -> usize {
        if self.payload.len() > IN_PAIRS * MAX_PAYLOAD {
            GO
        } else {
            2
        }
    }
}

/// Frames of a large write, begun and not yet written: a go at the most.
pub(super) struct Burst<'a> {
    headers: [[u8; HEADER_LEN]; GO],
    payloads: [&'a [u8]; GO],
    /// How many there are.
    count: usize,
    /// How many bytes of payload they have.
    len: usize,
}

impl<'a> Burst<'a> {
    /// Begins as many frames as the stream may send now.
    pub(super) fn begin(core: &mut Core, direct: &Direct<'a>) -> Poll<Result<Self, StreamError>> {
        let mut burst = Self {
            headers: [[0; HEADER_LEN]; GO],
            payloads: [&[]; GO],
            count: 0,
            len: 0,
        };
        let mut rest = direct.payload;
        let grant = ready!(core.begin_data(direct.key, rest.len(), direct.frames()))?;
        for header in grant.headers() {
            burst.headers[burst.count] = header.encode();
            (burst.payloads[burst.count], rest) = rest.split_at(header.payload_len());
            burst.count += 1;
        }
        burst.len = grant.len();
        Poll::Ready(Ok(burst))
    }

    fn frames(&self) -> impl Iterator<Item = (&[u8; HEADER_LEN], &'a [u8])> {
        let payloads = self.payloads[..self.count].iter().copied();
        self.headers.iter().zip(payloads)
    }

    /// How many bytes of payload there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// What is queued and the frames, as one list of buffers.
    pub(super) fn behind<'b>(&'b self, queue: (&'b [u8], &'b [u8])) -> Slices<'b> {
        let mut slices = Slices {
            slices: [IoSlice::new(&[]); 2 * GO + 2],
            len: 0,
        };
        slices.push(queue.0);
        slices.push(queue.1);
        for (header, payload) in self.frames() {
            slices.push(header);
            slices.push(payload);
        }
        slices
    }

    /// The socket took `written` bytes of the queue and the frames. The rest of a frame that it took in
    /// part is copied to the queue; frames behind it are not begun after all, unless there is none
    /// before them. Says how much of the payload was taken.
    pub(super) fn settle(&self, core: &mut Core, key: Key, written: usize) -> usize {
        let queued = core.out.len();
        core.out.consume(written);
        let mut left = written.saturating_sub(queued);
        if left >= self.len + self.count * HEADER_LEN {
            return self.len;
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
        core.take_back(key, self.len - taken);
        taken
    }
}

/// A list of buffers.
pub(super) struct Slices<'a> {
    slices: [IoSlice<'a>; 2 * GO + 2],
    len: usize,
}

impl<'a> Slices<'a> {
    fn push(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() {
            self.slices[self.len] = IoSlice::new(bytes);
            self.len += 1;
        }
    }

    pub(super) fn get(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.len]
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

    fn begin<'a>(core: &mut Core, key: Key, payload: &'a [u8]) -> Burst<'a> {
        match Burst::begin(core, &Direct { key, payload }) {
            Poll::Ready(Ok(burst)) => burst,
            _ => panic!("the stream can be written"),
        }
    }

    fn wire(core: &Core, burst: &Burst<'_>) -> Vec<u8> {
        let slices = burst.behind(core.out.parts());
        slices
            .get()
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    /// How many bytes of a write of this length are given to the connection at once after so many others.
    fn burst_of(length: usize, before: usize) -> usize {
        let payload = vec![7; length];
        let (mut core, key) = core();
        assert!(before == 0 || core.begin_data(key, before, usize::MAX).is_ready());
        let burst = begin(&mut core, key, &payload);
        let frames = burst.len().div_ceil(16_384);
        assert_eq!(burst.frames().count(), frames);
        let sent = QUEUED.len() + frames * HEADER_LEN + burst.len();
        assert_eq!(wire(&core, &burst).len(), sent);
        burst.len()
    }

    #[test]
    fn a_burst_is_a_pair_of_frames_or_all_that_is_much() {
        for length in [1, 16_384, 20_000, 32_768] {
            assert_eq!(burst_of(length, 0), length);
        }
        for length in [32_769, 65_536] {
            assert_eq!(burst_of(length, 0), 32_768);
        }
        for length in [65_537, 100_000, 196_608] {
            assert_eq!(burst_of(length, 0), length);
        }
    }

    #[test]
    fn a_burst_is_no_more_than_the_go_has_left() {
        for (before, expected) in [(0, 196_608), (131_072, 65_536), (180_224, 16_384)] {
            assert_eq!(burst_of(250_000, before), expected);
        }
        assert_eq!(burst_of(65_536, 180_224), 16_384);
    }

    #[test]
    fn whatever_the_socket_takes_the_wire_carries_whole_frames() {
        let payload: Vec<u8> = (0u32..70_000).map(|byte| byte as u8).collect();
        let frame = HEADER_LEN + 16_384;
        let borders = (0..5).map(|index| QUEUED.len() + index * frame);
        let places = borders.flat_map(|at| [at - 1, at, at + 1, at + HEADER_LEN, at + 9_000]);
        let end = QUEUED.len() + 5 * HEADER_LEN + payload.len();
        for written in places.chain([0, 5, end - 1, end, usize::MAX]) {
            let (mut core, key) = core();
            let burst = begin(&mut core, key, &payload);
            let all = wire(&core, &burst);
            assert_eq!(all.len(), end);
            let taken = burst.settle(&mut core, key, written);
            let mut sent = all[..written.min(end)].to_vec();
            let (front, back) = core.out.parts();
            sent.extend_from_slice(front);
            sent.extend_from_slice(back);
            let begun = written
                .saturating_sub(QUEUED.len())
                .div_ceil(frame)
                .clamp(1, 5);
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
            let burst = begin(&mut core, key, &payload);
            let written = core.out.len() + HEADER_LEN + 16_384;
            sent += burst.settle(&mut core, key, written);
        }
        assert_eq!(sent, 192 * 1024);
    }
}
