//! One side of a conversation, as steps.

use std::collections::HashSet;

use keyway_test_support::frame::{Flags, Frame, Kind};

use crate::conversation::{Call, Conversation, ConversationError};
use crate::recording::Side;

/// One frame to send, and the messages of the peer that must be complete before.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) frame: Frame,
    /// Streams (of the recording) whose message from the peer must be complete.
    pub(crate) after: Vec<u32>,
}

/// The steps of one side.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    pub(crate) calls: Vec<Call>,
}

impl Script {
    /// The steps of `side`. Responses to pings are left out, because the player sends them when the live peer pings.
    pub(crate) fn of(side: Side, conversation: &Conversation) -> Result<Self, ConversationError> {
        let mut steps = Vec::new();
        // Streams on which the peer has sent data, in recorded order.
        let mut received = Vec::new();
        let mut ours = HashSet::new();
        for (from, frame) in &conversation.frames {
            if *from != side {
                if frame.header.kind == Kind::Data && !received.contains(&frame.header.stream_id) {
                    received.push(frame.header.stream_id);
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
                after: needs(frame, &ours, &received),
            });
        }
        Ok(Self {
            steps,
            calls: conversation.calls()?,
        })
    }
}

/// A SYN, a ping and GoAway follow all messages before them; the other frames those of their own stream.
fn needs(frame: &Frame, ours: &HashSet<u32>, received: &[u32]) -> Vec<u32> {
    let on_session = matches!(frame.header.kind, Kind::Ping | Kind::GoAway);
    if on_session || frame.has(Flags::SYN) {
        return received.to_vec();
    }
    let is_response = !ours.contains(&frame.header.stream_id);
    if is_response || frame.has(Flags::FIN) {
        return vec![frame.header.stream_id];
    }
    Vec::new()
}
