//! The frames of the peer and their effects.

use std::time::Instant;

use super::{Core, Event};
use crate::{
    config::INITIAL_WINDOW,
    error::{ProtocolError, SessionError, StreamId},
    frame::{Flags, Header, Item, Kind},
    streams::{Block, Handshake, Key, ResetBy, State},
};

impl Core {
    /// Decodes the first `filled` bytes of a block. Frames may be cut anywhere; bytes after the session's end are dropped.
    ///
    /// The session fails if the peer violates the protocol.
    #[inline]
    pub(crate) fn receive(&mut self, now: Instant, block: &mut Block, filled: usize) {
        block.mark_used(filled);
        let block = &*block;
        if filled == 0 || self.is_over() {
            return;
        }
        self.now = now;
        self.heard(now);
        if self.is_flooded() {
            let limit = self.config.max_control_replies;
            self.fail_protocol(now, ProtocolError::TooManyReplies { limit });
        }
        let mut input = &block.bytes()[..filled];
        while !self.is_over() {
            let outcome = match self.decoder.next(&mut input) {
                Ok(None) => return,
                Ok(Some(Item::Header(header))) => self.receive_header(now, header),
                Ok(Some(Item::Payload { bytes, last })) => {
                    let end = filled - input.len();
                    self.receive_payload(block, end - bytes.len(), end);
                    if last { self.finish_body() } else { Ok(()) }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.fail_protocol(now, error);
            }
        }
    }

    fn receive_header(&mut self, now: Instant, header: Header) -> Result<(), ProtocolError> {
        tracing::trace!(session = self.session, ?header, "received a frame");
        match header.kind {
            Kind::Data => self.receive_data(header),
            Kind::WindowUpdate => self.receive_window_update(header),
            Kind::Ping => self.receive_ping(now, header),
            Kind::GoAway => {
                self.receive_go_away(now, header.length);
                Ok(())
            }
        }
    }

    fn receive_data(&mut self, header: Header) -> Result<(), ProtocolError> {
        let key = self.find_or_open(header)?;
        let target = match key {
            Some(key) => self.reserve(key, header.length)?,
            None => None,
        };
        self.body = target.map(|key| (key, header.flags.contains(Flags::FIN)));
        if let Some(key) = key {
            self.receive_ack_and_reset(key, header);
        }
        if header.length == 0 {
            return self.finish_body();
        }
        Ok(())
    }

    /// The stream of a stream frame, which SYN opens. `None` if it is unknown or refused. That is not an error, because
    /// frames race with resets.
    fn find_or_open(&mut self, header: Header) -> Result<Option<Key>, ProtocolError> {
        if header.stream_id == 0 {
            return Err(ProtocolError::StreamZero);
        }
        if header.flags.contains(Flags::SYN) {
            self.receive_syn(header)
        } else {
            Ok(self.store.find(header.stream_id))
        }
    }

    fn receive_syn(&mut self, header: Header) -> Result<Option<Key>, ProtocolError> {
        let stream = StreamId(header.stream_id);
        if self.role.owns(header.stream_id) {
            return Err(ProtocolError::WrongParity { stream });
        }
        if self.store.find(header.stream_id).is_some() {
            return Err(ProtocolError::DuplicateStream { stream });
        }
        // Checked before the stream exists, so that a frame that is too long opens none.
        if header.kind == Kind::Data && header.length > INITIAL_WINDOW {
            let (length, window) = (header.length, INITIAL_WINDOW);
            return Err(ProtocolError::WindowExceeded {
                stream,
                length,
                window,
            });
        }
        if header.flags.contains(Flags::RST) {
            return Ok(None);
        }
        if self.local_go_away
            || self.accept_queue.len() >= self.config.accept_backlog
            || self.store.live() >= self.config.max_streams
        {
            self.stats.refused += 1;
            self.log_stream(header.stream_id, "stream refused");
            self.push_reply(Header::window_update(header.stream_id, Flags::RST, 0))?;
            return Ok(None);
        }
        Ok(Some(self.enqueue_accept(header.stream_id)))
    }

    /// Takes the payload's length out of the receive window. Returns the stream that gets the frame, if it is still
    /// received: a stream without a handle gets no bytes, but its FIN takes effect.
    fn reserve(&mut self, key: Key, length: u32) -> Result<Option<Key>, ProtocolError> {
        let fits = self.buffered.saturating_add(length as usize) <= self.config.max_buffered;
        let Some(entry) = self.store.get_mut(key) else {
            return Ok(None);
        };
        if !entry.state.can_recv() {
            return Ok(None);
        }
        let window = entry.recv_window.available();
        if entry.recv_window.receive(length).is_err() {
            let stream = StreamId(key.id);
            return Err(ProtocolError::WindowExceeded {
                stream,
                length,
                window,
            });
        }
        if entry.is_handle_dropped {
            // Unread data is dropped silently, because a reset could destroy the last bytes that this end sent. The
            // stream is reset later if the peer has used up its window.
            if length > 0 && entry.recv_window.available() == 0 {
                let now = self.now;
                self.linger_before_reset(key, || now);
            }
            return Ok(Some(key));
        }
        if !fits {
            self.log_stream(key.id, "stream reset: too many unread bytes");
            self.reset_stream(key, ResetBy::Local);
            return Ok(None);
        }
        Ok(Some(key))
    }

    fn receive_payload(&mut self, block: &Block, start: usize, end: usize) {
        self.stats.bytes_received += (end - start) as u64;
        if let Some((key, _)) = self.body
            && self.store_payload(key, block, start, end)
            && self.events.back() != Some(&Event::Readable(key))
        {
            self.events.push_back(Event::Readable(key));
        }
    }

    /// The payload of a data frame is complete, and its FIN takes effect. A reader must not see the end before the last
    /// bytes.
    fn finish_body(&mut self) -> Result<(), ProtocolError> {
        match self.body.take() {
            Some((key, true)) => self.receive_fin(key),
            _ => Ok(()),
        }
    }

    fn receive_window_update(&mut self, header: Header) -> Result<(), ProtocolError> {
        let Some(key) = self.find_or_open(header)? else {
            return Ok(());
        };
        if let Some(entry) = self.store.get_mut(key) {
            let was_empty = entry.send_window.available() == 0;
            if entry.send_window.credit(header.length).is_err() {
                return Err(ProtocolError::WindowOverflow {
                    stream: StreamId(key.id),
                });
            }
            if was_empty && header.length > 0 {
                self.events.push_back(Event::Writable(key));
            }
        }
        self.receive_ack_and_reset(key, header);
        if header.flags.contains(Flags::FIN) {
            self.receive_fin(key)
        } else {
            Ok(())
        }
    }

    fn receive_ack_and_reset(&mut self, key: Key, header: Header) {
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        // A peer that sends anything but a reset has accepted the stream.
        let is_acknowledgement = header.flags.contains(Flags::ACK)
            || header.length > 0
            || !header.flags.contains(Flags::RST);
        if is_acknowledgement && entry.handshake == Handshake::SynSent {
            entry.handshake = Handshake::Done;
            self.acknowledged();
        }
        if header.flags.contains(Flags::RST) {
            self.receive_reset(key);
        }
    }

    fn receive_reset(&mut self, key: Key) {
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        let (by, event) = if entry.handshake.is_unacknowledged() {
            (ResetBy::Refusal, "stream refused by the peer")
        } else {
            (ResetBy::Remote, "stream reset by the peer")
        };
        entry.state.reset(by);
        self.log_stream(key.id, event);
        self.notify(key);
        self.remove_id(key);
    }

    fn receive_fin(&mut self, key: Key) -> Result<(), ProtocolError> {
        let Some(entry) = self.store.get_mut(key) else {
            return Ok(());
        };
        if entry.state.recv_fin().is_err() {
            return Err(ProtocolError::DuplicateFin {
                stream: StreamId(key.id),
            });
        }
        if entry.state != State::Reset(ResetBy::Local) {
            entry.eof = true;
        }
        let is_over = entry.state.is_over();
        self.events.push_back(Event::Readable(key));
        if is_over {
            self.remove_id(key);
        }
        Ok(())
    }

    fn receive_ping(&mut self, now: Instant, header: Header) -> Result<(), ProtocolError> {
        if header.flags.contains(Flags::SYN) {
            return self.push_reply(Header::ping(Flags::ACK, header.length));
        }
        if header.flags.contains(Flags::ACK) {
            self.receive_pong(now, header.length);
        }
        Ok(())
    }

    fn receive_go_away(&mut self, now: Instant, code: u32) {
        if code != 0 {
            self.fail(now, SessionError::RemoteGoAway { code });
            return;
        }
        tracing::debug!(session = self.session, "GoAway received");
        self.remote_go_away = true;
        self.events.push_back(Event::Openable);
        self.events.push_back(Event::PeerDraining);
    }
}
