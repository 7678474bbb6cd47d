//! Errors by operation: a session, opening a stream, using a stream.

use std::{fmt, io, sync::Arc, time::Duration};

/// The id of a stream on the wire: odd for streams of the client, even for streams of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// Returns the id as in frame headers.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A violation of the protocol by the peer. The session has ended with GoAway(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A second FIN on a stream.
    #[error("stream {stream} was finished twice")]
    DuplicateFin {
        /// The stream.
        stream: StreamId,
    },
    /// A second SYN for a stream that is open.
    #[error("stream {stream} was opened twice")]
    DuplicateStream {
        /// The stream.
        stream: StreamId,
    },
    /// A data or window frame for stream 0, which means the session.
    #[error("a stream frame has the stream id 0")]
    StreamZero,
    /// More queued replies to pings and refused streams than the limit, while the peer reads nothing.
    #[error("more than {limit} replies were requested and not read")]
    TooManyReplies {
        /// The limit, see [`Config::max_control_replies`](crate::Config::max_control_replies).
        limit: usize,
    },
    /// A frame type that does not exist.
    #[error("a frame has the unknown type {kind}")]
    UnknownType {
        /// The type.
        kind: u8,
    },
    /// A protocol version that does not exist; the peer may not speak yamux.
    #[error("a frame has the unknown version {version}: the peer may not speak yamux")]
    UnknownVersion {
        /// The version.
        version: u8,
    },
    /// Data beyond the receive window.
    #[error(
        "a frame of {length} bytes exceeds the window of stream {stream}, which is {window} bytes"
    )]
    WindowExceeded {
        /// The stream.
        stream: StreamId,
        /// The length of the frame in bytes.
        length: u32,
        /// The number of bytes that the peer was allowed to send.
        window: u32,
    },
    /// Credit beyond the largest possible window of 2^32-1.
    #[error("the window of stream {stream} was raised beyond 4 GiB")]
    WindowOverflow {
        /// The stream.
        stream: StreamId,
    },
    /// A SYN with an id of this end's parity.
    #[error("stream {stream} was opened with an id of this end: both ends may have the same role")]
    WrongParity {
        /// The stream.
        stream: StreamId,
    },
}

/// The reason why a session failed.
///
/// No error of this crate repeats the text of its [`source`](std::error::Error::source): print the whole chain.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session was closed before the operation was complete. It has not failed: [`Session::closed`] does not
    /// return this error.
    ///
    /// [`Session::closed`]: crate::Session::closed
    #[error("the session is closed")]
    Closed,
    /// The connection ended while streams were in use.
    #[error(
        "the peer closed the connection while {streams} {} in use",
        if *streams == 1 { "stream was" } else { "streams were" }
    )]
    ConnectionLost {
        /// The number of streams that were neither finished nor dropped on this side.
        streams: usize,
    },
    /// Streams that had not finished when [`Config::drain_timeout`](crate::Config::drain_timeout) expired
    /// were reset.
    #[error(
        "{streams} {} reset when the drain timeout expired",
        if *streams == 1 { "stream was" } else { "streams were" }
    )]
    DrainTimeout {
        /// The number of streams that were reset and had neither been finished nor dropped on this side.
        streams: usize,
    },
    /// The [`Driver`](crate::Driver) was dropped before the session was closed.
    #[error("the driver of the session was dropped")]
    DriverDropped,
    /// The connection ended within a frame.
    #[error("the peer closed the connection within a frame")]
    IncompleteFrame,
    /// Reading or writing the connection failed.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
    /// The peer sent nothing for [`Config::keep_alive_timeout`](crate::Config::keep_alive_timeout) after a ping.
    #[error("the peer sent nothing for {0:?} after a ping")]
    KeepAliveTimeout(Duration),
    /// The peer violated the protocol.
    #[error("the peer violated the protocol")]
    Protocol(#[source] ProtocolError),
    /// The peer ended the session with a GoAway code other than 0.
    #[error("the peer ended the session with code {code} ({})", go_away_name(*code))]
    RemoteGoAway {
        /// 1 is a protocol error, 2 an internal error; others are not standardised.
        code: u32,
    },
    /// The connection ended before it had taken all bytes that were written to streams.
    #[error("the connection ended before all bytes written to streams were sent")]
    UnsentData,
    /// The connection took no byte for [`Config::write_timeout`](crate::Config::write_timeout).
    #[error("the connection took no byte for {0:?}")]
    WriteTimeout(Duration),
}

