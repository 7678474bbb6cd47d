//! Writing. Any task that has something to send writes to the connection.

use std::{io::IoSlice, task::Poll};

use super::shared::State;
use crate::{
    core::FLUSH_AT,
    error::{Direction, StreamError},
    frame::MAX_PAYLOAD,
    streams::Key,
};

/// From this size on, a write goes to the connection from the caller's buffer. Copying smaller writes costs less than a
/// system call for each.
const DIRECT_WRITE: usize = MAX_PAYLOAD;

impl State {
    /// Writes to a stream.
    pub(crate) fn poll_write(
        &mut self,
        key: Key,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize, StreamError>> {
        let first = buffers.iter().find(|buffer| !buffer.is_empty());
        let Some(first) = first else {
            return Poll::Ready(self.core.write_error(key).map_or(Ok(0), Err));
        };
        let written = if first.len() >= DIRECT_WRITE && self.can_write_batch() {
            self.write_batch(key, first)
        } else {
            self.core.write(key, buffers)
        };
        match &written {
            Poll::Ready(Ok(_)) => {
                self.core.mark_sent(key);
                let completes_half = self.coalescing.completes_half();
                if completes_half || self.core.out.len() >= FLUSH_AT {
                    self.flush();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.flush_early(),
        }
        match self.core.write_failure() {
            Some(error) => Poll::Ready(Err(error)),
            None => written,
        }
    }

    /// Returns `true` if a large write may bypass the queue.
    fn can_write_batch(&self) -> bool {
        self.write_side.takes_batches() && !self.core.is_over()
    }

    fn write_batch(&mut self, key: Key, payload: &[u8]) -> Poll<Result<usize, StreamError>> {
        let written = self.write_side.write_batch(&mut self.core, key, payload);
        if self.write_side.is_blocked() {
            // The queue may be empty, but the driver has to handle the write timeout.
            self.wake_driver_for_deadline();
        } else if written.is_ready() {
            self.flush();
        }
        written
    }

    /// Writes the queue without the driver if it holds data and no other task is about to write. Control frames are not
    /// urgent, and waiting may save a system call.
    pub(crate) fn flush_early(&mut self) {
        let is_worth_it = self.core.out.has_data() && !self.coalescing.is_active();
        if is_worth_it || self.core.out.len() >= FLUSH_AT {
            self.flush();
        }
    }

    /// Writes the queue.
    pub(super) fn flush(&mut self) {
        self.write_side.flush(&mut self.core);
        let woken = self.wake_flushed();
        self.coalescing.tasks_woken(woken);
        self.core.grant_writers();
        if self.write_side.is_blocked() {
            self.wake_driver_for_deadline();
        }
    }

    /// Wakes the writers whose flush is complete, and returns their number.
    fn wake_flushed(&mut self) -> usize {
        let core = &self.core;
        let flushed: Vec<Key> = self
            .flushing
            .extract_if(.., |key| core.is_sent(*key))
            .collect();
        for key in &flushed {
            self.wake_stream(*key, Direction::Write);
        }
        flushed.len()
    }
}
