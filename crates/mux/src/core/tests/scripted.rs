//! A scripted peer, which records every frame that it received.

use std::{
    task::Poll,
    time::{Duration, Instant},
};

use super::pair::Pair;
use crate::{
    config::Config,
    core::{Core, Event, Outcome},
    error::{ProtocolError, SessionError},
    frame::{Decoder, Flags, Header, Item, Kind},
    streams::Key,
};

/// A server core with a scripted peer.
pub(super) struct Scripted {
    pair: Pair,
    decoder: Decoder,
}

impl Scripted {
    pub(super) fn new(config: Config) -> Self {
        Self {
            pair: Pair::with(Config::default(), config),
            decoder: Decoder::default(),
        }
    }

    pub(super) fn core(&mut self) -> &mut Core {
        &mut self.pair.server.core
    }

    pub(super) fn side(&mut self) -> &mut super::pair::Side {
        &mut self.pair.server
    }

    pub(super) fn now(&self) -> Instant {
        self.pair.now
    }

    /// The peer sends a header.
    pub(super) fn send(&mut self, header: Header) {
        self.send_bytes(&header.encode());
    }

    /// The peer sends a data frame.
    pub(super) fn send_data(&mut self, stream: u32, flags: Flags, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap();
        self.send(Header::data(stream, flags, length));
        self.send_bytes(payload);
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        let now = self.pair.now;
        self.pair.server.feed(now, bytes);
    }

    /// The peer opens a stream, which is accepted.
    pub(super) fn opened(&mut self, id: u32) -> Key {
        self.send(Header::window_update(id, Flags::SYN, 0));
        self.accept()
    }

    /// The same, after the acknowledgement was received.
    pub(super) fn acknowledged(&mut self, id: u32) -> Key {
        let key = self.opened(id);
        self.wait(Duration::from_millis(5));
        assert_eq!(self.headers(), [Header::window_update(id, Flags::ACK, 0)]);
        key
    }

    pub(super) fn accept(&mut self) -> Key {
        self.pair.accept()
    }

    /// The frames that were sent to the peer since the last call.
    pub(super) fn received(&mut self) -> Vec<(Header, Vec<u8>)> {
        let core = &mut self.pair.server.core;
        let mut bytes = Vec::new();
        while core.wants_to_send() {
            core.stage();
            let (front, back) = core.out.parts();
            bytes.extend_from_slice(front);
            bytes.extend_from_slice(back);
            core.out.consume(bytes.len());
            core.out.flushed();
        }
        if core.out.is_empty() {
            core.sent_everything(self.pair.now);
        }
        let mut frames: Vec<(Header, Vec<u8>)> = Vec::new();
        let mut input = &bytes[..];
        while let Some(item) = self.decoder.next(&mut input).unwrap() {
            match item {
                Item::Header(header) => frames.push((header, Vec::new())),
                Item::Payload { bytes, .. } => {
                    frames.last_mut().unwrap().1.extend_from_slice(bytes);
                }
            }
        }
        frames
    }

    /// Writes until the window of a stream is used up, and returns how much.
    pub(super) fn fill_window(&mut self, key: Key) -> usize {
        let mut sent = 0;
        loop {
            match self.side().write(key, &[0; 100_000]) {
                Poll::Ready(written) => sent += written.unwrap(),
                Poll::Pending => {
                    while self.side().poll() {}
                    if !self.side().happened(Event::Writable(key)) {
                        return sent;
                    }
                }
            }
            assert!(sent < 1 << 20, "no window ends");
            self.received();
        }
    }

    /// The headers alone.
    pub(super) fn headers(&mut self) -> Vec<Header> {
        self.received()
            .into_iter()
            .map(|(header, _)| header)
            .collect()
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.pair.now += duration;
        let now = self.pair.now;
        self.core().handle_timeout(now);
        self.pair.server.collect();
    }

    /// The outcome of the session, which must have ended.
    pub(super) fn outcome(&mut self) -> Outcome {
        match self.core().outcome() {
            Some(outcome) => outcome.clone(),
            None => panic!("the session has not ended"),
        }
    }

    /// The violation of the protocol that has ended the session.
    pub(super) fn protocol_error(&mut self) -> ProtocolError {
        match self.outcome() {
            Err(SessionError::Protocol(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The handle of a stream is dropped.
    pub(super) fn drop_handle(&mut self, key: Key) {
        let now = self.now();
        self.core().handle_dropped(key, || now);
    }

    pub(super) fn nothing_to_accept(&mut self) -> bool {
        let now = self.pair.now;
        matches!(self.core().accept(|| now), Poll::Pending)
    }
}

/// Returns `true` if the frame is a GoAway with this code.
pub(super) fn is_go_away(header: &Header, code: u32) -> bool {
    header.kind == Kind::GoAway && header.length == code
}
