//! Every interleaving of a waiting task with a poll of the driver.
//!
//! ```text
//! RUSTFLAGS="--cfg keyway_loom" cargo test -p keyway-mux --lib interleavings
//! ```
//!
//! A wake-up that could be lost is a deadlock, which loom reports with the schedule that led there.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{
    future::block_on,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Shared, State, poll::Progress};
use crate::{
    config::{Config, Role},
    error::Direction,
    frame::{Flags, Header},
    streams::Key,
};

/// A connection on which the peer has sent something, takes everything and sends no more.
struct Said(Vec<u8>);

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        buffer.put_slice(&std::mem::take(&mut self.0));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A server whose peer has said `frames`, none of which was read yet.
fn shared(frames: &[&[u8]]) -> Arc<Shared> {
    let config = Config::new().max_unacknowledged(1);
    Shared::new(Box::new(Said(frames.concat())), Role::Server, config)
}

/// The next polls of the driver, until it waits.
fn poll(shared: &Shared) {
    while matches!(
        shared.with(|state| state.poll(false)),
        Progress::Again | Progress::Later
    ) {}
}

fn opened(shared: &Shared) -> Key {
    match shared.with(State::poll_open) {
        Poll::Ready(Ok(key)) => key,
        other => panic!("{other:?}"),
    }
}

async fn read(shared: &Shared, key: Key) -> Result<Vec<u8>, crate::StreamError> {
    let mut bytes = Vec::new();
    poll_fn(|cx| {
        shared.poll(cx, key, Direction::Read, |state| {
            state.poll_read(key, |front| {
                bytes.extend_from_slice(front);
                front.len()
            })
        })
    })
    .await
    .map(|()| bytes)
}

#[test]
fn interleavings_of_a_reader_and_the_poll_that_brings_its_bytes() {
    loom::model(|| {
        let shared = shared(&[&Header::data(2, Flags::ACK, 2).encode(), b"hi"]);
        let key = opened(&shared);
        let driver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || poll(&shared))
        };
        assert_eq!(block_on(read(&shared, key)).unwrap(), b"hi");
        driver.join().unwrap();
    });
}

#[test]
fn interleavings_of_a_reader_and_the_loss_of_the_driver() {
    loom::model(|| {
        let shared = shared(&[]);
        let key = opened(&shared);
        let driver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.with(|state| state.abandon()))
        };
        assert!(block_on(read(&shared, key)).is_err());
        driver.join().unwrap();
    });
}

#[test]
fn interleavings_of_a_writer_without_window_and_the_poll_that_brings_credit() {
    loom::model(|| {
        let shared = shared(&[&Header::window_update(2, Flags::ACK, 5).encode()]);
        let key = opened(&shared);
        let write = |cx: &mut Context<'_>, bytes: &[u8]| {
            shared.poll(cx, key, Direction::Write, |state| {
                state.poll_write(key, &[io::IoSlice::new(bytes)])
            })
        };
        shared.with(|state| state.core.use_up_window(key));
        let driver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || poll(&shared))
        };
        assert_eq!(block_on(poll_fn(|cx| write(cx, b"on it goes"))).unwrap(), 5);
        driver.join().unwrap();
    });
}

#[test]
fn interleavings_of_two_acceptors_one_of_which_gives_up() {
    // Three threads have too many schedules to try all; those with few switches find the bugs.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = shared(&[&Header::window_update(1, Flags::SYN, 0).encode()]);
        let impatient = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let accepting = pin!(shared.until(&shared.waits.accept, State::poll_accept));
                let mut cx = Context::from_waker(Waker::noop());
                matches!(accepting.poll(&mut cx), Poll::Ready(Ok(Some(_))))
            })
        };
        let driver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                poll(&shared);
                // Nothing else will come: tasks that still wait are woken.
                shared.with(|state| state.core.go_away());
            })
        };
        let accepting = shared.until(&shared.waits.accept, State::poll_accept);
        let accepted = block_on(accepting).is_ok_and(|key| key.is_some());
        let was_taken = impatient.join().unwrap();
        driver.join().unwrap();
        assert!(accepted != was_taken, "the stream went to exactly one");
    });
}

#[test]
fn interleavings_of_opening_and_the_poll_that_brings_an_acknowledgement() {
    loom::model(|| {
        let shared = shared(&[&Header::window_update(2, Flags::ACK, 0).encode()]);
        let key = opened(&shared);
        // The peer acknowledges a SYN that has been sent.
        shared.with(|state| {
            state.core.send_syn(key);
            state.flush_early();
        });
        let driver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || poll(&shared))
        };
        let second = block_on(shared.until(&shared.waits.open, State::poll_open));
        assert_eq!(second.unwrap().id, 4);
        driver.join().unwrap();
    });
}

/// Polls the driver whenever it is woken, until `is_done`.
async fn drive(shared: &Shared, is_done: &AtomicBool) {
    poll_fn(|cx| {
        shared.driver.task.register(cx.waker());
        match shared.with(|state| state.poll(false)) {
            Progress::Over(_) => panic!("the session has not ended"),
            Progress::Wait { .. } => {}
            Progress::Again | Progress::Later => cx.waker().wake_by_ref(),
        }
        // After the poll, because the wake-up for it may have been used up by the poll.
        if is_done.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

static FRAME: [u8; 16_384] = [7; 16_384];

/// The space is reserved for a task that never comes, so the next writer depends on the driver.
#[test]
fn interleavings_of_a_writer_and_a_grant_whose_task_never_comes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(1);
    model.check(|| {
        let shared = Shared::new(Box::new(Said(Vec::new())), Role::Server, Config::new());
        let keys = [opened(&shared), opened(&shared)];
        let write = |cx: &mut Context<'_>, key: Key| {
            shared.poll(cx, key, Direction::Write, |state| {
                state.poll_write(key, &[io::IoSlice::new(&FRAME)])
            })
        };
        let mut cx = Context::from_waker(Waker::noop());
        while write(&mut cx, keys[0]).is_ready() {}
        let is_done = Arc::new(AtomicBool::new(false));
        let driver = {
            let (shared, is_done) = (Arc::clone(&shared), Arc::clone(&is_done));
            thread::spawn(move || block_on(drive(&shared, &is_done)))
        };
        // The second write makes it a bulk stream, which waits behind the other.
        for _ in 0..2 {
            block_on(poll_fn(|cx| write(cx, keys[1]))).unwrap();
        }
        is_done.store(true, Ordering::SeqCst);
        shared.with(|state| state.core.go_away());
        driver.join().unwrap();
    });
}
