//! The two halves of a stream.

use std::{ops::Deref, sync::Arc};

use super::Stream;

/// The half of a [`Stream`] that reads.
///
/// Dropping it does not end anything: the peer can send until its window is full, and the stream lives on in its
/// [`WriteHalf`].
///
/// It is a reference to the stream, too, for [`id`](Stream::id), [`info`](Stream::info) and
/// [`closed`](Stream::closed).
#[derive(Debug)]
pub struct ReadHalf {
    stream: Arc<Stream>,
}

impl Deref for ReadHalf {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl ReadHalf {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        Self { stream }
    }

    /// Joins the halves of one stream again. The write side stays as it is.
    ///
    /// # Errors
    ///
    /// Returns [`ReuniteError`] with both halves if they belong to different streams.
    pub fn reunite(self, write: WriteHalf) -> Result<Stream, ReuniteError> {
        if !Arc::ptr_eq(&self.stream, &write.stream) {
            return Err(ReuniteError(self, write));
        }
        write.join();
        match Arc::try_unwrap(self.stream) {
            Ok(stream) => Ok(stream),
            Err(_) => unreachable!("a stream has two halves"),
        }
    }
}

/// The half of a [`Stream`] that writes.
///
/// Dropping it ends the write side, as `shutdown` does: the written bytes are delivered, then FIN. The peer can still
/// send to the [`ReadHalf`].
///
/// It is a reference to the stream, too, for [`id`](Stream::id), [`info`](Stream::info) and
/// [`closed`](Stream::closed).
#[derive(Debug)]
pub struct WriteHalf {
    stream: Arc<Stream>,
    /// The write side ends when the half is dropped.
    finishes: bool,
}

impl Deref for WriteHalf {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl WriteHalf {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        let finishes = true;
        Self { stream, finishes }
    }

    /// Resets the stream: ends both directions at once. Reads and writes of both ends fail; written bytes that the
    /// peer has not read may be lost.
    pub fn reset(&mut self) {
        self.stream.reset_now();
    }

    /// Joins the halves of one stream again, see [`ReadHalf::reunite`].
    ///
    /// # Errors
    ///
    /// Returns [`ReuniteError`] with both halves if they belong to different streams.
    pub fn reunite(self, read: ReadHalf) -> Result<Stream, ReuniteError> {
        read.reunite(self)
    }

    /// Drops the half without ending the write side.
    fn join(mut self) {
        self.finishes = false;
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if self.finishes {
            // A stream that has failed has no write side to end, and its reader reports the failure.
            let _ = self.stream.finish();
        }
    }
}

/// Two halves do not belong to the same stream. It gives them back.
#[derive(Debug, thiserror::Error)]
#[error(
    "the read half of stream {} and the write half of stream {} do not belong together",
    .0.id(),
    .1.id()
)]
pub struct ReuniteError(pub ReadHalf, pub WriteHalf);
