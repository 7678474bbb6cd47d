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

/// How many tasks a read must wake for the first half of them to flush before the other half has written.
const MIN_HALVED: usize = 8;

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
            Poll::Ready(Ok(_)) => {
                self.core.mark_sent(key);
                let is_half_written = self.has_half_written();
                if is_half_written || self.core.out.len() >= FLUSH_AT {
                    self.flush();
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
            Some(error) => Poll::Ready(Err(error)),
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

    /// A read has woken `tasks`. If these are many, half of their writes are flushed at once, so that the peer handles them
    /// while this end writes the others. Otherwise both ends would wait for each other's whole batches.
    pub(super) const fn halve_writes(&mut self, tasks: usize) {
        self.writes_to_half = if tasks < MIN_HALVED { 0 } else { tasks / 2 };
    }

    /// Whether a write completes half of those that follow a read.
    const fn has_half_written(&mut self) -> bool {
        let is_last = self.writes_to_half == 1;
        self.writes_to_half = self.writes_to_half.saturating_sub(1);
        self.has_flushed_half |= is_last;
        is_last
    }

    /// Sends what is queued: at once if it is data and no other task is about to write, else when the driver is
    /// polled. The peer's users do not wait for control frames, and these may still save a system call.
    pub(crate) fn flush_or_wake_driver(&mut self) {
        if self.core.wants_to_send() {
            let is_worth_it = self.core.out.has_data() && !self.is_coalescing;
            if is_worth_it || self.core.out.len() >= FLUSH_AT {
                self.flush();
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
        self.is_coalescing |= self.wake_flushed() > 1;
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
