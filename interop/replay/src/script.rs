//! One side's part of a conversation, as steps.

use std::collections::HashSet;

use crate::conversation::{Call, Conversation, ConversationError};
use crate::frame::{Frame, FrameKind, flags};
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
                if frame.kind == FrameKind::Data && !heard.contains(&frame.stream) {
                    heard.push(frame.stream);
                }
                continue;
            }
            if frame.kind == FrameKind::Ping && frame.has(flags::ACK) {
                continue;
            }
            if frame.kind != FrameKind::Ping && frame.has(flags::SYN) {
                ours.insert(frame.stream);
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
    let on_session = matches!(frame.kind, FrameKind::Ping | FrameKind::GoAway);
    if on_session || frame.has(flags::SYN) {
        return heard.to_vec();
    }
    let answers = !ours.contains(&frame.stream);
    if answers || frame.has(flags::FIN) {
        return vec![frame.stream];
    }
    Vec::new()
}
