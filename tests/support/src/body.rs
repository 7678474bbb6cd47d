//! [`Chunks`]: a body that arrives chunk by chunk.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body of some chunks, each of which is one frame. By default it declares no length and ends after the last chunk.
#[derive(Debug)]
pub struct Chunks {
    chunks: VecDeque<Bytes>,
    /// The declared length, without the bytes that were read.
    declared: Option<u64>,
    is_stalled: bool,
    n_read: Arc<AtomicUsize>,
}

impl Chunks {
    /// Creates a body of these chunks.
    pub fn new(chunks: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        Self {
            chunks: chunks.into_iter().map(Into::into).collect(),
            declared: None,
            is_stalled: false,
            n_read: Arc::default(),
        }
    }

    /// Declares a length in bytes, which need not be that of the chunks.
    #[must_use]
    pub fn declaring(mut self, bytes: u64) -> Self {
        self.declared = Some(bytes);
        self
    }

    /// Makes the body pending forever after its last chunk.
    #[must_use]
    pub fn stalled(mut self) -> Self {
        self.is_stalled = true;
        self
    }

    /// Returns the counter of the bytes that were read.
    pub fn n_read(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.n_read)
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(chunk) = self.chunks.pop_front() else {
            return if self.is_stalled {
                Poll::Pending
            } else {
                Poll::Ready(None)
            };
        };
        self.n_read.fetch_add(chunk.len(), Ordering::SeqCst);
        let len = chunk.len() as u64;
        self.declared = self.declared.map(|declared| declared.saturating_sub(len));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && !self.is_stalled
    }

    fn size_hint(&self) -> SizeHint {
        self.declared
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
