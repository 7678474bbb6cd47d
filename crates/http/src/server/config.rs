//! [`ServeConfig`]: the bounds of a server.

use std::time::Duration;

use hyper::server::conn::http1::Builder;

/// Bounds and habits of HTTP/1.1 servers.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    pub(super) idle_timeout: Duration,
    pub(super) header_read_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) max_head_size: usize,
    pub(super) max_connections: usize,
    pub(super) drain_timeout: Duration,
    pub(super) date_header: bool,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(120),
            header_read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_head_size: 64 * 1024,
            max_connections: 1024,
            drain_timeout: Duration::from_secs(10),
            date_header: false,
        }
    }
}

impl ServeConfig {
    /// Closes a connection on which no request has begun for this long, counted from its start or
    /// from the end of the last response. Such an end is in order, and no error. Default: 120 s.
    ///
    /// It should be longer than clients keep a connection in their pools (90 s in Go's, and in
    /// `hyper_util`'s), for a client that sends a request at the moment at which the server closes
    /// sees it fail.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Closes a connection that has not sent the whole head of a request within this time from the
    /// first byte of it. Default: 30 s.
    #[must_use]
    pub fn header_read_timeout(mut self, timeout: Duration) -> Self {
        self.header_read_timeout = timeout;
        self
    }

    /// Closes a connection whose peer takes less than 64 KiB of a response, or less than what is
    /// left of it, within this time. What the system or a multiplexer buffers counts as taken.
    /// Default: 30 s.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// The most bytes that the head of a request may have; it may also have at most 100 fields.
    /// What has more is answered with 431. Default: 64 KiB.
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.max_head_size = bytes;
        self
    }

    /// How many connections [`serve`](super::serve) holds open at most; when another comes, idle
    /// ones end to make room. At least 1. Default: 1024.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long [`serve`](super::serve) waits at its end for requests that are being answered.
    /// Default: 10 s.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Writes a `date` into every response. Default: `false`; on a local socket nobody reads it.
    #[must_use]
    pub fn date_header(mut self, write: bool) -> Self {
        self.date_header = write;
        self
    }

    pub(super) fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            // A clock of our own stands in for hyper's.
            .header_read_timeout(None)
            .max_header_size(self.max_head_size)
            .auto_date_header(self.date_header);
        builder
    }
}