impl SessionError {
    pub(crate) fn io(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }

    fn kind(&self, direction: Direction) -> io::ErrorKind {
        match self {
            Self::Io(error) => direction.adapt(error.kind()),
            Self::Closed | Self::ConnectionLost { .. } | Self::IncompleteFrame => {
                direction.adapt(io::ErrorKind::UnexpectedEof)
            }
            Self::KeepAliveTimeout(_) | Self::WriteTimeout(_) => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::ConnectionAborted,
        }
    }
}

/// The kind is that of a failed read: `UnexpectedEof` if the connection ended, `TimedOut` after a timeout, that of
/// the connection's own error, otherwise `ConnectionAborted`.
impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        Self::new(error.kind(Direction::Read), error)
    }
}

/// The direction of a failed operation. The kind of an [`io::Error`] depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    /// Returns the kind that a reader or writer of a socket would see.
    const fn adapt(self, kind: io::ErrorKind) -> io::ErrorKind {
        match (self, kind) {
            (Self::Read, io::ErrorKind::BrokenPipe) => io::ErrorKind::ConnectionReset,
            (Self::Write, io::ErrorKind::UnexpectedEof) => io::ErrorKind::BrokenPipe,
            (_, kind) => kind,
        }
    }
}

fn go_away_name(code: u32) -> &'static str {
    match code {
        1 => "protocol error",
        2 => "internal error",
        _ => "unknown",
    }
}

/// The reason why no stream could be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The session was closed, by this end or cleanly by the peer.
    #[error("the session is closed")]
    Closed,
    /// All 2^31 stream ids of this end are used; a new session is needed.
    #[error("the session has used all its stream ids")]
    IdsExhausted,
    /// The peer accepts no new streams (GoAway).
    #[error("the peer accepts no new streams")]
    RemoteGoAway,
    /// The session failed.
    #[error("the session failed")]
    Session(#[source] SessionError),
    /// As many streams as [`Config::max_streams`](crate::Config::max_streams) allows are open.
    #[error("the session has {limit} open streams, its limit")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
    /// As many streams as [`Config::max_unacknowledged`](crate::Config::max_unacknowledged) allows are not
    /// acknowledged by the peer. Only [`Session::try_open`](crate::Session::try_open) returns it.
    #[error("the peer has not acknowledged {limit} streams, the limit")]
    TooManyUnacknowledged {
        /// The limit.
        limit: usize,
    },
}

/// `ConnectionRefused` if the peer accepts no new streams, `WouldBlock` for
/// [`TooManyUnacknowledged`](OpenError::TooManyUnacknowledged), otherwise `NotConnected`.
impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::RemoteGoAway => io::ErrorKind::ConnectionRefused,
            OpenError::TooManyUnacknowledged { .. } => io::ErrorKind::WouldBlock,
            _ => io::ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

/// The reason why a stream cannot be read or written. The [`io::Error`] of a stream's I/O methods contains it: see
/// [`io::Error::get_ref`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The session was closed before the stream had finished.
    #[error("the session was closed before the stream had finished")]
    Closed,
    /// The stream was reset on this side: by [`WriteHalf::reset`](crate::WriteHalf::reset), or because
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
    #[error("the session failed")]
    Session(#[source] SessionError),
    /// The write side was shut down before.
    #[error("the write side of the stream was shut down")]
    WriteClosed,
}

impl StreamError {
    /// Converts the error for a reader or a writer of the stream.
    pub(crate) fn into_io(self, direction: Direction) -> io::Error {
        let kind = match &self {
            Self::Closed => direction.adapt(io::ErrorKind::UnexpectedEof),
            Self::LocalReset => io::ErrorKind::ConnectionAborted,
            Self::Refused => io::ErrorKind::ConnectionRefused,
            Self::Reset => io::ErrorKind::ConnectionReset,
            Self::Session(error) => error.kind(direction),
            Self::WriteClosed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, self)
    }
}

