//! One poll of the driver: write, read, keep the time. Its work is bounded; a busy connection makes it yield, not
//! loop.

use std::{task::Poll, time::Instant};

use super::{clock::now, shared::State};
use crate::core::{MAX_BLOCK, Outcome};

/// How many bytes one poll may read before other tasks run.
const READ_BUDGET: usize = MAX_BLOCK;

/// How often one poll may read: a connection may give single bytes.
const MAX_READS: usize = 1024;

/// For how many polls in which something arrived deadlines are postponed.
const MAX_POSTPONED: u8 = 64;

/// The result of a poll.
pub(super) enum Progress {
    /// The session is over and the connection closed.
    Over(Outcome),
    /// The socket, a stream or the deadline will wake the driver.
    Wait { deadline: Option<Instant> },
    /// There is more to do, after the tasks that are ready now.
    Again,
    /// There is more to do, after the tasks that are ready now and those that they or sockets wake.
    Later,
}

impl State {
    /// Does what can be done now.
    pub(super) fn poll(&mut self, is_due: bool) -> Progress {
        self.is_driver_woken = true;
        let progress = self.advance(is_due);
        if let Progress::Wait { deadline } = progress {
            self.is_driver_woken = false;
            self.armed_until = deadline;
        }
        progress
    }

    fn advance(&mut self, is_due: bool) -> Progress {
        self.write_side.start();
        // Other tasks that were woken with the writer are still to run, or the task that opened a stream is
        // still to write: their frames leave in the same system call.
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
                "the session is over"
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

    /// Does what is due, unless something has arrived: a driver that comes late finds its timer elapsed and
    /// the peer's response in the socket at the same moment, and the response counts first, with what the task
    /// that waits for it does. Input that does not end postpones deadlines for a limited number of polls.
    /// Returns whether it has postponed them.
    fn handle_timeout(&mut self, has_input: bool) -> bool {
        if has_input && self.postponed < MAX_POSTPONED {
            self.postponed += 1;
            return true;
        }
        self.postponed = 0;
        self.core.handle_timeout(now());
        false
    }

    /// Shuts the connection down once the last frames have left. Then the peer closes too, which
    /// ends the session; or the deadline does.
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
