//! The settings of a session, with their defaults, minima and costs.

use std::{fmt, sync::Arc, time::Duration};

/// The role of one end of a session. Nothing but the ids of its streams depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    /// Returns `true` if this end opens the streams with ids like this one.
    pub(crate) const fn owns(self, id: u32) -> bool {
        id % 2 == self.first_id() % 2
    }
}

/// The first window of every stream in each direction. The yamux specification fixes it at 256 KiB.
pub(crate) const INITIAL_WINDOW: u32 = 256 * 1024;

/// The longest duration, which counts as never. The clocks of some systems overflow after a few centuries.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The shortest timeout of a peer or a connection that reacts at once.
const SHORTEST: Duration = Duration::from_millis(100);

/// The shortest [`Config::close_timeout`]: a reset destroys bytes that the peer has received and not read.
const SHORTEST_CLOSE: Duration = Duration::from_secs(1);

/// The shortest [`Config::keep_alive`] interval.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// The least [`Config::max_control_replies`]: HashiCorp's implementation opens as many streams before the first is
/// acknowledged, and all of them may be refused at once.
const LEAST_REPLIES: usize = 256;

/// A check of whether the peer of a session is suspended: it exists and cannot respond, for instance because a signal has
/// stopped its process.
#[derive(Clone, Default)]
pub struct PeerSuspension(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl PeerSuspension {
    /// Returns a check that calls `is_suspended`. The session calls it when a timeout has passed, and holds its lock
    /// meanwhile: it must neither block nor use the session.
    pub fn checked_by(is_suspended: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_suspended)))
    }

    /// Returns `true` if the peer is suspended now.
    pub(crate) fn is_suspended(&self) -> bool {
        self.0.as_ref().is_some_and(|is_suspended| is_suspended())
    }
}

impl fmt::Debug for PeerSuspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "checked" } else { "never" })
    }
}

