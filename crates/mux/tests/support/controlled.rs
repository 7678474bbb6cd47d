//! A connection whose input, capacity and failures a test controls.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Frame, decode_all};

#[derive(Default)]
struct State {
    input: VecDeque<u8>,
    /// The result of a read behind the input; pending if there is none.
    input_end: Option<Result<(), io::ErrorKind>>,
    taken: Vec<u8>,
    /// How many bytes writes may accept.
    allowance: usize,
    write_error: Option<io::ErrorKind>,
    is_flush_blocked: bool,
    is_shutdown_blocked: bool,
    shutdown_error: Option<io::ErrorKind>,
    is_shut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The connection, for a session.
pub(crate) struct Controlled(Arc<Mutex<State>>);

/// The same connection, for the test.
#[derive(Clone)]
pub(crate) struct Control(Arc<Mutex<State>>);

/// A connection that accepts no bytes until the test raises its limit.
pub(crate) fn controlled() -> (Controlled, Control) {
    let state = Arc::default();
    (Controlled(Arc::clone(&state)), Control(state))
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.state();
            change(&mut state);
            [state.reader.take(), state.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// The peer sends frames.
    pub(crate) fn send(&self, frames: &[Frame]) {
        self.change(|state| state.input.extend(frames.iter().flat_map(Frame::encode)));
    }

    /// The peer sends frames, and the session is not woken.
    pub(crate) fn send_silently(&self, frames: &[Frame]) {
        let mut state = self.state();
        state.input.extend(frames.iter().flat_map(Frame::encode));
    }

    /// The peer closes its side of the connection, or the connection fails.
    pub(crate) fn end_input(&self, end: Result<(), io::ErrorKind>) {
        self.change(|state| state.input_end = Some(end));
    }

    /// Raises the limit of writes by this number of bytes.
    pub(crate) fn allow(&self, bytes: usize) {
        self.change(|state| state.allowance = state.allowance.saturating_add(bytes));
    }

    /// The same, and the session is not woken.
    pub(crate) fn allow_silently(&self, bytes: usize) {
        self.state().allowance = bytes;
    }

    /// Lowers the limit of writes by this number of bytes.
    pub(crate) fn take_back(&self, bytes: usize) {
        self.state().allowance -= bytes;
    }

    /// Writes and flushes fail from now on.
    pub(crate) fn fail_writes(&self, kind: io::ErrorKind) {
        self.change(|state| state.write_error = Some(kind));
    }

    /// Whether flushes are pending.
    pub(crate) fn block_flush(&self, is_blocked: bool) {
        self.change(|state| state.is_flush_blocked = is_blocked);
    }

    /// Whether the shutdown is pending.
    pub(crate) fn block_shutdown(&self, is_blocked: bool) {
        self.change(|state| state.is_shutdown_blocked = is_blocked);
    }

    /// The shutdown fails.
    pub(crate) fn fail_shutdown(&self, kind: io::ErrorKind) {
        self.change(|state| state.shutdown_error = Some(kind));
    }

    /// The bytes that were accepted since the last call.
    pub(crate) fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut self.state().taken)
    }

    /// The frames that were accepted since the last call, which must be complete.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        decode_all(&self.taken())
    }

    /// Whether the session has shut its side of the connection down.
    pub(crate) fn is_shut(&self) -> bool {
        self.state().is_shut
    }
}

impl AsyncRead for Controlled {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        if state.input.is_empty() {
            let end = state
                .input_end
                .map(|end| Poll::Ready(end.map_err(Into::into)));
            return end.unwrap_or_else(|| {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            });
        }
        let count = state.input.len().min(buffer.remaining());
        let bytes: Vec<u8> = state.input.drain(..count).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Controlled {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        if let Some(kind) = state.write_error {
            return Poll::Ready(Err(kind.into()));
        }
        let count = state.allowance.min(buffer.len());
        if count == 0 && !buffer.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.allowance -= count;
        state.taken.extend_from_slice(&buffer[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &buffers.concat_bytes())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        if let Some(kind) = state.write_error {
            return Poll::Ready(Err(kind.into()));
        }
        if state.is_flush_blocked {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        if let Some(kind) = state.shutdown_error {
            return Poll::Ready(Err(kind.into()));
        }
        if state.is_shutdown_blocked {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.is_shut = true;
        Poll::Ready(Ok(()))
    }
}

/// The bytes of several buffers as one.
trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for [io::IoSlice<'_>] {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|buffer| buffer.to_vec()).collect()
    }
}
