//! The end of a session: GoAway, draining, failure.

use std::{
    io::ErrorKind,
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    Core, Event,
    timing::{Deadlines, Timer},
};
use crate::{
    error::{ProtocolError, SessionError},
    frame::Header,
    streams::{Key, ResetBy},
};

/// The result of a session.
pub(crate) type Outcome = Result<(), SessionError>;

/// The time for the peer to close its side of the connection after the last byte was sent, for the last frames of a
/// failed session to be sent, and for bytes of the peer to arrive after writing failed.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// The phase of a session.
///
/// ```text
///  Running ── close ──► Draining ── no streams, or deadline ──► Finishing ── flushed ──► Ended
///     │                    │                                        ▲                     ▲
///     ├──── failure ───────┼────────────────────────────────────────┘                     │
///     ├──── write failed ──┴─────────────────────► WriteFailed ── deadline ───────────────┤
///     └──── the connection's end, or write timeout ───────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    /// Streams can be opened.
    Running,
    /// Only the open streams continue. Without a deadline, they may take any time.
    Draining,
    /// Writing to the connection failed. Bytes that the peer sent before can still be received for a short time.
    WriteFailed(SessionError),
    /// All streams have ended, and the last frames are being sent. There is no deadline while a session that
    /// did not fail has bytes to send: the write timeout bounds that.
    Finishing(Outcome),
    /// Nothing is sent or received any more.
    Ended(Outcome),
}

impl Core {
    /// Sends GoAway(0). Streams that the peer still opens are refused.
    /// Opening here stays possible.
    pub(crate) fn go_away(&mut self) {
        if self.local_go_away || self.is_over() {
            return;
        }
        self.local_go_away = true;
        self.push_frame(Header::go_away(0));
        self.events.push_back(Event::Acceptable);
    }

    /// Starts a clean end: no new streams either way, open ones finish within `timeout`. Streams that
    /// wait to be accepted are reset.
    pub(crate) fn close(&mut self, now: Instant, timeout: Option<Duration>) {
        if self.is_over() {
            return;
        }
        self.go_away();
        self.refuse_unaccepted();
        if self.write_failure().is_none() {
            self.phase = Phase::Draining;
            if let Some(timeout) = timeout {
                let deadline = self.deadlines[Timer::Phase].get_or_insert(now + timeout);
                *deadline = (now + timeout).min(*deadline);
            }
        }
        self.now = self.now.max(now);
        self.events.push_back(Event::Openable);
        self.check_drained();
    }

    /// The time that a closing session waits for its streams.
    pub(crate) const fn drain_timeout(&self) -> Duration {
        self.config.drain_timeout
    }

    /// Finishes a draining session once all streams have ended.
    pub(super) fn check_drained(&mut self) {
        if matches!(self.phase, Phase::Draining) && self.store.live() == 0 {
            self.finish_session(Ok(()), None);
        }
    }

    /// Finishes the session, unless it is over. All streams end, and queued frames may still be sent.
    fn finish_session(&mut self, outcome: Outcome, deadline: Option<Instant>) {
        if !self.is_over() {
            self.phase = Phase::Finishing(outcome);
            self.clear_streams();
            self.deadlines[Timer::Phase] = deadline;
        }
    }

    /// Everything was sent. The peer has a limited time to close its side.
    pub(crate) fn sent_everything(&mut self, now: Instant) {
        if self.is_finishing() {
            self.deadlines[Timer::Phase].get_or_insert(now + LINGER);
        }
    }

    /// The drain deadline has passed: resets the open streams.
    pub(super) fn abandon_streams(&mut self) {
        let keys: Vec<Key> = self.store.live_keys().collect();
        tracing::debug!(
            session = self.session,
            streams = keys.len(),
            "drain timeout expired, streams reset"
        );
        let streams = self.streams_in_use();
        for key in keys {
            self.reset_stream(key, ResetBy::Close);
        }
        if let Phase::Finishing(outcome) = &mut self.phase
            && streams > 0
        {
            *outcome = Err(SessionError::DrainTimeout { streams });
        }
    }

    /// Ends the session because the peer violated the protocol. GoAway(1) is sent if the peer still reads.
    pub(super) fn fail_protocol(&mut self, now: Instant, error: ProtocolError) {
        self.replies.clear();
        self.push_frame(Header::go_away(1));
        self.fail(now, SessionError::Protocol(error));
    }

    /// Ends the session with an error; queued frames may still be sent.
    pub(crate) fn fail(&mut self, now: Instant, error: SessionError) {
        if self.is_over() {
            return;
        }
        tracing::debug!(session = self.session, %error, "session failed");
        self.finish_session(Err(error), Some(now + LINGER));
    }

    /// The connection has ended. The end is clean if no stream in use and no frame was cut off. Bytes that streams
    /// have written are still sent, because the peer may have closed one direction only.
    pub(crate) fn end_of_input(&mut self) {
        let streams = self.streams_in_use();
        let is_clean = self.is_over() || (streams == 0 && self.decoder.is_at_boundary());
        if !is_clean {
            self.end(Err(if streams > 0 {
                SessionError::ConnectionLost { streams }
            } else {
                SessionError::IncompleteFrame
            }));
        } else if self.out.has_unsent_data() {
            self.is_input_closed = true;
            self.finish_session(Ok(()), None);
        } else {
            self.end(Ok(()));
        }
    }

    /// Returns `true` if the peer has closed its side of the connection.
    pub(crate) const fn is_input_closed(&self) -> bool {
        self.is_input_closed
    }

