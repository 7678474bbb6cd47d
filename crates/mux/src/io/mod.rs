//! The streams of a session: handles, halves, and the I/O traits.

mod halves;
mod stream;
mod traits;

pub use self::{
    halves::{ReadHalf, ReuniteError, WriteHalf},
    stream::Stream,
};
