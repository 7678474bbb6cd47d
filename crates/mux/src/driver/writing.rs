//! Writing: the socket is written by whoever has something to send, always with the driver's
//! waker, since a socket keeps one waker for each direction.

use std::task::Context;

use super::shared::State;

impl State {
    /// Whether a large write may go to the socket past the queue.
    pub(super) fn can_write_directly(&self) -> bool {
        self.driver.is_some()
            && self.socket.can_write()
            && self.socket.is_vectored()
            && !self.socket.is_blocked()
            && !self.core.is_over()
    }

    /// Writes what is queued, with the driver's waker; before the driver's first poll there is
    /// none, and its first turn will flush.
    pub(super) fn flush(&mut self) {
        let Some(driver) = &self.driver else { return };
        if !self.socket.can_write() {
            // Nothing will ever leave; the driver is reading what the peer sent before.
            self.core.stage();
            self.core.out.clear();
            self.grant_writers();
            return;
        }
        let mut cx = Context::from_waker(driver);
        if let Err(error) = self.socket.flush(&mut cx, &mut self.core) {
            self.write_failed(error);
        }
        self.grant_writers();
    }

    /// Calls those who wait to write, as far as there is room for them.
    pub(super) fn grant_writers(&mut self) {
        if self.core.grant_writers() {
            self.wake_driver();
        }
    }

    /// What a direct write leaves to do.
    pub(super) fn after_write(&mut self) {
        if !self.core.out.is_empty() && !self.socket.is_blocked() {
            self.flush();
        } else if self.socket.holds_back() {
            self.flush_connection();
            if self.socket.is_blocked() {
                // Nothing is queued that the driver would come for, but it has to keep the time.
                self.wake_for_deadline();
            }
        }
    }

    fn flush_connection(&mut self) {
        let Some(driver) = &self.driver else { return };
        let mut cx = Context::from_waker(driver);
        if let Err(error) = self.socket.flush_connection(&mut cx, &mut self.core) {
            self.write_failed(error);
        }
    }
}
