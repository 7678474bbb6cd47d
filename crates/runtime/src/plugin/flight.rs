//! Calls of one plugin that several callers share, and responses that are used again (`shareable`, `cache_ttl`).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use keyway_local::{Kept, MemoryBudget, Reservation};
use keyway_secrets::Pattern;

use super::calls::{CallError, Secrets};
use crate::model::expires_at;
use crate::sys::clock::boot_time;

/// The most responses that are kept for one plugin. Their values are in the daemon's memory for that long.
const MAX_RESPONSES: usize = 256;

/// The most bytes that they take in memory together. A response that is larger by itself is not kept.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// The most comparisons of two patterns by one [`Flights::forget`], during which no call of the plugin begins.
const MAX_COMPARISONS: usize = MAX_RESPONSES;

/// A response that several callers share.
pub(crate) type SharedResponse = Arc<Result<Secrets, CallError>>;

/// The facts of a response that decide whether it is kept.
pub(crate) trait Keep: Clone + Send + Sync + 'static {
    /// Returns the bytes that it takes in memory.
    fn memory_len(&self) -> u64;

    /// Returns whether and how long it may be used again.
    fn freshness(&self) -> Freshness;
}

/// The time for which a response may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Not at all: it is a failure.
    Never,
    /// As long as the settings allow.
    Unlimited,
    /// Until the first secret in it expires.
    Until(SystemTime),
}

/// The key of calls of one plugin that are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The query as sent to the plugin.
    pub(crate) query: Pattern,
    /// `true` if the call may ask the user. A failure because prompts were forbidden must not reach a caller that allows them.
    pub(crate) may_ask_user: bool,
}

/// The way in which responses of a plugin serve several callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// `true` if equal calls in flight are one call. Implied by `keep`.
    pub(crate) share: bool,
    /// The time for which a response is used again; `None`: not at all. "Not found" is kept as long as a value, so a secret that
    /// is added to a store may be missing for this long.
    pub(crate) keep: Option<Duration>,
}

/// One moment by two clocks that both advance while the machine sleeps.
///
/// The wall clock can be set; the boot clock cannot. An age is the larger of the two differences, so neither setting the wall clock
/// back nor suspending the machine makes a response younger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall: SystemTime,
    /// Since the machine started, sleep included.
    pub(crate) boot: Duration,
}

impl Moment {
    /// Returns the present.
    pub(crate) fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            boot: boot_time(),
        }
    }

    fn since(&self, earlier: &Self) -> Duration {
        let by_wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        by_wall.max(self.boot.saturating_sub(earlier.boot))
    }
}

type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

type Flight<R> = BoxFuture<'static, Arrived<R>>;

/// A response of a call, and the memory that it is counted against until the last of its callers has taken it.
#[derive(Debug, Clone)]
pub(crate) struct Arrived<R> {
    pub(crate) response: R,
    pub(crate) reservation: Reservation,
}

/// The calls in flight and the kept responses of one plugin. It is dropped with the plugin's registration, and the values in it
/// are zeroed then.
///
/// A call is cancelled when the last caller that waits for it has left. Each call keeps its response at most once, and only if its
/// entry is still there: [`clear`](Self::clear) takes it away, so a call that began before is neither kept nor joined afterwards.
pub(crate) struct Flights<R> {
    table: Arc<Mutex<Table<R>>>,
    clock: Clock,
}

struct Table<R> {
    slots: HashMap<Key, Slot<R>>,
    /// The number of the next call. A number is never used again.
    next: u64,
}

enum Slot<R> {
    InFlight {
        number: u64,
        call: WeakShared<Flight<R>>,
    },
    Kept {
        response: Kept<R>,
        len: u64,
        since: Moment,
        lifetime: Duration,
    },
}

impl<R: Keep> Flights<R> {
    /// Creates an empty value: nothing in flight, nothing kept.
    pub(crate) fn new() -> Self {
        Self::with_clock(Arc::new(Moment::now))
    }

    fn with_clock(clock: Clock) -> Self {
        let table = Table {
            slots: HashMap::new(),
            next: 0,
        };
        Self {
            table: Arc::new(Mutex::new(table)),
            clock,
        }
    }

    /// Returns the response to an equal call that is kept or in flight if `sharing` allows that, else the response to `call`. Kept
    /// ones are counted against `budget`, and dropped if their memory is needed.
    ///
    /// A shared call continues when this caller leaves and another one waits, so it must not depend on this caller's deadline.
    /// Cancel safe.
    pub(crate) async fn get(
        &self,
        key: Key,
        sharing: Sharing,
        budget: &MemoryBudget,
        call: impl FnOnce() -> Flight<R>,
    ) -> Arrived<R> {
        if !sharing.share && sharing.keep.is_none() {
            return call().await;
        }
        let found = self.look_up(key, sharing.keep, budget, call);
        match found {
            Found::Kept(response) => Arrived {
                response,
                reservation: budget.reservation(),
            },
            Found::InFlight(flight) => flight.await,
        }
    }

    /// Drops every kept response. Calls in flight continue for their present waiters.
    pub(crate) fn clear(&self) {
        lock(&self.table).slots.clear();
    }

    /// Drops the kept responses to queries that overlap one of `patterns`, as [`clear`](Self::clear) does for all. Where the comparison
    /// would take long, it drops all.
    pub(crate) fn forget(&self, patterns: &[Pattern]) {
        let mut table = lock(&self.table);
        let n_comparisons = patterns.len() * table.slots.len();
        if n_comparisons > MAX_COMPARISONS {
            table.slots.clear();
            return;
        }
        let is_changed = |key: &Key| patterns.iter().any(|pattern| pattern.overlaps(&key.query));
        table.slots.retain(|key, _| !is_changed(key));
    }

