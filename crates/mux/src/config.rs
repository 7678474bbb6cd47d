//! The settings of a session, with their defaults and costs.

use std::{any::Any, fmt, sync::Arc, time::Duration};

/// Which side of the connection this end is. It decides nothing but the stream ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Opens streams with odd ids.
    Client,
    /// Opens streams with even ids.
    Server,
}

impl Role {
    pub(crate) const fn first_id(self) -> u32 {
        match self {
            Self::Client => 1,
            Self::Server => 2,
        }
    }

    /// Whether a stream with this id is one that *this* end opens.
    pub(crate) const fn owns(self, id: u32) -> bool {
        id % 2 == self.first_id() % 2
    }
}

/// The window that every stream has in each direction until an update changes it, as the
/// yamux specification fixes it: 256 KiB.
pub(crate) const INITIAL_WINDOW: u32 = 256 * 1024;

/// As good as never. Beyond a few centuries the clock of some systems overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How a session behaves: limits, time-outs, keep-alive.
///
/// The defaults are those of HashiCorp's implementation where it has the setting, so that
/// both ends of a mixed pair have the same expectations. Times beyond 100 years count as 100
/// years, so [`Duration::MAX`] means never.
///
/// ```
/// use std::{any::Any, fmt, sync::Arc, time::Duration};
/// let config = keyway_mux::Config::default()
///     .accept_backlog(64)
///     .drain_timeout(Duration::from_secs(1));
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) accept_backlog: usize,
    pub(crate) close_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) keep_alive_timeout: Duration,
    pub(crate) max_buffered: usize,
    pub(crate) max_control_replies: usize,
    pub(crate) max_stream_window: u32,
    pub(crate) max_streams: usize,
    pub(crate) max_unacknowledged: usize,
    pub(crate) max_window_growth: usize,
    pub(crate) peer: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) send_queue: usize,
    pub(crate) write_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accept_backlog: 256,
            close_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(2),
            keep_alive: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(10),
            max_buffered: 64 * 1024 * 1024,
            max_control_replies: 1024,
            max_stream_window: 16 * 1024 * 1024,
            max_streams: 16 * 1024,
            max_unacknowledged: 256,
            max_window_growth: 16 * 1024 * 1024,
            peer: None,
            send_queue: 64 * 1024,
            write_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many streams of the peer may wait to be accepted; one more is refused with a reset.
    /// Default: 256. A waiting stream costs about 200 bytes plus what it sent, at most 256 KiB.
    #[must_use]
    pub fn accept_backlog(mut self, streams: usize) -> Self {
        self.accept_backlog = streams;
        self
    }

    /// How long a stream that was dropped here is remembered while the peer neither finishes
    /// nor resets it; then it is reset, at the latest after a quarter more. Default: 5 minutes.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout.min(LONGEST);
        self
    }

    /// How long [`Session::close`](crate::Session::close) waits for open streams to finish
    /// before it resets them. Default: 2 seconds.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout.min(LONGEST);
        self
    }

    /// How often the peer is asked for a sign of life; `None` never asks (the peer's questions
    /// are answered all the same). Default: every 30 seconds.
    #[must_use]
    pub fn keep_alive(mut self, interval: Option<Duration>) -> Self {
        self.keep_alive = interval.map(|interval| interval.min(LONGEST));
        self
    }

    /// How long a peer that was asked may say nothing at all before the session ends.
    /// Default: 10 seconds.
    #[must_use]
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.keep_alive_timeout = timeout.min(LONGEST);
        self
    }

    /// How many received bytes of all streams together may wait for their readers. A stream
    /// whose data would exceed it is reset; the others go on. Default: 64 MiB.
    #[must_use]
    pub fn max_buffered(mut self, bytes: usize) -> Self {
        self.max_buffered = bytes;
        self
    }

    /// How many answers to pings and refusals of streams may wait for the socket. A peer that
    /// asks for more without reading ends its session; so does one that makes streams answer until
    /// four frames for each of `max_streams` wait beyond it. Default: 1024, 12 bytes each.
    #[must_use]
    pub fn max_control_replies(mut self, frames: usize) -> Self {
        self.max_control_replies = frames;
        self
    }

    /// How large the receive window of one stream may grow. Windows begin with 256 KiB, as
    /// the protocol fixes it, and double while a reader empties half of one in less than
    /// 100 ms. Default: 16 MiB; up to 256 KiB nothing grows.
    #[must_use]
    pub fn max_stream_window(mut self, bytes: u32) -> Self {
        self.max_stream_window = bytes;
        self
    }

    /// How many streams the session may have at a time; a stream that the peer opens beyond it
    /// is refused with a reset, an own one with [`OpenError`](crate::OpenError).
    /// Default: 16,384. An idle stream costs less than 512 bytes.
    #[must_use]
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// How many streams may be opened that the peer has not acknowledged; `open` waits beyond
    /// it. Default: 256, the backlog of HashiCorp's implementation.
    #[must_use]
    pub fn max_unacknowledged(mut self, streams: usize) -> Self {
        self.max_unacknowledged = streams;
        self
    }

    /// By how much all receive windows of the session together may grow; with it the session's
    /// readers can be owed at most 256 KiB for each stream and this. Default: 16 MiB.
    #[must_use]
    pub fn max_window_growth(mut self, bytes: usize) -> Self {
        self.max_window_growth = bytes;
        self
    }

    /// What is known of the other end, for instance the credentials that the kernel tells of it.
    /// Request handlers find it with [`StreamInfo::peer`](crate::StreamInfo::peer).
    /// Default: nothing.
    #[must_use]
    pub fn peer<T: Any + Send + Sync>(mut self, facts: T) -> Self {
        self.peer = Some(Arc::new(facts));
        self
    }

    /// How many bytes may be queued while the connection takes none; writers wait beyond it. Writes that were granted
    /// before that may exceed it, by at most 64 KiB. Default and minimum: 64 KiB; less counts as 64 KiB.
    #[must_use]
    pub fn send_queue(mut self, bytes: usize) -> Self {
        self.send_queue = bytes.max(64 * 1024);
        self
    }

    /// How long the socket may take no byte while some are waiting before the session ends. A connection
    /// with a buffer of its own has taken them when it is flushed, so its buffer must not hold more than
    /// the slowest network that is to be served carries in this time.
    /// Default: 10 seconds.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout.min(LONGEST);
        self
    }
}

/// Leaves out what was told of the peer, which may not be for everybody's eyes.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("accept_backlog", &self.accept_backlog)
            .field("close_timeout", &self.close_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .field("keep_alive", &self.keep_alive)
            .field("keep_alive_timeout", &self.keep_alive_timeout)
            .field("max_buffered", &self.max_buffered)
            .field("max_control_replies", &self.max_control_replies)
            .field("max_stream_window", &self.max_stream_window)
            .field("max_streams", &self.max_streams)
            .field("max_unacknowledged", &self.max_unacknowledged)
            .field("max_window_growth", &self.max_window_growth)
            .field("send_queue", &self.send_queue)
            .field("write_timeout", &self.write_timeout)
            .finish_non_exhaustive()
    }
}