    /// Writing to the connection failed. Nothing can be sent any more, but bytes that the peer sent before can
    /// still be received for a short time.
    pub(crate) fn write_failed(&mut self, now: Instant, error: std::io::Error) {
        if self.has_ended() || self.write_failure().is_some() {
            return;
        }
        tracing::debug!(session = self.session, %error, "write to the connection failed");
        self.out.clear();
        self.replies.clear();
        self.deadlines[Timer::Write] = None;
        if self.is_over() {
            self.connection_failed(error);
            return;
        }
        self.phase = Phase::WriteFailed(SessionError::io(error));
        self.deadlines[Timer::Phase] = Some(now + LINGER);
        self.wake_all();
    }

    /// The connection failed. Some peers close like this: after GoAway, or without it if a frame of this end crossed the
    /// close. The end is clean if nothing was in flight.
    pub(crate) fn connection_failed(&mut self, error: std::io::Error) {
        let is_closing = self.local_go_away || self.remote_go_away;
        let is_close = is_closing || (is_disconnect(&error) && self.decoder.is_at_boundary());
        let has_lost_data = self.out.has_unsent_data() || self.out.has_lost_data();
        if is_close && self.streams_in_use() == 0 && !has_lost_data {
            tracing::debug!(session = self.session, %error, "connection closed abruptly by the peer");
            self.end(Ok(()));
        } else {
            self.end(Err(SessionError::io(error)));
        }
    }

    /// Shutting the connection down failed after everything was sent. That is not a fault if the peer has closed it
    /// meanwhile.
    pub(crate) fn shutdown_failed(&mut self, error: std::io::Error) {
        let fault = Some(error).filter(|error| !is_disconnect(error));
        self.end(fault.map_or(Ok(()), |error| Err(SessionError::io(error))));
    }

    /// The number of live streams that have a handle.
    fn streams_in_use(&self) -> usize {
        let is_used = |key: &Key| {
            self.store
                .get(*key)
                .is_some_and(|entry| !entry.is_handle_dropped)
        };
        self.store.live_keys().filter(is_used).count()
    }

    /// The driver was dropped. That is an error unless everything was sent.
    pub(crate) fn abandon(&mut self) {
        let is_done = self.is_finishing() && self.out.is_empty() && !self.out.has_unsent_data();
        self.end(if is_done {
            Ok(())
        } else {
            Err(SessionError::DriverDropped)
        });
    }

    /// Ends the session: nothing can be sent or received any more. The first error is its outcome; without one, bytes of
    /// streams that were not sent are an error.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.out.clear();
        let outcome = match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Ended(outcome) => outcome,
            Phase::Finishing(first) => first.and(outcome),
            Phase::WriteFailed(error) if outcome.is_err() || self.out.has_lost_data() => Err(error),
            Phase::Running | Phase::Draining | Phase::WriteFailed(_) => outcome,
        };
        self.phase = Phase::Ended(match outcome {
            Ok(()) if self.out.has_lost_data() => Err(SessionError::UnsentData),
            outcome => outcome,
        });
        self.replies.clear();
        self.clear_streams();
        self.deadlines = Deadlines::default();
    }

    /// Removes all wire ids and wakes all tasks. Entries stay for handles that still have bytes to read.
    fn clear_streams(&mut self) {
        self.buffers.clear();
        let keys: Vec<Key> = self.store.live_keys().collect();
        for key in keys {
            self.remove_id(key);
        }
        self.handshakes_due.clear();
        self.has_syn_due = false;
        self.scheduler.clear();
        self.lingering.clear();
        // Only the write timeout bounds the sending of queued frames.
        let write = self.deadlines[Timer::Write];
        self.deadlines = Deadlines::default();
        self.deadlines[Timer::Write] = write;
        self.wake_all();
    }

    fn wake_all(&mut self) {
        let keys: Vec<Key> = self.store.keys().collect();
        for key in keys {
            self.notify(key);
        }
        self.events.push_back(Event::Acceptable);
        self.events.push_back(Event::Openable);
        self.events.push_back(Event::PeerDraining);
        self.events.push_back(Event::Pong);
    }

    /// Returns `true` if all streams have ended, though queued frames may still be sent.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Finishing(_) | Phase::Ended(_))
    }

    /// Returns `true` if the connection is to be shut down once the queue is empty.
    pub(crate) const fn is_finishing(&self) -> bool {
        matches!(self.phase, Phase::Finishing(_))
    }

    /// Returns `true` if the session has ended.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Returns `true` if no stream will ever be opened here again.
    pub(crate) const fn is_closing(&self) -> bool {
        self.remote_go_away || !matches!(self.phase, Phase::Running)
    }

    /// Waits until the connection is closed. Returns the outcome.
    pub(crate) fn poll_ended(&self) -> Poll<Outcome> {
        match &self.phase {
            Phase::Ended(outcome) => Poll::Ready(outcome.clone()),
            _ => Poll::Pending,
        }
    }

    /// Waits until the peer sent GoAway(0) or the session is over.
    pub(crate) const fn poll_peer_draining(&self) -> Poll<()> {
        if self.remote_go_away || self.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The outcome, once the session is over.
    pub(crate) const fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Finishing(outcome) | Phase::Ended(outcome) => Some(outcome),
            Phase::Running | Phase::Draining | Phase::WriteFailed(_) => None,
        }
    }
}

/// Returns `true` if the peer has closed the connection without waiting for this end.
fn is_disconnect(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected
    )
}
