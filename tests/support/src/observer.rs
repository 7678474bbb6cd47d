//! [`Observer`]: a callback at the steps of the code under test.

use std::cell::RefCell;
use std::fmt;

type Callback<S> = Box<dyn FnMut(S)>;

/// A callback that a test sets and that the code under test calls at each of its steps. It belongs in a `thread_local!`, so that
/// tests that run at the same time do not observe each other.
pub struct Observer<S>(RefCell<Option<Callback<S>>>);

impl<S> Observer<S> {
    /// Returns an observer without a callback.
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Replaces the callback.
    pub fn set(&self, callback: impl FnMut(S) + 'static) {
        self.0.replace(Some(Box::new(callback)));
    }

    /// Calls the callback, if there is one.
    ///
    /// # Panics
    ///
    /// Panics if the callback takes a step or replaces itself.
    pub fn notify(&self, step: S) {
        if let Some(callback) = &mut *self.0.borrow_mut() {
            callback(step);
        }
    }
}

impl<S> Default for Observer<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for Observer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
