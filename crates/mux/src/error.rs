//! What can go wrong, by operation: a session, an open, an accept, a stream.

use std::{fmt, io, sync::Arc, time::Duration};

/// The number of a stream on the wire, odd for streams of the client and even for the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number as it stands in frame headers.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the peer violated the protocol. The session has ended with GoAway(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A second FIN on a stream.
    #[error("it finished stream {stream} twice")]
    DuplicateFin {
        /// The stream.
        stream: StreamId,
    },
    /// A second SYN for a stream that is open.
    #[error("it opened stream {stream} twice")]
    DuplicateStream {
        /// The stream.
        stream: StreamId,
    },
    /// A data or window frame for stream 0, which means the session.
    #[error("it sent a stream frame for stream 0")]
    StreamZero,
    /// More unanswered pings or refused streams than the limit, while it reads nothing.
    #[error("it asked for more than {limit} replies without reading them")]
    TooManyReplies {
        /// The limit, see [`Config::max_control_replies`](crate::Config::max_control_replies).
        limit: usize,
    },
    /// A frame type that does not exist.
    #[error("it sent a frame of the unknown type {kind}")]
    UnknownType {
        /// The type.
        kind: u8,
    },
    /// A protocol version that does not exist; perhaps the peer does not speak yamux.
    #[error("it sent a frame of the unknown version {version}; does it speak yamux?")]
    UnknownVersion {
        /// The version.
        version: u8,
    },
    /// Data beyond the receive window.
    #[error("it sent {length} bytes on stream {stream}, but its window was {window}")]
    WindowExceeded {
        /// The stream.
        stream: StreamId,
        /// The length of the frame.
        length: u32,
        /// How much it was allowed to send.
        window: u32,
    },
    /// Credit beyond the largest possible window of 2^32-1.
    #[error("it raised the window of stream {stream} beyond 4 GiB")]
    WindowOverflow {
        /// The stream.
        stream: StreamId,
    },
    /// A SYN with an id of our own parity.
    #[error("it opened stream {stream}, an id of our side; do both ends have the same role?")]
    WrongParity {
        /// The stream.
        stream: StreamId,
    },
}

/// Why a session ended, when it did not end cleanly.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection ended while streams were in use, or in the middle of a frame.
    #[error(
        "the peer closed the connection while {streams} {} in use",
        if *streams == 1 { "stream was" } else { "streams were" }
    )]
    ConnectionLost {
        /// How many streams were neither finished nor dropped here.
        streams: usize,
    },
    /// Streams that had not finished when [`Config::drain_timeout`](crate::Config::drain_timeout) expired
    /// were reset.
    #[error(
        "{streams} {} reset when the drain timeout expired",
        if *streams == 1 { "stream was" } else { "streams were" }
    )]
    DrainTimeout {
        /// How many streams that were neither finished nor dropped here were reset.
        streams: usize,
    },
    /// The [`Driver`](crate::Driver) was dropped before the session was closed.
    #[error("the session's driver was dropped")]
    DriverDropped,
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
    /// The peer gave no sign of life.
    #[error("the peer was silent for {0:?} after a keep-alive ping")]
    KeepAliveTimeout(Duration),
    /// The peer violated the protocol.
    #[error("the peer violated the protocol: {0}")]
    Protocol(#[source] ProtocolError),
    /// The peer ended the session with a GoAway code other than 0.
    #[error("the peer ended the session with code {code} ({})", go_away_name(*code))]
    RemoteGoAway {
        /// 1 is a protocol error, 2 an internal error, others are not standardised.
        code: u32,
    },
    /// The connection ended before it had taken all bytes that were written to streams.
    #[error("the connection ended before all bytes written to streams were sent")]
    UnsentData,
    /// The socket took no byte for too long.
    #[error("the connection took no bytes for {0:?}")]
    WriteTimeout(Duration),
}

fn go_away_name(code: u32) -> &'static str {
    match code {
        1 => "protocol error",
        2 => "internal error",
        _ => "unknown",
    }
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<ProtocolError> for SessionError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// Why no stream could be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The session was closed, by this side or cleanly by the peer.
    #[error("the session is closed")]
    Closed,
    /// All 2^31 stream ids of this side are used; a new session is needed.
    #[error("the session has used all its stream ids")]
    IdsExhausted,
    /// The peer accepts no new streams (GoAway).
    #[error("the peer is not accepting streams any more")]
    RemoteGoAway,
    /// The session failed.
    #[error("the session has failed")]
    Session(#[source] SessionError),
    /// As many streams as [`Config::max_streams`](crate::Config::max_streams) allows are open.
    #[error("the session has {limit} streams open, its limit")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
}

/// Why no stream can be accepted any more.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The session was closed, by this side or cleanly by the peer.
    #[error("the session is closed")]
    Closed,
    /// The session failed.
    #[error("the session has failed")]
    Session(#[source] SessionError),
}

/// Why a stream cannot be read or written. Found inside the [`io::Error`] of its I/O methods
/// with [`io::Error::get_ref`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The session was closed before the peer had finished the stream.
    #[error("the session was closed before the stream had finished")]
    Closed,
    /// The stream was reset here, with [`Stream::reset`](crate::Stream::reset) or because
    /// [`Config::max_buffered`](crate::Config::max_buffered) was exceeded.
    #[error("the stream was reset on this side")]
    LocalReset,
    /// The peer refused the stream before it was accepted. A new stream may be tried.
    #[error("the peer refused the stream")]
    Refused,
    /// The peer reset the stream.
    #[error("the peer reset the stream")]
    Reset,
    /// The session failed.
    #[error("the session has failed")]
    Session(#[source] SessionError),
    /// The write side was shut down before.
    #[error("the write side of the stream was shut down")]
    WriteClosed,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Closed => io::ErrorKind::UnexpectedEof,
            StreamError::LocalReset => io::ErrorKind::ConnectionAborted,
            StreamError::Refused => io::ErrorKind::ConnectionRefused,
            StreamError::Reset => io::ErrorKind::ConnectionReset,
            StreamError::Session(SessionError::ConnectionLost { .. }) => {
                io::ErrorKind::UnexpectedEof
            }
            StreamError::Session(
                SessionError::KeepAliveTimeout(_) | SessionError::WriteTimeout(_),
            ) => io::ErrorKind::TimedOut,
            StreamError::Session(_) => io::ErrorKind::ConnectionAborted,
            StreamError::WriteClosed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::RemoteGoAway => io::ErrorKind::ConnectionRefused,
            _ => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

impl From<AcceptError> for io::Error {
    fn from(error: AcceptError) -> Self {
        Self::new(io::ErrorKind::NotConnected, error)
    }
}
