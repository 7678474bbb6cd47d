//! [`Limits`]: the timeouts and limits of a server.

use std::time::Duration;

/// The timeouts and limits of a server, the same for every kind of byte stream.
///
/// A connection is in one state at a time, and each state in which the server waits for the peer
/// has one timeout. Limits that are zero count as one.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(super) first_byte_timeout: Duration,
    pub(super) head_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) max_head_len: usize,
    pub(super) max_connections: usize,
    pub(super) reserved_connections: usize,
    pub(super) max_streams: usize,
    pub(super) half_closed_clients: bool,
    pub(super) drop_delivers: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            max_head_len: 16 * 1024,
            max_connections: 1024,
            reserved_connections: 64,
            max_streams: 1024,
            half_closed_clients: false,
            drop_delivers: false,
        }
    }
}

impl Limits {
    /// Closes a connection from which no byte has arrived for this long after it was accepted.
    /// Such an end is not an error. Default: 10 s.
    #[must_use]
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.first_byte_timeout = timeout;
        self
    }

    /// Ends a connection if the head of a request is incomplete this long after its first byte.
    /// Default: 10 s.
    #[must_use]
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// Fails the body of a request of which no byte has arrived for this long while the handler
    /// waits for it. Default: 30 s.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Closes a connection on which no request has begun for this long after the end of the last
    /// response. Such an end is not an error. Default: 120 s.
    ///
    /// It should be longer than clients keep idle connections (90 s in Go's `net/http` and in
    /// `hyper_util`), because a request that is sent while the server closes fails.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Ends a connection whose peer takes less than 64 KiB of a response within this time.
    /// Default: 30 s.
    ///
    /// The duration of a large response therefore depends on its size, and a peer that reads byte
    /// by byte is disconnected.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Waits at most this long for requests in progress when [`serve`](crate::serve) stops.
    /// Default: 10 s.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Refuses the head of a request with more bytes than this (status 431). Default: 16 KiB.
    /// A head has at most 100 fields in any case.
    #[must_use]
    pub fn max_head_len(mut self, bytes: usize) -> Self {
        self.max_head_len = bytes.max(1);
        self
    }

    /// Serves at most this many connections at once. Default: 1,024.
    ///
    /// At the limit a further connection takes the place of one that waits for its peer; see
    /// [`serve`](crate::serve).
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Accepts this many connections beyond [`max_connections`](Self::max_connections) while all
    /// others are in a handler. Their services are made with
    /// [`Admission::Reserved`](crate::Admission::Reserved), and each serves one request.
    /// Default: 64; zero accepts none.
    #[must_use]
    pub fn reserved_connections(mut self, connections: usize) -> Self {
        self.reserved_connections = connections;
        self
    }

    /// Limits how many requests all HTTP/2 connections have in progress, without the first of each
    /// connection. Those beyond are responded to with the status 503. Default: 1,024.
    ///
    /// One connection has at most 32 requests in progress in any case.
    #[must_use]
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// Responds to a peer that has closed its sending half. Default: `false`.
    ///
    /// Without it, the end of the input during a request means that the peer has gone, and drops
    /// the handler. With it, the response is sent and the connection closes behind it; a byte stream
    /// that distinguishes the two reports a peer that has gone as a read error.
    #[must_use]
    pub fn half_closed_clients(mut self, are_served: bool) -> Self {
        self.half_closed_clients = are_served;
        self
    }

    /// Ends a connection behind its last response by dropping the byte stream, without waiting for
    /// a flush or a shutdown. Default: `false`.
    ///
    /// It saves a wake-up for each response on byte streams that deliver written bytes when they are dropped, as the streams of a
    /// multiplexer do.
    #[must_use]
    pub fn drop_delivers(mut self, delivers: bool) -> Self {
        self.drop_delivers = delivers;
        self
    }
}
