//! The body of a request that arrives while its handler runs.
//!
//! The task of the connection reads the byte stream; the handler, in the same task or in another,
//! takes the data. Between them is room for one piece, and nothing is read before the handler polls for it, so that a slow handler
//! slows the peer down.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::BoxError;

/// Creates both ends; `len` is the length of the body, if it is known.
pub(super) fn channel(len: Option<u64>) -> (Sender, Receiver) {
    let slot = Arc::new(Mutex::new(Slot::default()));
    let sender = Sender(Arc::clone(&slot));
    (
        sender,
        Receiver {
            slot,
            remaining: len,
        },
    )
}

#[derive(Default)]
struct Slot {
    piece: Option<Result<Bytes, BoxError>>,
    /// `true` if the handler waits for a piece.
    is_wanted: bool,
    /// `true` if nothing follows what is in `piece`.
    has_ended: bool,
    handler: Option<Waker>,
    connection: Option<Waker>,
}

/// No call panics while it holds the lock, and a slot is valid at any time.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of the connection's task.
pub(super) struct Sender(Arc<Mutex<Slot>>);

impl Sender {
    /// Returns `Ready` if the handler waits for a piece; otherwise the task is woken when it does.
    pub(super) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slot = lock(&self.0);
        if slot.is_wanted {
            return Poll::Ready(());
        }
        slot.connection = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Hands a piece over, or with `None` the end of the body.
    pub(super) fn send(&self, piece: Option<Result<Bytes, BoxError>>) {
        let mut slot = lock(&self.0);
        slot.is_wanted = false;
        slot.has_ended = !matches!(piece, Some(Ok(_)));
        slot.piece = piece;
        let handler = slot.handler.take();
        drop(slot);
        if let Some(handler) = handler {
            handler.wake();
        }
    }
}

/// A connection that is dropped ends the body with an error, never as if it were complete.
impl Drop for Sender {
    fn drop(&mut self) {
        if !lock(&self.0).has_ended {
            self.send(Some(Err(
                "the connection ended within the request body".into()
            )));
        }
    }
}

/// The end of the handler.
pub(super) struct Receiver {
    slot: Arc<Mutex<Slot>>,
    remaining: Option<u64>,
}

impl Receiver {
    /// Returns how many bytes are still to come, if the request declares it.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// Returns `true` if all of the body was received.
    pub(super) fn is_complete(&self) -> bool {
        let slot = lock(&self.slot);
        slot.has_ended && slot.piece.is_none()
    }

    /// Returns the next piece, or `None` at the end of the body.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>> {
        let mut slot = lock(&self.slot);
        if let Some(piece) = slot.piece.take() {
            if let (Some(remaining), Ok(bytes)) = (&mut self.remaining, &piece) {
                *remaining = remaining.saturating_sub(bytes.len() as u64);
            }
            return Poll::Ready(Some(piece));
        }
        if slot.has_ended {
            return Poll::Ready(None);
        }
        slot.is_wanted = true;
        slot.handler = Some(cx.waker().clone());
        let connection = slot.connection.take();
        drop(slot);
        if let Some(connection) = connection {
            connection.wake();
        }
        Poll::Pending
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}
