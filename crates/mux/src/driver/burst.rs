//! Frames of a large write, on their way to the socket straight from the caller's buffer.

use std::{
    io::IoSlice,
    task::{Poll, ready},
};

use crate::{
    error::StreamError,
    frame::HEADER_LEN,
    session::{BURST, Core},
    streams::Key,
};

/// A write from the caller's buffer.
pub(super) struct Direct<'a> {
    pub(super) key: Key,
    pub(super) payload: &'a [u8],
    /// How many frames may be written.
    pub(super) frames: usize,
    /// The turn of the stream's last write goes on.
    pub(super) keeps_turn: bool,
}

/// Up to four frames, begun and not yet written.
pub(super) struct Burst<'a> {
    headers: [[u8; HEADER_LEN]; BURST],
    payloads: [&'a [u8]; BURST],
    /// How many there are.
    count: usize,
    /// How many bytes of payload they have.
    len: usize,
}

impl<'a> Burst<'a> {
    /// Begins as many frames as the stream may send now.
    pub(super) fn begin(core: &mut Core, direct: &Direct<'a>) -> Poll<Result<Self, StreamError>> {
        let mut burst = Self {
            headers: [[0; HEADER_LEN]; BURST],
            payloads: [&[]; BURST],
            count: 0,
            len: 0,
        };
        let mut rest = direct.payload;
        let frames = direct.frames.min(BURST);
        let grant = core.begin_data(direct.key, rest.len(), frames, direct.keeps_turn);
        let grant = ready!(grant)?;
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
            slices: [IoSlice::new(&[]); 2 * BURST + 2],
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
    slices: [IoSlice<'a>; 2 * BURST + 2],
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
