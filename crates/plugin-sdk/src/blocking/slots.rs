//! The slots of blocking work: a bounded number of threads, and which of them are stuck.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::format_duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::ProviderError;

/// The time for which work that outlives its caller keeps others waiting before it counts as stuck: a cancelled call of a disk that is
/// merely slow ends within that time.
const GRACE: Duration = Duration::from_millis(500);
/// Minimum time between two warnings about stuck threads.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A bounded number of threads.
#[derive(Debug)]
pub(super) struct Slots {
    n_slots: usize,
    free: Arc<Semaphore>,
    running: watch::Sender<Running>,
}

/// The work that has a slot.
#[derive(Debug, Default)]
struct Running {
    /// The time when the caller of each work left; `None` while it waits.
    abandoned: BTreeMap<u64, Option<Instant>>,
    next_key: u64,
    last_warning: Option<Instant>,
}

/// The number of stuck threads, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    n_stuck: usize,
    n_slots: usize,
    longest: Duration,
}

impl Slots {
    pub(super) fn new(n_slots: usize) -> Arc<Self> {
        Arc::new(Self {
            n_slots,
            free: Arc::new(Semaphore::new(n_slots)),
            running: watch::Sender::default(),
        })
    }

    /// Runs work on a thread; see [`blocking`](super::blocking).
    pub(super) async fn run<T, F>(self: &Arc<Self>, work: F) -> Result<T, ProviderError>
    where
        F: FnOnce() -> Result<T, ProviderError> + Send + 'static,
        T: Send + 'static,
    {
        // The slot is taken before the closure exists for the thread pool, whose queue outlives callers.
        let permit = self.acquire().await?;
        let (mut caller, slot) = self.start(permit);
        let task = spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        caller.task = Some(task.abort_handle());
        task.await.unwrap_or_else(|error| {
            Err(match error.is_panic() {
                true => ProviderError::internal("the plugin panicked in blocking work"),
                false => ProviderError::unavailable("the plugin is stopping"),
            })
        })
    }

    /// Returns the stuck threads; `None` if there are none.
    pub(super) fn stuck(&self) -> Option<Stuck> {
        self.running.borrow().stuck(self.n_slots, Instant::now())
    }

    /// Waits for a slot.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if all slots are stuck.
    async fn acquire(&self) -> Result<OwnedSemaphorePermit, ProviderError> {
        self.warn_if_stuck();
        let mut acquired = pin!(Arc::clone(&self.free).acquire_owned());
        let mut running = self.running.subscribe();
        loop {
            let all_stuck_at = running.borrow_and_update().all_stuck_at(self.n_slots);
            if all_stuck_at.is_some_and(|at| at <= Instant::now())
                && let Some(stuck) = self.stuck()
            {
                self.warn_if_stuck();
                return Err(ProviderError::unavailable(stuck.to_string()));
            }
            tokio::select! {
                biased;
                permit = &mut acquired => return Ok(permit.expect("the semaphore is never closed")),
                // Another caller has left, which may be that of the last slot that was not stuck.
                _ = running.changed() => {}
                () = wait_until(all_stuck_at) => {}
            }
        }
    }

    fn start(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> (Caller, Slot) {
        let mut key = 0;
        self.running.send_if_modified(|running| {
            key = running.next_key;
            running.next_key += 1;
            running.abandoned.insert(key, None);
            false
        });
        let caller = Caller {
            slots: Arc::clone(self),
            key,
            task: None,
        };
        let slot = Slot {
            slots: Arc::clone(self),
            key,
            _permit: permit,
        };
        (caller, slot)
    }

    /// Logs the stuck threads, at most once in [`WARNING_INTERVAL`].
    fn warn_if_stuck(&self) {
        let now = Instant::now();
        let stuck = self.stuck().filter(|stuck| stuck.longest >= GRACE);
        let Some(stuck) = stuck else { return };
        let mut is_due = false;
        self.running.send_if_modified(|running| {
            let last = running.last_warning;
            is_due = last.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL);
            if is_due {
                running.last_warning = Some(now);
            }
            false
        });
        if is_due {
            let Stuck {
                n_stuck,
                n_slots,
                longest,
            } = stuck;
            let longest = format_duration(longest);
            tracing::warn!(n_stuck, n_slots, %longest, "blocking work has outlived its calls");
        }
    }
}

impl Running {
    fn stuck(&self, n_slots: usize, now: Instant) -> Option<Stuck> {
        let abandoned = || self.abandoned.values().flatten();
        let first = abandoned().min()?;
        Some(Stuck {
            n_stuck: abandoned().count(),
            n_slots,
            longest: now.saturating_duration_since(*first),
        })
    }

