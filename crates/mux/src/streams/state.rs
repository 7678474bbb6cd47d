//! The states of a stream between open and closed.

/// The two directions of a stream.
///
/// ```text
///                     ┌──────┐
///         send FIN    │ Open │    receive FIN
///        ┌────────────┤      ├────────────┐
///        ▼            └───┬──┘            ▼
///  ┌───────────┐          │         ┌────────────┐
///  │ LocalDone │          │ RST     │ RemoteDone │
///  │ (reading) │          │ either  │ (writing)  │
///  └─────┬─────┘          │ way     └─────┬──────┘
///        │ receive FIN    ▼      send FIN │
///        │            ┌───────┐           │
///        ├─── RST ───►│ Reset │◄── RST ───┤
///        │            └───────┘           │
///        ▼                                ▼
///  ┌────────────────────────────────────────────┐
///  │                   Closed                   │
///  └────────────────────────────────────────────┘
/// ```
///
/// A stream in `Closed` or `Reset` is unknown on the wire: its id is removed from the map and frames for it
/// are read and dropped. Its entry lives on until the handle is dropped, so that bytes that arrived
/// before can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Both directions are open.
    Open,
    /// FIN was sent; the peer may still send.
    LocalDone,
    /// FIN was received; this end may still send.
    RemoteDone,
    /// FIN was sent and received.
    Closed,
    /// A reset ended both directions.
    Reset(ResetBy),
}

/// The initiator of a reset, which decides the error that the user of the stream receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetBy {
    /// This end.
    Local,
    /// This end, because the session closed and the stream did not finish in time.
    Close,
    /// The peer, before it accepted the stream.
    Refusal,
    /// The peer.
    Remote,
}

/// A FIN that came twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecondFin;

impl State {
    /// Returns `true` if this end may still send data.
    pub(crate) const fn can_send(self) -> bool {
        matches!(self, Self::Open | Self::RemoteDone)
    }

    /// Returns `true` if the peer may still send data.
    pub(crate) const fn can_recv(self) -> bool {
        matches!(self, Self::Open | Self::LocalDone)
    }

    /// Returns `true` if the stream has ended on the wire.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Reset(_))
    }

    /// This end sends FIN. Has no effect if it was sent before or the stream was reset.
    pub(crate) fn send_fin(&mut self) {
        *self = match *self {
            Self::Open => Self::LocalDone,
            Self::RemoteDone => Self::Closed,
            state => state,
        };
    }

    /// The peer sent FIN.
    ///
    /// # Errors
    ///
    /// Returns [`SecondFin`] if the peer has sent one before.
    pub(crate) fn recv_fin(&mut self) -> Result<(), SecondFin> {
        *self = match *self {
            Self::Open => Self::RemoteDone,
            Self::LocalDone => Self::Closed,
            Self::RemoteDone | Self::Closed => return Err(SecondFin),
            Self::Reset(by) => Self::Reset(by),
        };
        Ok(())
    }

    /// A reset, which has no effect on a stream that has ended.
    pub(crate) fn reset(&mut self, by: ResetBy) {
        if !self.is_over() {
            *self = Self::Reset(by);
        }
    }
}

/// The progress of the SYN and ACK of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// Opened here; the next frame carries SYN.
    SynDue,
    /// Opened here; the peer has not acknowledged it.
    SynSent,
    /// Opened by the peer; waiting to be accepted.
    Unaccepted,
    /// Accepted; the next frame carries ACK, exactly once.
    AckDue,
    /// Nothing is left to do.
    Done,
}

impl Handshake {
    /// Returns `true` if the stream counts against the limit of unacknowledged streams.
    pub(crate) const fn is_unacknowledged(self) -> bool {
        matches!(self, Self::SynDue | Self::SynSent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fins_close_in_either_order() {
        let mut state = State::Open;
        state.send_fin();
        assert_eq!(state, State::LocalDone);
        assert!(!state.can_send() && state.can_recv() && !state.is_over());
        state.recv_fin().unwrap();
        assert_eq!(state, State::Closed);

        let mut state = State::Open;
        state.recv_fin().unwrap();
        assert!(state.can_send() && !state.can_recv() && !state.is_over());
        state.send_fin();
        assert_eq!(state, State::Closed);
        assert!(state.is_over());
    }

    #[test]
    fn a_second_fin_of_the_peer_is_an_error() {
        let mut state = State::Open;
        state.recv_fin().unwrap();
        assert_eq!(state.recv_fin(), Err(SecondFin));
        assert_eq!(state, State::RemoteDone);
    }

    #[test]
    fn a_second_fin_of_this_end_changes_nothing() {
        let mut state = State::Open;
        state.send_fin();
        state.send_fin();
        assert_eq!(state, State::LocalDone);
    }

    #[test]
    fn a_reset_is_final_and_the_first_one_counts() {
        let mut state = State::Open;
        state.reset(ResetBy::Remote);
        state.reset(ResetBy::Local);
        state.send_fin();
        state.recv_fin().unwrap();
        assert_eq!(state, State::Reset(ResetBy::Remote));
        assert!(!state.can_send() && !state.can_recv());

        let mut state = State::Open;
        state.send_fin();
        state.recv_fin().unwrap();
        state.reset(ResetBy::Remote);
        assert_eq!(state, State::Closed);
    }

    #[test]
    fn only_own_streams_without_a_response_are_unacknowledged() {
        assert!(Handshake::SynDue.is_unacknowledged());
        assert!(Handshake::SynSent.is_unacknowledged());
        assert!(!Handshake::Unaccepted.is_unacknowledged());
        assert!(!Handshake::AckDue.is_unacknowledged());
        assert!(!Handshake::Done.is_unacknowledged());
    }
}