/// Declares the settings: each with its default, and the expression that raises smaller values to the minimum.
macro_rules! settings {
    (
        $(#[$about:meta])*
        pub struct Config;
        $($(#[$doc:meta])* $name:ident: $type:ty = $default:expr, |$value:ident| $valid:expr;)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct Config {
            $(pub(crate) $name: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($name: $default,)*
                }
            }
        }

        impl Config {
            /// Returns the defaults.
            pub fn new() -> Self {
                Self::default()
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(mut self, $value: $type) -> Self {
                    self.$name = $valid;
                    self
                }
            )*
        }
    };
}

settings! {
    /// The settings of a session: limits, timeouts, keep-alive.
    ///
    /// The defaults are those of HashiCorp's implementation for the settings that it has, so that both ends of a mixed
    /// pair have the same expectations.
    ///
    /// Each setting has a minimum, which its documentation states: with less, no session would work. A smaller value,
    /// zero included, counts as the minimum. Durations of more than 100 years count as 100 years, so [`Duration::MAX`]
    /// means never. `Debug` shows the values in effect.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let config = keyway_mux::Config::default()
    ///     .accept_backlog(64)
    ///     .drain_timeout(Duration::from_secs(1));
    /// ```
    pub struct Config;

    /// Sets how many streams of the peer may wait to be accepted. One more is refused with a reset.
    ///
    /// Default: 256. Minimum: 1. A waiting stream costs about 200 bytes and its unread bytes, at most 256 KiB.
    accept_backlog: usize = 256, |streams| streams.max(1);

    /// Sets how long a stream that was dropped on this side waits for the peer to finish it. Then it is reset, at the
    /// latest after a quarter of this time more.
    ///
    /// Default: 5 minutes. Minimum: 1 second.
    close_timeout: Duration = Duration::from_secs(300), |timeout| timeout.clamp(SHORTEST_CLOSE, LONGEST);

    /// Sets how long a session that is closed with [`Session::close`](crate::Session::close) waits for its open
    /// streams before it resets them.
    ///
    /// Default: 2 seconds. Minimum: zero, which resets them at once.
    drain_timeout: Duration = Duration::from_secs(2), |timeout| timeout.min(LONGEST);

    /// Sets the interval of keep-alive pings; with `None` the session sends none. Pings of the peer are always
    /// acknowledged.
    ///
    /// Default: 30 seconds. Minimum: 1 millisecond.
    keep_alive: Option<Duration> = Some(Duration::from_secs(30)),
        |interval| interval.map(|interval| interval.clamp(SHORTEST_INTERVAL, LONGEST));

    /// Sets how long the peer may send nothing at all after a ping before the session ends. If this process was itself
    /// suspended for longer than this time, the timeout begins again, as that of [`write_timeout`](Self::write_timeout) does.
    ///
    /// Default: 10 seconds. Minimum: 100 milliseconds.
    keep_alive_timeout: Duration = Duration::from_secs(10), |timeout| timeout.clamp(SHORTEST, LONGEST);

    /// Sets how many received bytes of all streams together may wait for their readers. A stream
    /// whose data would exceed the limit is reset; the others continue. No window grows beyond the limit.
    ///
    /// Default: 64 MiB. Minimum: 256 KiB, the first window of one stream.
    max_buffered: usize = 64 * 1024 * 1024, |bytes| bytes.max(INITIAL_WINDOW as usize);

    /// Sets how many replies to pings and refusals of streams may wait for the connection. The session of a peer that
    /// requests more and reads none fails, as does that of a peer that provokes frames of streams until
    /// four frames for each of [`max_streams`](Self::max_streams) wait beyond this limit.
    ///
    /// Default: 1024, of 12 bytes each. Minimum: 256.
    max_control_replies: usize = 1024, |frames| frames.max(LEAST_REPLIES);

    /// Sets how large the receive window of one stream may grow, in bytes. Windows begin with 256 KiB, as
    /// the protocol fixes it, and double while a reader empties half of one in less
    /// than 100 ms.
    ///
    /// Default: 16 MiB. Minimum: 256 KiB, with which no window grows.
    max_stream_window: u32 = 16 * 1024 * 1024, |bytes| bytes.max(INITIAL_WINDOW);

    /// Sets how many streams the session may have at a time, those of both ends together. A stream that the peer
    /// opens beyond the limit is refused with a reset, one of this end fails with
    /// [`OpenError::TooManyStreams`](crate::OpenError::TooManyStreams).
    ///
    /// Default: 16,384. Minimum: 1. An idle stream costs less than 512 bytes.
    max_streams: usize = 16 * 1024, |streams| streams.max(1);

    /// Sets how many streams may be open that the peer has not acknowledged.
    /// [`Session::open`](crate::Session::open) waits beyond the limit.
    ///
    /// Default: 256, the accept backlog of HashiCorp's implementation. Minimum: 1.
    max_unacknowledged: usize = 256, |streams| streams.max(1);

    /// Sets by how many bytes all receive windows of the session together may grow. A peer can send at most 256 KiB
    /// for each stream, and this, ahead of the readers.
    ///
    /// Default: 16 MiB. Minimum: zero, with which no window grows.
    max_window_growth: usize = 16 * 1024 * 1024, |bytes| bytes;

    /// Sets how the session learns that the peer is suspended. It is checked when
    /// [`keep_alive_timeout`](Self::keep_alive_timeout) or [`write_timeout`](Self::write_timeout) has passed; while the
    /// peer is suspended, the timeout begins again.
    ///
    /// Default: the peer is never suspended.
    peer_suspension: PeerSuspension = PeerSuspension::default(), |suspension| suspension;

    /// Sets how many bytes may be queued while the connection takes none. Writers wait beyond the limit. Writes that
    /// were granted before may exceed it, by at most 64 KiB.
    ///
    /// Default: 64 KiB. Minimum: 64 KiB.
    send_queue: usize = 64 * 1024, |bytes| bytes.max(64 * 1024);

    /// Sets how long the connection may take no byte while bytes wait before the session ends. A buffered connection
    /// has taken them when it is flushed, so its buffer must be no larger than the amount of data that the slowest
    /// network transfers in this time.
    ///
    /// Default: 10 seconds. Minimum: 100 milliseconds.
    write_timeout: Duration = Duration::from_secs(10), |timeout| timeout.clamp(SHORTEST, LONGEST);
}
