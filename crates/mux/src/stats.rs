//! The counters of a session.

use std::time::Duration;

/// A snapshot of the counters of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Streams that are open now: opened by either end, and neither reset nor finished in both directions. Those that
    /// this end has opened and whose SYN was not yet sent are counted, too.
    pub open_streams: usize,
    /// Streams that this end has opened so far.
    pub opened: u64,
    /// Streams of the peer that were accepted so far.
    pub accepted: u64,
    /// Streams of the peer that were refused so far: the accept queue was full, the session was closing, or it had
    /// too many streams.
    pub refused: u64,
    /// Payload bytes that streams have written so far.
    pub bytes_sent: u64,
    /// Payload bytes received so far.
    pub bytes_received: u64,
    /// Received payload bytes that wait for their readers now.
    pub unread_bytes: usize,
    /// Writes that had to wait for the peer to read so far.
    pub window_stalls: u64,
    /// The round-trip time of the last ping, by keep-alive or [`Session::ping`](crate::Session::ping); `None` before
    /// the first response.
    pub rtt: Option<Duration>,
}
