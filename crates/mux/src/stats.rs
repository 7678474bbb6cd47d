//! The counters of a session.

use std::time::Duration;

/// A snapshot of a session's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Streams that are open on the wire now: opened or offered, and not finished in both
    /// directions.
    pub open_streams: usize,
    /// Streams opened by this end so far.
    pub opened: u64,
    /// Streams of the peer that were accepted so far.
    pub accepted: u64,
    /// Streams of the peer that were refused so far: full backlog, closing, too many.
    pub refused: u64,
    /// Payload bytes handed to the connection or queued for it so far.
    pub bytes_sent: u64,
    /// Payload bytes received so far.
    pub bytes_received: u64,
    /// Received bytes that wait for their readers now.
    pub unread_bytes: usize,
    /// How often a writer had to wait because the peer had not read.
    pub window_stalls: u64,
    /// How long the peer took to answer the last keep-alive ping.
    pub round_trip: Option<Duration>,
}
