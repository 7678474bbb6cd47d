//! The rules that a Go peer enforces.

use std::collections::BTreeMap;
use std::fmt;

use keyway_test_support::frame::{Flags, Frame, Kind};

use crate::recording::Side;

/// The window that every stream starts with.
const WINDOW: i64 = 256 * 1024;

/// The bits of all flags.
const ALL_FLAGS: u16 = 0xf;

/// A frame that the recorded peer would not have accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{frame}: {rule}")]
pub struct Violation {
    frame: String,
    rule: &'static str,
}

#[derive(Debug, Default)]
struct Stream {
    is_opened_by_player: bool,
    acknowledged: bool,
    has_response_data: bool,
    has_ended: bool,
    reset: bool,
    /// The bytes that the side under test may still send.
    credit: i64,
}

/// Follows a connection, of which one side is under test, and checks each of
/// its frames against the rules of HashiCorp's implementation.
pub struct Audit {
    tested: Side,
    streams: BTreeMap<u32, Stream>,
    last_opened: u32,
    pings: Vec<u32>,
    sent_go_away: bool,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("tested", &self.tested)
            .finish_non_exhaustive()
    }
}

impl Audit {
    /// An audit of the frames that `tested` sends.
    pub fn new(tested: Side) -> Self {
        Self {
            tested,
            streams: BTreeMap::new(),
            last_opened: 0,
            pings: Vec::new(),
            sent_go_away: false,
        }
    }

    /// Records a frame to the side under test.
    pub fn sent(&mut self, frame: &Frame) {
        if frame.header.kind == Kind::Ping {
            if frame.has(Flags::SYN) {
                self.pings.push(frame.header.length);
            }
            return;
        }
        if frame.has(Flags::SYN) {
            let stream = Stream {
                is_opened_by_player: true,
                credit: WINDOW,
                ..Stream::default()
            };
            self.streams.insert(frame.header.stream_id, stream);
        }
        if let Some(stream) = self.streams.get_mut(&frame.header.stream_id) {
            stream.has_response_data |= !frame.payload.is_empty();
            stream.reset |= frame.has(Flags::RST);
            if frame.header.kind == Kind::WindowUpdate {
                stream.credit += i64::from(frame.header.length);
            }
        }
    }

    /// Checks a frame of the side under test.
    ///
    /// # Errors
    ///
    /// Returns [`Violation`] if the recorded peer would have ended the session or the stream, or lost data.
    pub fn received(&mut self, frame: &Frame) -> Result<(), Violation> {
        let broken = match frame.header.kind {
            _ if frame.header.flags.bits() > ALL_FLAGS => Some("a flag that does not exist"),
            Kind::Ping => self.ping(frame),
            Kind::GoAway => self.go_away(frame),
            Kind::Data | Kind::WindowUpdate => self.of_stream(frame),
        };
        broken.map_or(Ok(()), |rule| {
            Err(Violation {
                frame: frame.to_string(),
                rule,
            })
        })
    }

    fn ping(&mut self, frame: &Frame) -> Option<&'static str> {
        if frame.header.stream_id != 0 {
            return Some("a ping belongs to no stream");
        }
        if !frame.has(Flags::ACK) {
            return None;
        }
        let position = self
            .pings
            .iter()
            .position(|value| *value == frame.header.length);
        match position {
            Some(at) => {
                self.pings.remove(at);
                None
            }
            None => Some("a response to a ping that was not sent"),
        }
    }

    fn go_away(&mut self, frame: &Frame) -> Option<&'static str> {
        if frame.header.length != 0 {
            return Some("a code other than 0 ends the session with an error");
        }
        std::mem::replace(&mut self.sent_go_away, true).then_some("a second GoAway")
    }

    fn of_stream(&mut self, frame: &Frame) -> Option<&'static str> {
        if frame.has(Flags::SYN)
            && let Some(rule) = self.open(frame)
        {
            return Some(rule);
        }
        let Some(stream) = self.streams.get_mut(&frame.header.stream_id) else {
            return Some("a frame of a stream that was not opened");
        };
        let rule = stream.rule_for(frame);
        stream.credit -= i64::try_from(frame.payload.len()).unwrap_or(i64::MAX);
        stream.acknowledged |= frame.has(Flags::ACK);
        stream.has_ended |= frame.has(Flags::FIN);
        stream.reset |= frame.has(Flags::RST);
        rule
    }

    fn open(&mut self, frame: &Frame) -> Option<&'static str> {
        if self.streams.contains_key(&frame.header.stream_id) {
            return Some("a second SYN ends the session");
        }
        let odd = frame.header.stream_id % 2 == 1;
        if odd != (self.tested == Side::Plugin) {
            return Some("the plugin opens odd streams and the runtime even ones");
        }
        if frame.header.stream_id <= self.last_opened {
            return Some("stream ids must grow");
        }
        self.last_opened = frame.header.stream_id;
        let stream = Stream {
            credit: WINDOW,
            ..Stream::default()
        };
        self.streams.insert(frame.header.stream_id, stream);
        None
    }

    /// The ids of streams that the side under test left open. The recorded peer would wait 2 s for each of them.
    pub fn left_open(&self) -> Vec<u32> {
        let open = self.streams.iter();
        open.filter(|(_, stream)| !stream.has_ended && !stream.reset)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Returns `true` if the side under test responded to every ping.
    pub fn pings_acknowledged(&self) -> bool {
        self.pings.is_empty()
    }

    /// Returns `true` if the side under test has sent GoAway(0).
    pub fn sent_go_away(&self) -> bool {
        self.sent_go_away
    }
}

