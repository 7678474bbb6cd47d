//! Recorded conversations of real peers, and a player that takes the real
//! side's part in them again.
//!
//! A [`Recording`] is what two programs said to each other, byte for byte. Its
//! [`Conversation`] is the same as yamux frames, and its calls are those frames
//! as HTTP messages. A [`Player`] sends one side's frames to a live peer, each
//! no earlier than that peer has done what the frame reacts to, cut into pieces
//! as a [`Cut`] says, and audits every frame that comes back for what the
//! recorded peer would not have accepted.
//!
//! The frame decoder and the HTTP parser are this crate's own, so that a
//! mistake in Keyway's cannot hide itself.
//!
//! ```
//! use keyway_replay::{Recording, Side};
//!
//! let recording = Recording::load("plugin-v0.3.2-launched")?;
//! let conversation = recording.conversation()?;
//! let calls = conversation.calls()?;
//! assert_eq!(calls[0].opener, Side::Plugin);
//! assert_eq!(calls[0].request.path(), "/plugins.v1.RegisterService/RegisterPlugin");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod audit;
mod conversation;
mod cut;
mod frame;
mod http;
mod inherited;
pub mod launched;
mod outq;
mod play;
mod recording;
mod script;

pub use audit::{Audit, Violation};
pub use conversation::{Call, Conversation, ConversationError};
pub use cut::{Cut, Cutter};
pub use frame::{Frame, FrameError, FrameKind, Frames, flags};
pub use http::{Message, MessageError};
pub use play::{Exchange, Parted, Player, Transcript};
pub use recording::{Chunk, Recording, RecordingError, Side};
