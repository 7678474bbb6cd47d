//! Writing: any task that has something to send writes to the connection, always with the driver's waker, since a
//! connection keeps one waker for each direction.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use super::{clock::now, shared::State, wakers::Task};
use crate::{core::FLUSH_AT, error::StreamError, frame::MAX_PAYLOAD, streams::Key};

/// From this size on a write goes to the connection from the caller's buffer. Below that, the copy costs less than a
/// system call for each.
const DIRECT_WRITE: usize = MAX_PAYLOAD;

/// Writes of less than this are requests and small responses. The first of them in a poll of the driver leave at
/// once, so that the peer works while this end writes the others.
const SMALL_WRITE: usize = 1024;

/// How many bytes of small writes the first flush after a poll of the driver waits for. The threshold doubles with
/// each flush up to [`FLUSH_AT`]: a fixed one of 2 KiB costs streams of tiny writes 40 % of their speed.
pub(super) const FIRST_FLUSH_AT: usize = 1024;

impl State {
    /// Writes to a stream.
    pub(crate) fn poll_write(
        &mut self,
        key: Key,
        task: &mut Task,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize, StreamError>> {
        let first = buffers.iter().find(|buffer| !buffer.is_empty());
        let Some(first) = first else {
            return match self.core.write_error(key) {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Ready(Ok(0)),
            };
        };
        let written = if first.len() >= DIRECT_WRITE && self.can_write_batch() {
            self.write_batch(key, first)
        } else {
            self.core.write(key, buffers)
        };
        if self.core.is_round_spent() {
            self.wake_driver();
        }
        match &written {
            Poll::Ready(Ok(count)) => {
                self.core.mark_sent(key);
                self.is_small_write = *count < SMALL_WRITE;
                if self.core.out.len() >= self.flush_threshold() {
                    self.flush_early();
                } else if self.core.wants_to_send() {
                    self.wake_driver();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.wait_to_write(key, task);
                self.flush_or_wake_driver();
            }
        }
        match self.core.write_failure() {
            Some(error) => Poll::Ready(Err(StreamError::Session(error))),
            None => written,
        }
    }

    /// Whether a large write may go to the connection past the queue.
    fn can_write_batch(&self) -> bool {
        self.driver.is_some() && self.write_side.takes_batches() && !self.core.is_over()
    }

    fn write_batch(&mut self, key: Key, payload: &[u8]) -> Poll<Result<usize, StreamError>> {
        let Some(driver) = &self.driver else {
            return Poll::Pending;
        };
        let mut cx = Context::from_waker(driver);
        let core = &mut self.core;
        match ready!(self.write_side.write_batch(&mut cx, core, key, payload))? {
            Ok(count) => {
                if self.write_side.is_blocked() {
                    // The queue may be empty, but the driver has to keep the time.
                    self.wake_for_deadline();
                } else {
                    self.flush();
                }
                Poll::Ready(Ok(count))
            }
            Err(error) => {
                self.write_failed(error);
                Poll::Pending
            }
        }
    }

    /// How many queued bytes are written without waiting for the driver.
    fn flush_threshold(&self) -> usize {
        if self.is_small_write {
            self.flush_at
        } else {
            FLUSH_AT
        }
    }

    /// Writes the queue in the task that has filled it.
    fn flush_early(&mut self) {
        self.flush_at = (2 * self.flush_at).min(FLUSH_AT);
        self.flush();
    }

    /// Sends what is queued: at once if it is data and no other task is about to write, else when the driver is
    /// polled. The peer's users do not wait for control frames, and these may still save a system call.
    pub(crate) fn flush_or_wake_driver(&mut self) {
        if self.core.wants_to_send() {
            let is_worth_it = self.core.out.has_data() && !self.is_coalescing;
            if is_worth_it {
                self.flush();
            } else if self.core.out.len() >= self.flush_threshold() {
                self.flush_early();
            } else {
                self.wake_driver();
            }
        }
        if self.core.is_over() || self.core.needs_poll() {
            self.wake_driver();
        }
    }

    /// Writes the queue, with the driver's waker. Before the driver's first poll there is none, and that poll will
    /// flush.
    pub(super) fn flush(&mut self) {
        let Some(driver) = &self.driver else { return };
        let mut cx = Context::from_waker(driver);
        if !self.write_side.can_write() {
            // Nothing will ever leave; the driver is reading what the peer sent before.
            self.core.stage();
            self.core.out.clear();
        } else if let Err(error) = self.write_side.flush(&mut cx, &mut self.core) {
            self.write_failed(error);
        }
        self.wake_flushed();
        self.core.grant_writers();
        if self.write_side.is_blocked() {
            self.wake_for_deadline();
        }
    }

    /// The connection failed in a write. What the peer sent before may still be read, so the driver reads on.
    fn write_failed(&mut self, error: io::Error) {
        self.write_side.fail();
        self.core.write_failed(now(), error);
        self.wake_driver();
    }
}
