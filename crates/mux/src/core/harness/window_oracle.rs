//! Using up a window.

use std::{task::Poll, time::Instant};

use crate::{
    core::{Core, GO},
    frame::MAX_PAYLOAD,
    streams::Key,
};

impl Core {
    /// Sends past the queue, turn by turn, until the stream has no window left. Returns how much.
    pub(crate) fn use_up_window(&mut self, key: Key) -> usize {
        let mut sent = 0;
        while self.window(key) > 0 {
            self.begin_poll(Instant::now);
            self.grant_writers();
            if let Poll::Ready(grant) = self.begin_data(key, GO * MAX_PAYLOAD, GO) {
                sent += grant.unwrap().len();
            }
            self.end_poll();
        }
        sent
    }

    fn window(&self, key: Key) -> u32 {
        let entry = self.store.get(key);
        entry.map_or(0, |entry| entry.send_window.available())
    }
}
