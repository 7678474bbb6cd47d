//! Uses up a window, in any number of rounds.

use std::task::Poll;

use crate::{
    core::{Core, ROUND_FRAMES},
    frame::MAX_PAYLOAD,
    streams::Key,
};

impl Core {
    /// Sends without the queue, poll by poll, until the stream has no window left. Returns the number of bytes.
    pub(crate) fn use_up_window(&mut self, key: Key) -> usize {
        let mut sent = 0;
        while self.window(key) > 0 {
            self.begin_poll();
            self.grant_writers();
            if let Poll::Ready(grant) =
                self.begin_data(key, ROUND_FRAMES * MAX_PAYLOAD, ROUND_FRAMES)
            {
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
