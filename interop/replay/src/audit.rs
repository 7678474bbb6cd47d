//! What a Go peer does not accept.

use std::collections::BTreeMap;
use std::fmt;

use crate::frame::{Frame, FrameKind, flags};
use crate::recording::Side;

/// The window that every stream starts with.
const WINDOW: i64 = 256 * 1024;

/// A frame that the recorded peer would not have accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{frame}: {rule}")]
pub struct Violation {
    frame: String,
    rule: &'static str,
}

#[derive(Debug, Default)]
struct Stream {
    opened_by_us: bool,
    acknowledged: bool,
    ours_spoken: bool,
    theirs_ended: bool,
    reset: bool,
    /// What the side under test may still send.
    credit: i64,
}

/// Follows a connection, of which one side is under test, and checks each of
/// its frames against the rules of HashiCorp's implementation.
pub struct Audit {
    tested: Side,
    streams: BTreeMap<u32, Stream>,
    last_opened: u32,
    pings: Vec<u32>,
    went_away: bool,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("tested", &self.tested)
            .finish_non_exhaustive()
    }
}

impl Audit {
    /// An audit of what `tested` sends.
    pub fn new(tested: Side) -> Self {
        Self {
            tested,
            streams: BTreeMap::new(),
            last_opened: 0,
            pings: Vec::new(),
            went_away: false,
        }
    }

    /// Takes note of a frame that the side under test is going to read.
    pub fn sent(&mut self, frame: &Frame) {
        if frame.kind == FrameKind::Ping {
            if frame.has(flags::SYN) {
                self.pings.push(frame.value);
            }
            return;
        }
        if frame.has(flags::SYN) {
            let stream = Stream {
                opened_by_us: true,
                credit: WINDOW,
                ..Stream::default()
            };
            self.streams.insert(frame.stream, stream);
        }
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.ours_spoken |= !frame.payload.is_empty();
            stream.reset |= frame.has(flags::RST);
            if frame.kind == FrameKind::WindowUpdate {
                stream.credit += i64::from(frame.value);
            }
        }
    }

    /// Checks a frame of the side under test.
    ///
    /// # Errors
    ///
    /// When the recorded peer would have ended the session, or the stream, or
    /// lost data.
    pub fn received(&mut self, frame: &Frame) -> Result<(), Violation> {
        let broken = match frame.kind {
            FrameKind::Ping => self.ping(frame),
            FrameKind::GoAway => self.go_away(frame),
            FrameKind::Data | FrameKind::WindowUpdate => self.of_stream(frame),
        };
        broken.map_or(Ok(()), |rule| {
            Err(Violation {
                frame: frame.to_string(),
                rule,
            })
        })
    }

    fn ping(&mut self, frame: &Frame) -> Option<&'static str> {
        if frame.stream != 0 {
            return Some("a ping belongs to no stream");
        }
        if !frame.has(flags::ACK) {
            return None;
        }
        let asked = self.pings.iter().position(|value| *value == frame.value);
        match asked {
            Some(at) => {
                self.pings.remove(at);
                None
            }
            None => Some("nobody asked for this answer"),
        }
    }

    fn go_away(&mut self, frame: &Frame) -> Option<&'static str> {
        if frame.value != 0 {
            return Some("a code other than 0 ends the session with an error");
        }
        std::mem::replace(&mut self.went_away, true).then_some("a second GoAway")
    }

    fn of_stream(&mut self, frame: &Frame) -> Option<&'static str> {
        if frame.has(flags::SYN)
            && let Some(rule) = self.open(frame)
        {
            return Some(rule);
        }
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            return Some("nobody opened this stream");
        };
        let rule = stream.rule_for(frame);
        stream.credit -= i64::try_from(frame.payload.len()).unwrap_or(i64::MAX);
        stream.acknowledged |= frame.has(flags::ACK);
        stream.theirs_ended |= frame.has(flags::FIN);
        stream.reset |= frame.has(flags::RST);
        rule
    }

    fn open(&mut self, frame: &Frame) -> Option<&'static str> {
        if self.streams.contains_key(&frame.stream) {
            return Some("a second SYN ends the session");
        }
        let odd = frame.stream % 2 == 1;
        if odd != (self.tested == Side::Plugin) {
            return Some("the plugin opens odd streams and the runtime even ones");
        }
        if frame.stream <= self.last_opened {
            return Some("stream ids must grow");
        }
        self.last_opened = frame.stream;
        let stream = Stream {
            credit: WINDOW,
            ..Stream::default()
        };
        self.streams.insert(frame.stream, stream);
        None
    }

    /// Streams that the side under test left open, by their ids. The recorded
    /// peer would wait for 2 s for each of them.
    pub fn left_open(&self) -> Vec<u32> {
        let open = self.streams.iter();
        open.filter(|(_, stream)| !stream.theirs_ended && !stream.reset)
            .map(|(id, _)| *id)
            .collect()
    }

    /// True when every ping to the side under test was answered.
    pub fn pings_answered(&self) -> bool {
        self.pings.is_empty()
    }

    /// True when the side under test has sent GoAway(0).
    pub fn went_away(&self) -> bool {
        self.went_away
    }
}

