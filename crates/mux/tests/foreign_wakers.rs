//! Wakers run foreign code when they are cloned, woken and dropped. That code may use the session, so none of it may
//! run under the session's lock.
#![allow(unsafe_code, reason = "a waker with a clone of its own")]

mod support;

use std::{
    future::Future,
    mem::ManuallyDrop,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
    time::Duration,
};

use keyway_mux::{Config, Session};
use support::{Flags, Frame, controlled};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Uses the session whenever a waker of it is cloned, woken or dropped.
struct Foreign {
    session: Session,
    clones: AtomicUsize,
}

const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// Uses the session.
fn waker(foreign: &Arc<Foreign>) -> Waker {
    let data = Arc::into_raw(Arc::clone(foreign)).cast();
    // SAFETY: `data` is a strong reference of an `Arc<Foreign>`, which is `Send + Sync`, and each function of the
    // table treats it as such: `clone` makes another one, `wake` and `drop_waker` give theirs back.
    unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: see `waker`. The reference stays with the waker that is cloned.
    let foreign = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Foreign>()) });
    foreign.clones.fetch_add(1, Ordering::Relaxed);
    foreign.session.stats();
    RawWaker::new(Arc::into_raw(Arc::clone(&foreign)).cast(), &TABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: see `waker`. The reference ends here.
    let foreign = unsafe { Arc::from_raw(data.cast::<Foreign>()) };
    foreign.session.stats();
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: see `waker`. The reference stays with the waker.
    let foreign = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Foreign>()) });
    foreign.session.stats();
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: see `waker`. The reference ends here.
    let foreign = unsafe { Arc::from_raw(data.cast::<Foreign>()) };
    foreign.session.stats();
}

/// Polls every operation that a task may wait for, each with a new waker, and then completes it.
async fn wait_for_everything() {
    let (io, control) = controlled();
    let config = Config::new().keep_alive(None).max_unacknowledged(1);
    let (session, driver) = Session::client(io, config);
    let foreign = Arc::new(Foreign {
        session: session.clone(),
        clones: AtomicUsize::new(0),
    });
    let mut driver = pin!(driver);
    let mut stream = session.open().await.unwrap();
    let mut polls = |driver: &mut Pin<&mut keyway_mux::Driver>, is_pending: bool| {
        for _ in 0..2 {
            let waker = waker(&foreign);
            let mut cx = Context::from_waker(&waker);
            let mut buffer = [0; 10];
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut stream).poll_read(&mut cx, &mut buffer);
            assert!(!is_pending || read.is_pending());
            while matches!(
                Pin::new(&mut stream).poll_write(&mut cx, &[7; 100_000]),
                Poll::Ready(Ok(_))
            ) {}
            let mut waiting = (
                pin!(session.accept()),
                pin!(session.open()),
                pin!(session.closed()),
                pin!(session.peer_draining()),
            );
            let _accepted = waiting.0.as_mut().poll(&mut cx);
            let _opened = waiting.1.as_mut().poll(&mut cx);
            let _closed = waiting.2.as_mut().poll(&mut cx);
            let _draining = waiting.3.as_mut().poll(&mut cx);
            let _driven = driver.as_mut().poll(&mut cx);
        }
    };
    polls(&mut driver, true);
    control.allow(1 << 20);
    polls(&mut driver, true);
    control.send(&[Frame::window_update(2, Flags::SYN, 0), Frame::go_away(0)]);
    polls(&mut driver, false);
    control.end_input(Ok(()));
    polls(&mut driver, false);
    assert!(foreign.clones.load(Ordering::Relaxed) > 10);
}

#[test]
fn wakers_that_use_the_session_do_not_find_it_locked() {
    let (done, is_done) = mpsc::channel();
    // A thread of its own, because code that takes a lock twice deadlocks.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(wait_for_everything());
        done.send(()).unwrap();
    });
    is_done
        .recv_timeout(Duration::from_secs(20))
        .expect("the session is used under its lock");
}
