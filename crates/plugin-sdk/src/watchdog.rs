//! A watchdog for handlers that keep the one thread of a plugin: it names them in the log.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keyway_local::format_duration;
use keyway_secrets::Pattern;

/// Interval of the checks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A poll is reported when it is seen in that many checks, hence after at least two seconds.
const REPORTED_AT: u32 = 3;
/// The thread sleeps after so many checks without a poll between them.
const IDLE_CHECKS: u32 = 10;
/// The stack of the thread, which formats log lines.
const STACK_SIZE: usize = 64 * 1024;

static WATCHDOG: Watchdog = Watchdog::new();

/// The handler that is polled, and for which query.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    handler: &'static str,
    pattern: Pattern,
}

/// Awaits the future of a handler. If one poll of it takes longer than two seconds, that is logged meanwhile and afterwards.
///
/// While a handler keeps the thread, no other call is served, and no ping of the daemon is acknowledged.
pub(crate) async fn watched<T>(
    handler: &'static str,
    pattern: &Pattern,
    future: impl Future<Output = T>,
) -> T {
    let call = Call {
        handler,
        pattern: pattern.clone(),
    };
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _poll = WATCHDOG.enter(&call);
        future.as_mut().poll(cx)
    })
    .await
}

struct Watchdog {
    state: Mutex<State>,
    /// Notified when a poll begins while the thread sleeps.
    woken: Condvar,
}

/// The polls in progress: one for each thread of the runtime.
#[derive(Debug)]
struct State {
    polls: Vec<Poll>,
    next_key: u64,
    is_started: bool,
    is_asleep: bool,
    /// Number of checks since the last poll began.
    n_idle_checks: u32,
}

#[derive(Debug)]
struct Poll {
    key: u64,
    call: Call,
    started: Instant,
    n_seen: u32,
}

/// Ends a poll when it is dropped, also by a panic.
struct Entered<'a> {
    watchdog: &'a Watchdog,
    key: u64,
}

impl Watchdog {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                polls: Vec::new(),
                next_key: 0,
                is_started: false,
                is_asleep: false,
                n_idle_checks: 0,
            }),
            woken: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&'static self, call: &Call) -> Entered<'static> {
        let mut state = self.lock();
        let key = state.begin(call.clone(), Instant::now());
        let is_first = !std::mem::replace(&mut state.is_started, true);
        let was_asleep = std::mem::replace(&mut state.is_asleep, false);
        drop(state);
        if was_asleep {
            self.woken.notify_one();
        }
        if is_first {
            let thread = thread::Builder::new().name("watchdog".to_owned());
            // Calls do not depend on the watchdog: without a thread nothing is logged.
            let _ = thread.stack_size(STACK_SIZE).spawn(|| self.run());
        }
        Entered {
            watchdog: self,
            key,
        }
    }

    /// Checks the polls for the life of the process.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            let started = Instant::now();
            let waited = self.woken.wait_timeout_while(state, INTERVAL, |_| true);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let stalled = state.check(started.elapsed());
            if !stalled.is_empty() {
                drop(state);
                for (call, since) in stalled {
                    call.log(
                        since.elapsed(),
                        "handler keeps the thread of the plugin; use `blocking` or `command`",
                    );
                }
                state = self.lock();
            }
            if state.n_idle_checks >= IDLE_CHECKS {
                state.is_asleep = true;
                let waited = self.woken.wait_while(state, |state| state.is_asleep);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl State {
    fn begin(&mut self, call: Call, now: Instant) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.n_idle_checks = 0;
        self.polls.push(Poll {
            key,
            call,
            started: now,
            n_seen: 0,
        });
        key
    }

    /// Ends a poll, and returns it if it was reported.
    fn end(&mut self, key: u64) -> Option<Poll> {
        let index = self.polls.iter().position(|poll| poll.key == key)?;
        let poll = self.polls.swap_remove(index);
        (poll.n_seen >= REPORTED_AT).then_some(poll)
    }

    /// Counts how often each poll was seen, and returns those to report now. `waited` is the time since the last check: a
    /// process that was stopped or starved meanwhile does not count.
    fn check(&mut self, waited: Duration) -> Vec<(Call, Instant)> {
        self.n_idle_checks = match self.polls.is_empty() {
            true => self.n_idle_checks.saturating_add(1),
            false => 0,
        };
        if waited > 2 * INTERVAL {
            return Vec::new();
        }
        let mut stalled = Vec::new();
        for poll in &mut self.polls {
            poll.n_seen = poll.n_seen.saturating_add(1);
            if poll.n_seen == REPORTED_AT {
                stalled.push((poll.call.clone(), poll.started));
            }
        }
        stalled
    }
}

impl Call {
    fn log(&self, elapsed: Duration, message: &str) {
        let Self { handler, pattern } = self;
        let elapsed = format_duration(elapsed);
        tracing::warn!(handler, query = %pattern, %elapsed, "{message}");
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let ended = self.watchdog.lock().end(self.key);
        if let Some(poll) = ended {
            poll.call.log(
                poll.started.elapsed(),
                "handler has kept the thread of the plugin",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(handler: &'static str) -> Call {
        Call {
            handler,
            pattern: Pattern::everything(),
        }
    }

    fn new_state() -> MutexGuard<'static, State> {
        Box::leak(Box::new(Watchdog::new())).lock()
    }

    #[test]
    fn a_poll_is_reported_once_when_it_was_seen_three_times() {
        let mut state = new_state();
        let key = state.begin(call("slow"), Instant::now());
        let reports: Vec<_> = (0..6).map(|_| state.check(INTERVAL).len()).collect();
        assert_eq!(reports, [0, 0, 1, 0, 0, 0]);
        let ended = state.end(key).expect("it was reported");
        assert_eq!(ended.call, call("slow"));
        assert!(state.check(INTERVAL).is_empty());
    }

    #[test]
    fn short_polls_are_not_reported() {
        let mut state = new_state();
        for _ in 0..10 {
            let key = state.begin(call("quick"), Instant::now());
            assert!(state.check(INTERVAL).is_empty());
            assert!(state.end(key).is_none());
        }
    }

    #[test]
    fn the_time_of_a_stopped_process_does_not_count() {
        let mut state = new_state();
        state.begin(call("stopped"), Instant::now());
        for _ in 0..10 {
            assert!(state.check(60 * INTERVAL).is_empty());
        }
    }

    #[test]
    fn checks_without_a_poll_are_idle() {
        let mut state = new_state();
        for _ in 0..IDLE_CHECKS {
            state.check(INTERVAL);
        }
        assert_eq!(state.n_idle_checks, IDLE_CHECKS);
        let key = state.begin(call("next"), Instant::now());
        assert_eq!(state.n_idle_checks, 0);
        state.end(key);
    }
}
