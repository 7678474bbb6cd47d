//! One side's part of a conversation, as steps.

use std::collections::HashSet;

use keyway_mux::frame::{Flags, Frame, Kind};

use crate::conversation::{Call, Conversation, ConversationError};
use crate::recording::Side;

/// One frame to send, and what the peer must have done before.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) frame: Frame,
    /// Streams (of the recording) whose message from the peer must be complete.
    pub(crate) after: Vec<u32>,
}

/// A part.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    pub(crate) calls: Vec<Call>,
}

impl Script {
    /// The part of `side`. An answer to a ping is left out: it is given when
    /// the live peer pings.
    pub(crate) fn of(side: Side, conversation: &Conversation) -> Result<Self, ConversationError> {
        let mut steps = Vec::new();
        // Streams on which the peer has sent something, in recorded order.
        let mut heard = Vec::new();
        let mut ours = HashSet::new();
        for (from, frame) in &conversation.frames {
            if *from != side {
                if frame.header.kind == Kind::Data && !heard.contains(&frame.header.stream_id) {
                    heard.push(frame.header.stream_id);
                }
                continue;
            }
            if frame.header.kind == Kind::Ping && frame.has(Flags::ACK) {
                continue;
            }
            if frame.header.kind != Kind::Ping && frame.has(Flags::SYN) {
                ours.insert(frame.header.stream_id);
            }
            steps.push(Step {
                frame: frame.clone(),
                after: needs(frame, &ours, &heard),
            });
        }
        Ok(Self {
            steps,
            calls: conversation.calls()?,
        })
    }
}

/// Opening a stream, a ping and GoAway react to all that was heard before; the
/// other frames to what was heard on their own stream.
fn needs(frame: &Frame, ours: &HashSet<u32>, heard: &[u32]) -> Vec<u32> {
    let on_session = matches!(frame.header.kind, Kind::Ping | Kind::GoAway);
    if on_session || frame.has(Flags::SYN) {
        return heard.to_vec();
    }
    let answers = !ours.contains(&frame.header.stream_id);
    if answers || frame.has(Flags::FIN) {
        return vec![frame.header.stream_id];
    }
    Vec::new()
}
