//! The messages of the live peer, matched with the calls of the recording.

use keyway_test_support::frame::{Flags, Frame};

use super::playback::Playback;
use super::transcript::Exchange;
use crate::conversation::Call;
use crate::http::Message;

/// The bytes of the live peer on one stream.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    ended: bool,
    done: bool,
}

impl Playback {
    pub(super) fn receive_on_stream(&mut self, frame: Frame) -> Result<(), String> {
        if frame.has(Flags::RST) {
            return Err(format!("the peer reset stream {}", frame.header.stream_id));
        }
        let received = self.received.entry(frame.header.stream_id).or_default();
        received.bytes.extend(&frame.payload);
        received.ended |= frame.has(Flags::FIN);
        if received.done {
            return match received.bytes.len() {
                0 => Ok(()),
                extra => Err(format!(
                    "{extra} bytes follow the message of stream {}",
                    frame.header.stream_id
                )),
            };
        }
        let message =
            Message::take(&mut received.bytes, received.ended).map_err(|e| e.to_string())?;
        let Some(message) = message else {
            if received.ended {
                return Err(format!(
                    "stream {} ended before its message",
                    frame.header.stream_id
                ));
            }
            return Ok(());
        };
        received.done = true;
        if message.path().is_empty() {
            return self.receive_response(frame.header.stream_id, message);
        }
        // A Go server that reads the end of a request's stream cancels the handler.
        if received.ended {
            return Err(format!(
                "stream {} was ended before its response was read",
                frame.header.stream_id
            ));
        }
        self.receive_request(frame.header.stream_id, message)
    }

    /// Records a response on a stream that this side opened.
    fn receive_response(&mut self, stream: u32, live: Message) -> Result<(), String> {
        let ours = |call: &&Call| call.stream == stream && call.opener == self.player.side;
        let recorded = self.player.script.calls.iter().find(ours).cloned();
        let recorded =
            recorded.ok_or_else(|| format!("a response on stream {stream} without a request"))?;
        self.complete.insert(stream);
        self.record(Exchange { recorded, live });
        Ok(())
    }

    fn record(&mut self, exchange: Exchange) {
        (self.player.watch)(&exchange);
        self.transcript.exchanges.push(exchange);
    }

    /// Matches a request of the peer with the first equal one of the recording.
    fn receive_request(&mut self, stream: u32, live: Message) -> Result<(), String> {
        let mut skipped = Vec::new();
        for call in &self.player.script.calls {
            if call.opener == self.player.side || self.is_done(call.stream) {
                continue;
            }
            let same = call.request.path() == live.path() && (self.player.same)(call, &live);
            if same {
                self.skipped.extend(skipped);
                self.complete.insert(call.stream);
                self.live_of.insert(call.stream, stream);
                let recorded = call.clone();
                self.record(Exchange { recorded, live });
                return Ok(());
            }
            if !(self.player.optional)(call) {
                let (path, wanted) = (live.path(), call.request.path());
                return Err(format!(
                    "the peer called {path} where {wanted} was recorded, or with another message"
                ));
            }
            skipped.push(call.stream);
        }
        Err(format!("the peer called {} once more", live.path()))
    }

    /// Returns `true` if the peer's message on a recorded stream is complete, or its optional call was not made.
    pub(super) fn is_done(&self, recorded: u32) -> bool {
        self.complete.contains(&recorded) || self.skipped.contains(&recorded)
    }

    fn outstanding(&self) -> impl Iterator<Item = &Call> {
        let calls = self.player.script.calls.iter();
        calls.filter(|call| !self.is_done(call.stream))
    }

    /// Returns `true` if nothing of the recording is outstanding.
    pub(super) fn is_finished(&self) -> bool {
        self.next == self.player.script.steps.len()
            && self.outstanding().next().is_none()
            && self.audit.left_open().is_empty()
            && self.audit.pings_acknowledged()
    }

    /// Names the outstanding parts of the recording.
    pub(super) fn missing(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for call in self.outstanding() {
            parts.push(match call.opener == self.player.side {
                true => format!("the response to {}", call.request.path()),
                false => format!("the call of {}", call.request.path()),
            });
        }
        parts.extend(
            self.audit
                .left_open()
                .iter()
                .map(|id| format!("the end of stream {id}")),
        );
        if !self.audit.pings_acknowledged() {
            parts.push("the response to a ping".to_owned());
        }
        format!("still missing: {}", parts.join(", "))
    }
}