    fn look_up(
        &self,
        key: Key,
        keep: Option<Duration>,
        budget: &MemoryBudget,
        call: impl FnOnce() -> Flight<R>,
    ) -> Found<R> {
        let now = (self.clock)();
        let mut table = lock(&self.table);
        if let Some(found) = table.find(&key, keep, &now) {
            return found;
        }
        let number = table.next;
        table.next += 1;
        let slot = SlotKey {
            key: key.clone(),
            number,
        };
        let flight = self.flight(slot, keep, budget.clone(), call()).shared();
        table.slots.remove(&key);
        table.make_space(0, &now);
        // With as many calls in flight as there are slots, this one is not shared.
        if let Some(call) = flight.downgrade().filter(|_| table.has_free_slot()) {
            table.slots.insert(key, Slot::InFlight { number, call });
        }
        Found::InFlight(flight)
    }

    /// Returns the call, which replaces its own slot by the response when it ends.
    fn flight(
        &self,
        slot: SlotKey,
        keep: Option<Duration>,
        budget: MemoryBudget,
        call: Flight<R>,
    ) -> Flight<R> {
        let (table, clock) = (Arc::clone(&self.table), Arc::clone(&self.clock));
        async move {
            let arrived = call.await;
            let now = clock();
            lock(&table).finish(slot, &arrived.response, keep, &budget, now);
            arrived
        }
        .boxed()
    }
}

/// The slot of one call: a number is never used again, a key is.
struct SlotKey {
    key: Key,
    number: u64,
}

enum Found<R> {
    Kept(R),
    InFlight(Shared<Flight<R>>),
}

impl<R: Keep> Table<R> {
    fn find(&self, key: &Key, keep: Option<Duration>, now: &Moment) -> Option<Found<R>> {
        match self.slots.get(key)? {
            Slot::InFlight { call, .. } => call.upgrade().map(Found::InFlight),
            Slot::Kept {
                response,
                since,
                lifetime,
                ..
            } => {
                let age = now.since(since);
                let is_fresh = age < *lifetime && age < keep?;
                response.get().filter(|_| is_fresh).map(Found::Kept)
            }
        }
    }

    fn finish(
        &mut self,
        SlotKey { key, number }: SlotKey,
        response: &R,
        keep: Option<Duration>,
        budget: &MemoryBudget,
        now: Moment,
    ) {
        let is_own = matches!(self.slots.get(&key), Some(Slot::InFlight { number: own, .. }) if *own == number);
        if !is_own {
            return;
        }
        self.slots.remove(&key);
        let Some(lifetime) = keep.and_then(|keep| lifetime(response.freshness(), keep, now.wall))
        else {
            return;
        };
        let len = response.memory_len();
        if len > MAX_BYTES {
            return;
        }
        self.make_space(len, &now);
        if self.has_free_slot()
            && let Some(response) = budget.keep(response.clone(), len)
        {
            let kept = Slot::Kept {
                response,
                len,
                since: now,
                lifetime,
            };
            self.slots.insert(key, kept);
        }
    }

    /// Makes space for one more slot with `len` bytes: drops expired responses, and every kept response if that is not enough.
    fn make_space(&mut self, len: u64, now: &Moment) {
        if self.has_space(len) {
            return;
        }
        self.slots.retain(|_, slot| match slot {
            Slot::InFlight { call, .. } => call.upgrade().is_some(),
            Slot::Kept {
                since, lifetime, ..
            } => now.since(since) < *lifetime,
        });
        if !self.has_space(len) {
            self.slots
                .retain(|_, slot| matches!(slot, Slot::InFlight { .. }));
        }
    }

    fn has_free_slot(&self) -> bool {
        self.slots.len() < MAX_RESPONSES
    }

    fn has_space(&self, len: u64) -> bool {
        self.has_free_slot() && (len == 0 || self.kept_len() + len <= MAX_BYTES)
    }

    fn kept_len(&self) -> u64 {
        let lengths = self.slots.values().map(|slot| match slot {
            Slot::InFlight { .. } => 0,
            Slot::Kept { len, .. } => *len,
        });
        lengths.sum()
    }
}

fn lock<R>(table: &Mutex<Table<R>>) -> MutexGuard<'_, Table<R>> {
    // A panic in a call happens outside of the lock, so the table is whole.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lifetime(freshness: Freshness, keep: Duration, now: SystemTime) -> Option<Duration> {
    let lifetime = match freshness {
        Freshness::Never => return None,
        Freshness::Unlimited => keep,
        Freshness::Until(expiry) => expiry.duration_since(now).unwrap_or_default().min(keep),
    };
    Some(lifetime).filter(|lifetime| !lifetime.is_zero())
}

impl Keep for SharedResponse {
    fn memory_len(&self) -> u64 {
        let secrets = self.as_ref().as_ref();
        secrets.map_or(0, |secrets| secrets.memory_len)
    }

    fn freshness(&self) -> Freshness {
        let secrets = match self.as_ref() {
            // A missing part may be there the next time.
            Ok(Secrets {
                incomplete: Some(_),
                ..
            }) => return Freshness::Never,
            Ok(secrets) => secrets,
            // That no secret matches is a result as well.
            Err(error) if error.is_not_found() => return Freshness::Unlimited,
            Err(_) => return Freshness::Never,
        };
        let expiries = secrets.envelopes.iter().filter_map(expires_at);
        expiries
            .min()
            .map_or(Freshness::Unlimited, Freshness::Until)
    }
}

impl<R> fmt::Debug for Flights<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("slots", &lock(&self.table).slots.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
