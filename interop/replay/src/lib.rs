//! Recorded conversations of real peers, and a player that replays one side of them.
//!
//! A [`Recording`] holds the bytes that two programs exchanged. Its [`Conversation`] is the same as yamux frames, and its calls are
//! those frames as HTTP messages. A [`Player`] sends one side's frames to a live peer, cut into pieces as a [`Cut`] describes. It
//! sends no frame before the peer has done what the frame reacts to, and audits every frame that comes back: the recorded peer
//! must have accepted it.
//!
//! The frame codec is that of `keyway-mux`; the recordings check it, because each is encoded to the recorded bytes again. The HTTP
//! parser is this crate's own, so that a mistake in Keyway's cannot hide itself.
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
pub use http::{Message, MessageError};
pub use play::{Deviation, Exchange, Player, Transcript};
pub use recording::{Chunk, Recording, RecordingError, Side};