/// The kind is that of a failed read, as for [`SessionError`].
impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        error.into_io(Direction::Read)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use keyway_test_support::assert_causes_said_once;

    use super::*;

    fn protocol_errors() -> Vec<ProtocolError> {
        let stream = StreamId(3);
        vec![
            ProtocolError::DuplicateFin { stream },
            ProtocolError::DuplicateStream { stream },
            ProtocolError::StreamZero,
            ProtocolError::TooManyReplies { limit: 9 },
            ProtocolError::UnknownType { kind: 7 },
            ProtocolError::UnknownVersion { version: 1 },
            ProtocolError::WindowExceeded {
                stream,
                length: 5,
                window: 4,
            },
            ProtocolError::WindowOverflow { stream },
            ProtocolError::WrongParity { stream },
        ]
    }

    fn session_errors() -> Vec<SessionError> {
        let io = SessionError::io(io::Error::new(io::ErrorKind::BrokenPipe, "broken pipe"));
        let mut errors = vec![
            SessionError::Closed,
            SessionError::ConnectionLost { streams: 1 },
            SessionError::ConnectionLost { streams: 2 },
            SessionError::DrainTimeout { streams: 1 },
            SessionError::DriverDropped,
            SessionError::UnsentData,
            SessionError::IncompleteFrame,
            io,
            SessionError::KeepAliveTimeout(Duration::from_secs(10)),
            SessionError::RemoteGoAway { code: 1 },
            SessionError::RemoteGoAway { code: 9 },
            SessionError::WriteTimeout(Duration::from_secs(10)),
        ];
        errors.extend(protocol_errors().into_iter().map(SessionError::Protocol));
        errors
    }

    fn all_errors() -> Vec<Box<dyn Error>> {
        let mut errors: Vec<Box<dyn Error>> = Vec::new();
        for error in session_errors() {
            errors.push(Box::new(OpenError::Session(error.clone())));
            errors.push(Box::new(StreamError::Session(error.clone())));
            errors.push(Box::new(io::Error::from(error.clone())));
            errors.push(Box::new(error));
        }
        let open = [
            OpenError::Closed,
            OpenError::IdsExhausted,
            OpenError::RemoteGoAway,
            OpenError::TooManyStreams { limit: 9 },
            OpenError::TooManyUnacknowledged { limit: 9 },
        ];
        for error in open {
            errors.push(Box::new(io::Error::from(error)));
        }
        for error in protocol_errors() {
            errors.push(Box::new(error));
        }
        errors
    }

    #[test]
    fn no_error_of_a_chain_contains_the_text_of_its_cause() {
        for error in all_errors() {
            assert_causes_said_once(&*error);
        }
    }

    #[test]
    fn texts_are_lower_case_without_a_full_stop_and_do_not_begin_with_a_pronoun() {
        for error in all_errors() {
            let text = error.to_string();
            assert!(!text.starts_with(char::is_uppercase), "{text:?}");
            assert!(!text.ends_with('.') && !text.starts_with("it "), "{text:?}");
        }
    }

    #[test]
    fn a_writer_gets_the_kinds_of_a_socket_that_cannot_be_written() {
        use io::ErrorKind as Kind;
        let io = |kind: Kind| StreamError::Session(SessionError::io(kind.into()));
        let lost = || StreamError::Session(SessionError::ConnectionLost { streams: 1 });
        let cut = || StreamError::Session(SessionError::IncompleteFrame);
        for (error, read, write) in [
            (StreamError::Closed, Kind::UnexpectedEof, Kind::BrokenPipe),
            (lost(), Kind::UnexpectedEof, Kind::BrokenPipe),
            (cut(), Kind::UnexpectedEof, Kind::BrokenPipe),
            (
                io(Kind::BrokenPipe),
                Kind::ConnectionReset,
                Kind::BrokenPipe,
            ),
            (
                io(Kind::ConnectionReset),
                Kind::ConnectionReset,
                Kind::ConnectionReset,
            ),
            (
                StreamError::Reset,
                Kind::ConnectionReset,
                Kind::ConnectionReset,
            ),
            (
                StreamError::Refused,
                Kind::ConnectionRefused,
                Kind::ConnectionRefused,
            ),
            (
                StreamError::LocalReset,
                Kind::ConnectionAborted,
                Kind::ConnectionAborted,
            ),
        ] {
            assert_eq!(error.clone().into_io(Direction::Read).kind(), read);
            assert_eq!(error.into_io(Direction::Write).kind(), write);
        }
    }

    #[test]
    fn the_error_of_a_session_is_found_inside_of_an_io_error() {
        let error = io::Error::from(SessionError::WriteTimeout(Duration::from_secs(1)));
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(SessionError::WriteTimeout(_))));
    }
}