impl Stream {
    fn rule_for(&self, frame: &Frame) -> Option<&'static str> {
        if self.reset {
            // It may have been sent before the reset was read.
            return None;
        }
        if self.has_ended {
            return Some(if frame.has(Flags::FIN) {
                "a second FIN ends the session"
            } else if frame.header.kind == Kind::Data {
                "data after FIN"
            } else {
                return None;
            });
        }
        if frame.has(Flags::ACK) && (!self.is_opened_by_player || self.acknowledged) {
            return Some("a second acknowledgement frees another stream's slot");
        }
        if frame.header.kind == Kind::Data && frame.has(Flags::FIN) {
            return Some("a Go reader sees the end before the data if the data frame carries FIN");
        }
        if frame.has(Flags::FIN) && !self.is_opened_by_player && !self.has_response_data {
            return Some("the end of a request before its response cancels a Go handler");
        }
        let length = i64::try_from(frame.payload.len()).unwrap_or(i64::MAX);
        (length > self.credit).then_some("data over the window ends the session")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window update without credit.
    fn update(stream: u32, flags: Flags) -> Frame {
        Frame::window_update(stream, flags, 0)
    }

    fn data(stream: u32, flags: Flags, length: usize) -> Frame {
        Frame::data(stream, flags, &vec![0; length])
    }

    fn broken_rule(frames: &[Frame]) -> Option<&'static str> {
        let mut audit = Audit::new(Side::Runtime);
        audit.sent(&update(1, Flags::SYN));
        let results = frames.iter().map(|frame| audit.received(frame));
        results
            .last()
            .and_then(Result::err)
            .map(|violation| violation.rule)
    }

    #[test]
    fn an_ordinary_exchange_passes() {
        assert_eq!(
            broken_rule(&[
                update(1, Flags::ACK),
                data(1, Flags::NONE, 20),
                update(1, Flags::FIN),
                update(2, Flags::SYN),
            ]),
            None
        );
    }

    #[test]
    fn each_violated_rule_is_named() {
        let fin = || update(1, Flags::FIN);
        for (frames, rule) in [
            (vec![fin(), fin()], "a second FIN ends the session"),
            (vec![fin(), data(1, Flags::NONE, 1)], "data after FIN"),
            (
                vec![data(1, Flags::FIN, 1)],
                "a Go reader sees the end before the data if the data frame carries FIN",
            ),
            (vec![update(1, Flags::SYN)], "a second SYN ends the session"),
            (
                vec![update(3, Flags::SYN)],
                "the plugin opens odd streams and the runtime even ones",
            ),
            (
                vec![update(1, Flags::ACK); 2],
                "a second acknowledgement frees another stream's slot",
            ),
            (
                vec![update(2, Flags::SYN), update(2, Flags::FIN)],
                "the end of a request before its response cancels a Go handler",
            ),
            (
                vec![data(1, Flags::NONE, 256 * 1024 + 1)],
                "data over the window ends the session",
            ),
            (
                vec![data(9, Flags::NONE, 1)],
                "a frame of a stream that was not opened",
            ),
            (vec![Frame::go_away(0); 2], "a second GoAway"),
            (
                vec![update(1, Flags::from_bits(16))],
                "a flag that does not exist",
            ),
            (
                vec![Frame::ping(Flags::ACK, 0)],
                "a response to a ping that was not sent",
            ),
        ] {
            assert_eq!(broken_rule(&frames), Some(rule));
        }
    }

    #[test]
    fn credit_extends_the_window() {
        let mut audit = Audit::new(Side::Runtime);
        audit.sent(&update(1, Flags::SYN));
        audit.sent(&Frame::window_update(1, Flags::NONE, 1));
        let data = data(1, Flags::NONE, 256 * 1024 + 1);
        assert_eq!(audit.received(&data), Ok(()));
        assert_eq!(audit.left_open(), [1]);
    }
}
