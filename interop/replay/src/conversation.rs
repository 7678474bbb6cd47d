//! A recording as frames and as calls.

use std::collections::BTreeMap;

use keyway_test_support::frame::{Flags, Frame, FrameDecoder, FrameError, Kind};

use crate::http::{Message, MessageError};
use crate::recording::{Recording, Side};

/// The frames of a plugin connection in the order in which they were recorded, behind the upgrade if there was one.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// `GET /hijack` and its response, byte for byte.
    pub upgrade: Option<(Vec<u8>, Vec<u8>)>,
    /// The sender of each frame, and the frame.
    pub frames: Vec<(Side, Frame)>,
    /// The ends of halves and of the connection, in order.
    pub events: Vec<(Side, String)>,
}

/// One request and its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The side that opened the stream.
    pub opener: Side,
    /// The stream; 0 outside of a plugin connection.
    pub stream: u32,
    /// The request.
    pub request: Message,
    /// The response.
    pub response: Message,
}

/// The error of a recording that is not a conversation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// The bytes of one side are not frames.
    #[error("the bytes of the {side} are not frames")]
    Frame {
        /// The side.
        side: Side,
        /// The fault.
        source: FrameError,
    },
    /// The bytes of one stream are not an HTTP message.
    #[error("the bytes of stream {stream} are not a message")]
    Http {
        /// The stream.
        stream: u32,
        /// The fault.
        source: MessageError,
    },
    /// A message or frame is not complete, or something follows it.
    #[error("{what} does not end where it should")]
    LeftOver {
        /// The frames of a side or the messages of a stream.
        what: String,
    },
}

impl Recording {
    /// The recording of a plugin connection as frames.
    ///
    /// # Errors
    ///
    /// Returns [`ConversationError`] if the bytes are not frames, or some are left over.
    pub fn conversation(&self) -> Result<Conversation, ConversationError> {
        let mut upgrade = self.upgrade();
        let mut skip = upgrade.as_ref().map_or((0, 0), |(a, b)| (a.len(), b.len()));
        let mut decoders = [
            (Side::Plugin, FrameDecoder::default()),
            (Side::Runtime, FrameDecoder::default()),
        ];
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        for chunk in &self.chunks {
            if let Some(event) = &chunk.event {
                events.push((chunk.from, event.clone()));
            }
            let ours = chunk.from == Side::Plugin;
            let (skipped, decoder) = if ours {
                (&mut skip.0, &mut decoders[0].1)
            } else {
                (&mut skip.1, &mut decoders[1].1)
            };
            let start = (*skipped).min(chunk.bytes.len());
            *skipped -= start;
            decoder.push(&chunk.bytes[start..]);
            let fault = |source| ConversationError::Frame {
                side: chunk.from,
                source,
            };
            while let Some(frame) = decoder.next_frame().map_err(fault)? {
                frames.push((chunk.from, frame));
            }
        }
        for (side, decoder) in &decoders {
            if !decoder.pending().is_empty() {
                let what = format!("the last frame of the {side}");
                return Err(ConversationError::LeftOver { what });
            }
        }
        Ok(Conversation {
            upgrade: upgrade.take(),
            frames,
            events,
        })
    }

    /// The HTTP heads before the first frame. A frame starts with a zero, a
    /// request with a letter.
    fn upgrade(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let head = |side| {
            let bytes = self.bytes(side);
            let is_text = bytes.first().is_some_and(u8::is_ascii_alphabetic);
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
            is_text.then(|| bytes[..end + 4].to_vec())
        };
        Some((head(Side::Plugin)?, head(Side::Runtime)?))
    }

    /// The calls of a client's connection, which has no frames.
    ///
    /// # Errors
    ///
    /// Returns [`ConversationError`] if the bytes are not messages, or some are left over.
    pub fn client_calls(&self) -> Result<Vec<Call>, ConversationError> {
        let (mut requests, mut responses) = (self.bytes(Side::Client), self.bytes(Side::Daemon));
        let mut calls = Vec::new();
        while let Some((request, response)) = pair(0, &mut requests, &mut responses)? {
            calls.push(Call {
                opener: Side::Client,
                stream: 0,
                request,
                response,
            });
        }
        finished(0, &requests, &responses)?;
        Ok(calls)
    }
}

fn pair(
    stream: u32,
    requests: &mut Vec<u8>,
    responses: &mut Vec<u8>,
) -> Result<Option<(Message, Message)>, ConversationError> {
    let fault = |source| ConversationError::Http { stream, source };
    let Some(request) = Message::take(requests, true).map_err(fault)? else {
        return Ok(None);
    };
    let response = Message::take(responses, true).map_err(fault)?;
    let missing = || ConversationError::LeftOver {
        what: format!("the response on stream {stream}"),
    };
    Ok(Some((request, response.ok_or_else(missing)?)))
}

fn finished(stream: u32, requests: &[u8], responses: &[u8]) -> Result<(), ConversationError> {
    if requests.is_empty() && responses.is_empty() {
        return Ok(());
    }
    let what = format!("the last message of stream {stream}");
    Err(ConversationError::LeftOver { what })
}

impl Conversation {
    /// The calls in the order in which their streams were opened.
    ///
    /// # Errors
    ///
    /// Returns [`ConversationError`] if a stream holds anything but one request and one response.
    pub fn calls(&self) -> Result<Vec<Call>, ConversationError> {
        let mut streams: BTreeMap<u32, (usize, Side, Vec<u8>, Vec<u8>)> = BTreeMap::new();
        for (order, (from, frame)) in self.frames.iter().enumerate() {
            let session = matches!(frame.header.kind, Kind::Ping | Kind::GoAway);
            if !session && frame.has(Flags::SYN) {
                streams.insert(
                    frame.header.stream_id,
                    (order, *from, Vec::new(), Vec::new()),
                );
            }
            if let Some((_, opener, requests, responses)) = streams.get_mut(&frame.header.stream_id)
            {
                let bytes = if opener == from { requests } else { responses };
                bytes.extend_from_slice(&frame.payload);
            }
        }
        let mut calls = Vec::new();
        for (stream, (order, opener, mut requests, mut responses)) in streams {
            if let Some((request, response)) = pair(stream, &mut requests, &mut responses)? {
                let call = Call {
                    opener,
                    stream,
                    request,
                    response,
                };
                calls.push((order, call));
            }
            finished(stream, &requests, &responses)?;
        }
        calls.sort_by_key(|(order, _)| *order);
        Ok(calls.into_iter().map(|(_, call)| call).collect())
    }
}
