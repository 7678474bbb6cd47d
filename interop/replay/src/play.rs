//! Replay of one side of a recording to a live peer.

mod playback;
mod player;
mod requests;
mod transcript;

pub use player::Player;
pub use transcript::{Deviation, Exchange, Transcript};
