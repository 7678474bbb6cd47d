//! [`OfProcess`]: a value that a forked process leaves alone.

use std::mem;
use std::process;

/// A value that belongs to the process that created it.
///
/// A forked process shares open descriptors with its parent. Two processes on one connection would read each other's
/// responses, and what is registered with an event queue would be removed from that of the parent when it is dropped. So
/// in a forked process the value is neither used nor dropped.
#[derive(Debug)]
pub(crate) struct OfProcess<T> {
    /// `None` only after [`take`](Self::take).
    value: Option<T>,
    process: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            process: process::id(),
        }
    }

    /// Returns `true` if this process created the value.
    pub(crate) fn is_own(&self) -> bool {
        self.process == process::id()
    }

    /// Returns the value, whose owner the caller knows.
    ///
    /// # Panics
    ///
    /// Panics if the value was taken.
    pub(crate) fn get(&self) -> &T {
        self.value.as_ref().expect("taken only at the end")
    }

    /// As [`get`](Self::get).
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("taken only at the end")
    }

    /// Takes the value if this process created it.
    pub(crate) fn take(&mut self) -> Option<T> {
        match self.is_own() {
            true => self.value.take(),
            false => None,
        }
    }
}

impl<T> Drop for OfProcess<T> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the destructor would reach into the parent; connections and runtimes hold no value"
    )]
    fn drop(&mut self) {
        if self.value.is_some() && !self.is_own() {
            mem::forget(self.value.take());
        }
    }
}
