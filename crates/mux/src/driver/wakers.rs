//! The wakers of waiting tasks, which are woken after the lock was released.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Wake, Waker},
};

/// How many wakers to be woken are collected without an allocation. One event of one stream wakes at most
/// two tasks.
const INLINE: usize = 4;

/// Wakers that leave the session's state, until its lock is free. Waking under the lock could run
/// foreign code that needs the same lock, and so could dropping a waker.
///
/// A waker that was replaced is dropped and never woken: `will_wake` may be `false` of a clone, since
/// it compares addresses, and a task would wake itself each time it is polled.
#[derive(Debug, Default)]
pub(crate) struct WakeList {
    inline: [Option<Waker>; INLINE],
    len: usize,
    more: Vec<Waker>,
    /// Wakers that are dropped.
    discarded: Vec<Waker>,
}

impl WakeList {
    /// Adds a waker to be woken.
    pub(crate) fn push(&mut self, waker: Waker) {
        if self.len < INLINE {
            self.inline[self.len] = Some(waker);
        } else {
            self.more.push(waker);
        }
        self.len += 1;
    }

    /// Adds a waker to be dropped.
    pub(crate) fn discard(&mut self, waker: Waker) {
        self.discarded.push(waker);
    }

    /// How many wakers are to be woken.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to wake and nothing to drop.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0 && self.discarded.is_empty()
    }

    /// Wakes those that were pushed, and drops the others.
    pub(crate) fn wake(mut self) {
        for slot in &mut self.inline[..self.len.min(INLINE)] {
            if let Some(waker) = slot.take() {
                waker.wake();
            }
        }
        for waker in self.more {
            waker.wake();
        }
    }
}

/// A task that polls under the lock, with a clone of its waker that is stored if it waits. Cloning a waker may run
/// foreign code, so it is done before the lock is taken; that costs less than to poll again after it.
#[derive(Debug)]
pub(crate) struct Task(Option<Waker>);

impl Task {
    pub(super) const fn new(waker: Waker) -> Self {
        Self(Some(waker))
    }

    /// The waker, unless it is stored already: here or as one that wakes the same task.
    fn take_unless(&mut self, stored: Option<&Waker>) -> Option<Waker> {
        let is_stored = |waker: &mut Waker| stored.is_some_and(|stored| stored.will_wake(waker));
        self.0.take_if(|waker| !is_stored(waker))
    }
}

/// The waker that the connection and other tasks use for the driver: the same for the whole session, whatever task polls
/// the driver, so that no foreign waker is cloned under the lock.
#[derive(Debug, Default)]
pub(super) struct DriverWaker(Mutex<Option<Waker>>);

impl DriverWaker {
    /// Registers the waker of the task that polls the driver, before it looks for work.
    pub(super) fn register(&self, waker: &Waker) {
        let is_known = self.lock().as_ref().is_some_and(|old| old.will_wake(waker));
        if !is_known {
            let clone = waker.clone();
            let old = self.lock().replace(clone);
            drop(old);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for DriverWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = self.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The tasks that wait for one stream: one for each direction, so that two halves of a split
/// stream do not take each other's place, and any number for its end.
#[derive(Debug, Default)]
pub(crate) struct StreamWakers {
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// The writer waits for a flush, and the stream is in the list of those that do.
    pub(crate) is_flushing: bool,
    /// Made when the first task waits for the end of the stream, which few do.
    pub(crate) closed: Option<Box<WaitSet>>,
}

/// Stores the task's waker in place of the one before.
pub(crate) fn store(slot: &mut Option<Waker>, task: &mut Task, wakes: &mut WakeList) {
    if let Some(waker) = task.take_unless(slot.as_ref())
        && let Some(old) = slot.replace(waker)
    {
        wakes.discard(old);
    }
}

/// A place in a [`WaitSet`]; zero is no place.
#[derive(Debug, Default)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// Whether the holder has waited and not been served.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.0 != 0
    }
}

/// Any number of tasks that wait for the same event, in FIFO order.
#[derive(Debug, Default)]
pub(crate) struct WaitSet {
    waiting: VecDeque<(u64, Waker)>,
    last: u64,
}

impl WaitSet {
    /// Waits, or keeps waiting at the same place.
    pub(crate) fn wait(&mut self, ticket: &mut Ticket, task: &mut Task, wakes: &mut WakeList) {
        let place = self
            .waiting
            .iter_mut()
            .find(|(number, _)| *number == ticket.0);
        if let Some((_, stored)) = place {
            if let Some(waker) = task.take_unless(Some(stored)) {
                wakes.discard(std::mem::replace(stored, waker));
            }
        } else if let Some(waker) = task.take_unless(None) {
            self.last += 1;
            ticket.0 = self.last;
            self.waiting.push_back((ticket.0, waker));
        }
    }

    /// Stops waiting. Returns whether the ticket had been woken and not used, in which case
    /// the wake-up belongs to the next one.
    pub(crate) fn leave(&mut self, ticket: &mut Ticket, wakes: &mut WakeList) -> bool {
        let number = std::mem::take(&mut ticket.0);
        if number == 0 {
            return false;
        }
        let Some(at) = self.waiting.iter().position(|(other, _)| *other == number) else {
            return true;
        };
        if let Some((_, waker)) = self.waiting.remove(at) {
            wakes.discard(waker);
        }
        false
    }

    /// Wakes the task that has waited longest.
    pub(crate) fn wake_one(&mut self, wakes: &mut WakeList) {
        if let Some((_, waker)) = self.waiting.pop_front() {
            wakes.push(waker);
        }
    }

    /// Wakes all tasks.
    pub(crate) fn wake_all(&mut self, wakes: &mut WakeList) {
        for (_, waker) in self.waiting.drain(..) {
            wakes.push(waker);
        }
    }
}
