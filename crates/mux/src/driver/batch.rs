//! Frames of a large write, on their way to the connection straight from the caller's buffer.

use std::{
    io::IoSlice,
    task::{Poll, ready},
};

use smallvec::SmallVec;

use crate::{
    core::{Core, ROUND_FRAMES},
    error::StreamError,
    frame::{HEADER_LEN, MAX_PAYLOAD},
    streams::Key,
};

/// Frames of a large write that are not written yet: a round at the most.
pub(super) struct Batch<'a> {
    key: Key,
    headers: SmallVec<[[u8; HEADER_LEN]; ROUND_FRAMES]>,
    payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Begins as many frames as the stream may send now.
    pub(super) fn begin(
        core: &mut Core,
        key: Key,
        payload: &'a [u8],
    ) -> Poll<Result<Self, StreamError>> {
        let grant = ready!(core.begin_data(key, payload.len(), ROUND_FRAMES))?;
        Poll::Ready(Ok(Self {
            key,
            headers: grant.headers().map(|header| header.encode()).collect(),
            payload: &payload[..grant.len()],
        }))
    }

    /// Headers and payloads, in turn.
    fn parts(&self) -> impl Iterator<Item = [&[u8]; 2]> {
        let payloads = self.payload.chunks(MAX_PAYLOAD);
        let headers = self.headers.iter().map(|header| &header[..]);
        headers.zip(payloads).map(<[_; 2]>::from)
    }

    /// Returns the queue and the frames behind it, as one list of buffers.
    pub(super) fn buffers<'b>(
        &'b self,
        queue: (&'b [u8], &'b [u8]),
    ) -> SmallVec<[IoSlice<'b>; 2 * ROUND_FRAMES + 2]> {
        let all = [queue.0, queue.1].into_iter().chain(self.parts().flatten());
        let parts = all.filter(|bytes| !bytes.is_empty());
        parts.map(IoSlice::new).collect()
    }

    /// The connection took `written` bytes of the queue and the frames. The rest of a frame that it took in part is
    /// copied to the queue; the frames behind it are refunded, except the first of all. Returns the number of
    /// bytes of the payload that were taken.
    pub(super) fn account(&self, core: &mut Core, written: usize) -> usize {
        let queued = core.out.len();
        core.out.consume(written);
        let mut left = written.saturating_sub(queued);
        if left > 0 {
            core.out.data_bypassed(left);
        }
        let mut taken = 0;
        for [header, payload] in self.parts() {
            if left == 0 && taken > 0 {
                break;
            }
            taken += payload.len();
            for bytes in [header, payload] {
                let gone = left.min(bytes.len());
                left -= gone;
                core.out.push_data(&bytes[gone..]);
            }
        }
        core.refund(self.key, self.payload.len() - taken);
        taken
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
        match Batch::begin(core, key, payload) {
            Poll::Ready(Ok(batch)) => batch,
            _ => panic!("the stream can be written"),
        }
    }

    fn wire(core: &Core, batch: &Batch<'_>) -> Vec<u8> {
        let buffers = batch.buffers(core.out.parts());
        buffers.iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_batch_holds_no_more_than_the_round_has_left() {
        for (before, length, expected) in [
            (0, 250_000, 196_608),
            (131_072, 250_000, 65_536),
            (180_224, 250_000, 16_384),
            (180_224, 65_536, 16_384),
            (0, 1, 1),
        ] {
            let payload = vec![7; length];
            let (mut core, key) = core();
            assert!(before == 0 || core.begin_data(key, before, usize::MAX).is_ready());
            assert_eq!(begin(&mut core, key, &payload).payload.len(), expected);
        }
    }

    #[test]
    fn a_partial_write_leaves_whole_frames_on_the_wire() {
        let payload: Vec<u8> = (0..70_000_u32).map(|byte| byte as u8).collect();
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
            let taken = batch.account(&mut core, written);
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
    fn a_refund_is_not_counted_in_the_round() {
        let payload = vec![7; 100_000];
        let (mut core, key) = core();
        let mut sent = 0;
        while !core.is_round_spent() {
            let batch = begin(&mut core, key, &payload);
            let written = core.out.len() + HEADER_LEN + 16_384;
            sent += batch.account(&mut core, written);
        }
        assert_eq!(sent, 192 * 1024);
    }
}
