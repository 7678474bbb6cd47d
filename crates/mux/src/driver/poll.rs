//! One poll of the driver: write, read, handle timeouts. Its work is bounded: on a busy connection it yields.

use std::{task::Poll, time::Instant};

use super::{clock::now, shared::State};
use crate::core::{MAX_BLOCK, Outcome};

/// The number of bytes that one poll may read before other tasks run.
const READ_BUDGET: usize = MAX_BLOCK;

/// The number of reads of one poll: a connection may return single bytes.
const MAX_READS: usize = 1024;

/// The number of polls with input that may postpone deadlines.
const MAX_POSTPONED: u8 = 64;

/// The result of a poll.
pub(super) enum Progress {
    /// The session has ended and the connection is closed.
    Over(Outcome),
    /// The socket, a stream or the deadline will wake the driver.
    Wait { deadline: Option<Instant> },
    /// The driver is to be polled after the tasks that are ready now.
    Again,
    /// The driver is to be polled after the tasks that are ready now and those that they or sockets wake.
    Later,
}

impl State {
    /// Makes all progress that is possible now.
    pub(super) fn poll(&mut self, is_due: bool) -> Progress {
        self.is_driver_woken = true;
        let mut progress = self.advance(is_due);
        if let Progress::Wait { deadline } = &mut progress {
            self.is_driver_woken = false;
            // A timer that is early stays until it has elapsed.
            if let Some(early) = self.armed_until.filter(|_| !is_due) {
                *deadline = Some(deadline.map_or(early, |deadline| deadline.min(early)));
            }
            self.armed_until = *deadline;
        }
        progress
    }

    fn advance(&mut self, is_due: bool) -> Progress {
        self.write_side.start();
        // Other tasks that were woken with the writer have not run yet, or the task that opened a stream has not
        // written: their frames are to be sent in the same system call.
        let may_yield = self.core.wants_to_send() && !is_due;
        if self
            .coalescing
            .should_yield(may_yield, self.core.has_syn_due())
        {
            return if self.core.has_only_syn_due() {
                Progress::Later
            } else {
                Progress::Again
            };
        }
        self.core.begin_poll();
        if self.core.wants_to_send() || self.write_side.is_blocked() {
            self.flush();
        } else {
            self.core.grant_writers();
        }
        let (has_input, is_drained) = self.read();
        let is_postponed = is_due && self.handle_timeout(has_input);
        if self.core.wants_to_send() && !self.write_side.is_blocked() {
            self.flush();
        }
        self.close_connection();
        if let Some(outcome) = self.core.outcome().filter(|_| self.core.has_ended()) {
            tracing::debug!(
                session = self.core.session(),
                clean = outcome.is_ok(),
                "session ended"
            );
            self.write_side.close();
            return Progress::Over(outcome.clone());
        }
        if self.core.end_poll() || is_postponed {
            return Progress::Later;
        }
        if !is_drained {
            return Progress::Again;
        }
        if self.core.needs_poll() {
            // Tasks that were granted a write run first, also the last of those that are ready.
            return Progress::Later;
        }
        Progress::Wait {
            deadline: self.core.deadline(),
        }
    }

    /// Reads until the socket is empty or the budget spent. Returns whether anything was read, and whether the socket is
    /// empty.
    fn read(&mut self) -> (bool, bool) {
        let (mut total, mut woken) = (0, 0);
        if !self.write_side.is_readable() {
            return (false, true);
        }
        for _ in 0..MAX_READS {
            if total >= READ_BUDGET || self.core.has_ended() {
                break;
            }
            let Some(count) = self.read_once() else {
                return (total > 0, true);
            };
            total += count;
            woken += self.collect_events();
            self.coalescing.readers_woken(woken);
        }
        (true, false)
    }

    /// Reads once and feeds the core; `None` if there is nothing to read.
    fn read_once(&mut self) -> Option<usize> {
        if self.core.is_input_closed() {
            return None;
        }
        let mut block = self.core.take_block();
        match self.write_side.poll_read(&mut block) {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.core.receive(now(), &mut block, count);
                self.core.give_back(block, count);
                return Some(count);
            }
            Poll::Ready(Ok(_)) => self.core.end_of_input(),
            Poll::Ready(Err(error)) => self.core.connection_failed(error),
            Poll::Pending => {}
        }
        self.core.give_back(block, 0);
        None
    }

    /// Handles the deadlines that have passed, unless there was input. A driver that is polled late finds its timer elapsed
    /// and the peer's response in the socket at the same time. The response, and the task that waits for it, come first.
    /// Endless input postpones deadlines for a limited number of polls. Returns whether they were postponed.
    fn handle_timeout(&mut self, has_input: bool) -> bool {
        if has_input && self.postponed < MAX_POSTPONED {
            self.postponed += 1;
            return true;
        }
        self.postponed = 0;
        self.core.handle_timeout(now());
        false
    }

    /// Shuts the connection down once the last frames were sent. Then the session ends when the peer closes it too, or at
    /// the deadline.
    fn close_connection(&mut self) {
        let is_sent = self.core.out.is_empty() && !self.write_side.is_blocked();
        if !self.core.is_finishing() || !is_sent {
            return;
        }
        self.core.sent_everything(now());
        match self.write_side.poll_shutdown() {
            Poll::Ready(Ok(())) if self.core.is_input_closed() => self.core.end(Ok(())),
            Poll::Ready(Err(error)) => self.core.shutdown_failed(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }
}