impl Stream {
    fn rule_for(&self, frame: &Frame) -> Option<&'static str> {
        if self.reset {
            // It may have been sent before the reset was read.
            return None;
        }
        if self.theirs_ended {
            return Some(if frame.has(flags::FIN) {
                "a second FIN ends the session"
            } else if frame.kind == FrameKind::Data {
                "data after FIN"
            } else {
                return None;
            });
        }
        if frame.has(flags::ACK) && (!self.opened_by_us || self.acknowledged) {
            return Some("an acknowledgement too many frees another stream's slot");
        }
        if frame.kind == FrameKind::Data && frame.has(flags::FIN) {
            return Some("a Go reader sees the end before the data when FIN rides on it");
        }
        if frame.has(flags::FIN) && !self.opened_by_us && !self.ours_spoken {
            return Some("the end of a request before its answer cancels a Go handler");
        }
        let length = i64::try_from(frame.payload.len()).unwrap_or(i64::MAX);
        (length > self.credit).then_some("data over the window ends the session")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, flags: u16, stream: u32, length: usize) -> Frame {
        let data = kind == FrameKind::Data;
        Frame {
            kind,
            flags,
            stream,
            value: if data {
                u32::try_from(length).unwrap()
            } else {
                0
            },
            payload: vec![0; if data { length } else { 0 }],
        }
    }

    fn broken_rule(frames: &[Frame]) -> Option<&'static str> {
        let mut audit = Audit::new(Side::Runtime);
        audit.sent(&frame(FrameKind::WindowUpdate, flags::SYN, 1, 0));
        let results = frames.iter().map(|frame| audit.received(frame));
        results
            .last()
            .and_then(Result::err)
            .map(|violation| violation.rule)
    }

    #[test]
    fn an_ordinary_exchange_passes() {
        use FrameKind::{Data, WindowUpdate};
        assert_eq!(
            broken_rule(&[
                frame(WindowUpdate, flags::ACK, 1, 0),
                frame(Data, 0, 1, 20),
                frame(WindowUpdate, flags::FIN, 1, 0),
                frame(WindowUpdate, flags::SYN, 2, 0),
            ]),
            None
        );
    }

    #[test]
    fn each_rule_is_noticed() {
        use FrameKind::{Data, GoAway, Ping, WindowUpdate};
        let fin = || frame(WindowUpdate, flags::FIN, 1, 0);
        for (frames, rule) in [
            (vec![fin(), fin()], "a second FIN ends the session"),
            (vec![fin(), frame(Data, 0, 1, 1)], "data after FIN"),
            (
                vec![frame(Data, flags::FIN, 1, 1)],
                "a Go reader sees the end before the data when FIN rides on it",
            ),
            (
                vec![frame(WindowUpdate, flags::SYN, 1, 0)],
                "a second SYN ends the session",
            ),
            (
                vec![frame(WindowUpdate, flags::SYN, 3, 0)],
                "the plugin opens odd streams and the runtime even ones",
            ),
            (
                vec![frame(WindowUpdate, flags::ACK, 1, 0); 2],
                "an acknowledgement too many frees another stream's slot",
            ),
            (
                vec![
                    frame(WindowUpdate, flags::SYN, 2, 0),
                    frame(WindowUpdate, flags::FIN, 2, 0),
                ],
                "the end of a request before its answer cancels a Go handler",
            ),
            (
                vec![frame(Data, 0, 1, 256 * 1024 + 1)],
                "data over the window ends the session",
            ),
            (vec![frame(Data, 0, 9, 1)], "nobody opened this stream"),
            (vec![frame(GoAway, 0, 0, 0); 2], "a second GoAway"),
            (
                vec![frame(Ping, flags::ACK, 0, 0)],
                "nobody asked for this answer",
            ),
        ] {
            assert_eq!(broken_rule(&frames), Some(rule));
        }
    }

    #[test]
    fn credit_lets_more_through() {
        let mut audit = Audit::new(Side::Runtime);
        audit.sent(&frame(FrameKind::WindowUpdate, flags::SYN, 1, 0));
        let mut update = frame(FrameKind::WindowUpdate, 0, 1, 0);
        update.value = 1;
        audit.sent(&update);
        let data = frame(FrameKind::Data, 0, 1, 256 * 1024 + 1);
        assert_eq!(audit.received(&data), Ok(()));
        assert_eq!(audit.left_open(), [1]);
    }
}