    /// Returns the time from which on every slot counts as stuck; `None` while one is free or has a caller.
    fn all_stuck_at(&self, n_slots: usize) -> Option<Instant> {
        if self.abandoned.len() < n_slots {
            return None;
        }
        let times: Option<Vec<Instant>> = self.abandoned.values().copied().collect();
        Some(times?.into_iter().max()? + GRACE)
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            n_stuck, n_slots, ..
        } = self;
        let longest = format_duration(self.longest);
        let verb = if *n_stuck == 1 { "is" } else { "are" };
        write!(
            f,
            "{n_stuck} of {n_slots} threads for blocking work {verb} stuck, the first for {longest}"
        )
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// The side of the caller. Dropped before the work has ended, it marks the slot as stuck.
struct Caller {
    slots: Arc<Slots>,
    key: u64,
    task: Option<AbortHandle>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.slots.running.send_if_modified(|running| {
            // The entry is gone if the work has ended.
            let Some(abandoned) = running.abandoned.get_mut(&self.key) else {
                return false;
            };
            *abandoned = Some(Instant::now());
            true
        });
        // Drops the closure if no thread has taken it yet: the author's own blocking work may occupy all threads.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The side of the thread. Dropped when the work ends or panics, it frees the slot.
struct Slot {
    slots: Arc<Slots>,
    key: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.running.send_if_modified(|running| {
            running.abandoned.remove(&self.key);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;

    use tokio::time::{advance, timeout};

    use super::*;
    use crate::ErrorKind;

    type Work = Pin<Box<dyn Future<Output = Result<(), ProviderError>>>>;

    /// Work that blocks until its sender sends or is dropped, and how it began.
    fn hang(slots: &Arc<Slots>) -> (Work, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (begin, begun) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let slots = Arc::clone(slots);
        let work = async move {
            slots
                .run(move || {
                    // The test no longer waits for work that began too late.
                    let _ = begin.send(());
                    let _ = ended.recv();
                    Ok(())
                })
                .await
        };
        (Box::pin(work), begun, end)
    }

    /// Starts work that hangs, and drops its caller once it runs. It hangs until the returned sender is dropped.
    async fn abandon(slots: &Arc<Slots>) -> mpsc::Sender<()> {
        let (mut work, begun, end) = hang(slots);
        assert!(poll_once(&mut work).await.is_none());
        begun.recv().expect("the work begins");
        end
    }

    async fn poll_once<T>(future: &mut Pin<Box<dyn Future<Output = T>>>) -> Option<T> {
        tokio::select! {
            biased;
            result = future => Some(result),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_whose_caller_has_gone_while_it_waited_never_runs() {
        let slots = Slots::new(1);
        let (mut first, first_begun, end) = hang(&slots);
        assert!(poll_once(&mut first).await.is_none());
        first_begun.recv().unwrap();
        let (mut second, second_begun, _end) = hang(&slots);
        assert!(poll_once(&mut second).await.is_none());
        drop(second);
        drop(end);
        first.await.unwrap();
        slots.run(|| Ok(())).await.unwrap();
        assert!(second_begun.try_recv().is_err(), "its closure was dropped");
        assert_eq!(slots.free.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_threads_are_stuck_further_work_fails_and_states_how_many_and_for_how_long() {
        let slots = Slots::new(2);
        let lines = crate::log::capture::CapturedLines::start("warn");
        let first = abandon(&slots).await;
        advance(Duration::from_secs(20)).await;
        let second = abandon(&slots).await;
        for longest in ["25 s", "30 s"] {
            advance(Duration::from_secs(5)).await;
            let error = slots.run(|| Ok(())).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(
                error.message(),
                format!("2 of 2 threads for blocking work are stuck, the first for {longest}")
            );
        }
        let warning = |count: usize, longest: &str| {
            format!(
                "WARN keyway_plugin_sdk::blocking::slots: blocking work has outlived its calls n_stuck={count} n_slots=2 longest={longest}\n"
            )
        };
        assert_eq!(
            lines.get(),
            [warning(1, "20 s"), warning(2, "30 s")],
            "at most one in ten seconds"
        );
        drop((first, second));
        drop(slots.free.acquire_many(2).await.unwrap());
        assert_eq!(slots.stuck(), None);
        slots.run(|| Ok(())).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_fails_once_all_threads_are_stuck_and_not_before() {
        let slots = Slots::new(2);
        let _stuck = abandon(&slots).await;
        let (mut attended, begun, end) = hang(&slots);
        assert!(poll_once(&mut attended).await.is_none());
        begun.recv().unwrap();
        let mut waiting: Work = Box::pin({
            let slots = Arc::clone(&slots);
            async move { slots.run(|| Ok(())).await }
        });
        advance(Duration::from_secs(60)).await;
        assert!(poll_once(&mut waiting).await.is_none());
        drop(attended);
        advance(GRACE - Duration::from_millis(1)).await;
        assert!(poll_once(&mut waiting).await.is_none());
        advance(Duration::from_millis(1)).await;
        let error = timeout(Duration::ZERO, waiting).await.unwrap().unwrap_err();
        assert!(error.message().contains("2 of 2"), "{error}");
        drop(end);
    }

    #[tokio::test]
    async fn a_panic_frees_the_slot_and_its_message_is_not_in_the_error() {
        let slots = Slots::new(1);
        for _ in 0..2 {
            let error = slots.run::<(), _>(|| panic!("canary-value")).await;
            let error = error.unwrap_err();
            assert_eq!(error.message(), "the plugin panicked in blocking work");
        }
        assert_eq!(slots.stuck(), None);
        assert_eq!(slots.free.available_permits(), 1);
    }
}
