//! A face for programs without an async runtime.

use std::fmt;
use std::io;
use std::time::Duration;

use keyway_local::EnvironmentError;
use keyway_secrets::{Envelope, Id, Pattern};
use tokio::runtime::{Builder, Runtime};

use crate::{Authorization, Catalog, DaemonSocket, GetOneError, ResolveError, Secrets};

/// Asks a daemon for secrets and waits for the answer.
///
/// It does what [`crate::Resolver`] over a [`DaemonSocket`] does, with the same errors, and needs no async runtime: it
/// has a small one of its own, which runs on the calling thread while a method is called and starts no thread. It may
/// be shared between threads, and used by async programs where they may block (tokio's `spawn_blocking`).
///
/// ```no_run
/// use keyway_resolver::blocking::Resolver;
///
/// let resolver = Resolver::from_env()?;
/// let token = resolver.get_one(&"api/token".parse()?)?;
/// assert!(!token.value.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Resolver {
    resolver: crate::Resolver<DaemonSocket>,
    runtime: Background,
}

/// A runtime that may be dropped anywhere. It has no thread that could be waited for, and to wait would not be allowed
/// in async code, which may be the last owner of something that is used elsewhere.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Resolver {
    /// A client of the daemon behind this socket.
    ///
    /// # Errors
    ///
    /// The system gives no event queue (too many open files).
    pub fn new(socket: DaemonSocket) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            resolver: crate::Resolver::new(socket),
            runtime: Background(Some(runtime)),
        })
    }

    /// A client of the daemon of the user who runs this program; see [`DaemonSocket::from_env`].
    ///
    /// # Errors
    ///
    /// `KEYWAY_SOCKET` or `KEYWAY_DAEMON_UID` is set to something that is not an address or a uid, or as for [`new`](Self::new).
    pub fn from_env() -> Result<Self, FromEnvError> {
        Ok(Self::new(DaemonSocket::from_env()?)?)
    }

    /// How long one request may take. Default: 5 minutes.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.resolver = self.resolver.with_timeout(timeout);
        self
    }

    /// As [`crate::Resolver::with_may_ask_user`].
    #[must_use]
    pub fn with_may_ask_user(mut self, allowed: bool) -> Self {
        self.resolver = self.resolver.with_may_ask_user(allowed);
        self
    }

    /// As [`crate::Resolver::with_retry`].
    #[must_use]
    pub fn with_retry(mut self, retry: bool) -> Self {
        self.resolver = self.resolver.with_retry(retry);
        self
    }

    /// As [`crate::Resolver::get`].
    ///
    /// # Errors
    ///
    /// Those of [`crate::Resolver::get`].
    ///
    /// # Panics
    ///
    /// Called from async code, which it would block: use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn get(&self, pattern: &Pattern) -> Result<Secrets, ResolveError> {
        self.wait(self.resolver.get(pattern))
    }

    /// As [`crate::Resolver::get_one`].
    ///
    /// # Errors
    ///
    /// Those of [`crate::Resolver::get_one`].
    ///
    /// # Panics
    ///
    /// Called from async code, which it would block: use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn get_one(&self, id: &Id) -> Result<Envelope, GetOneError> {
        self.wait(self.resolver.get_one(id))
    }

    /// As [`crate::Resolver::authorize`].
    ///
    /// # Errors
    ///
    /// Those of [`crate::Resolver::authorize`].
    ///
    /// # Panics
    ///
    /// Called from async code, which it would block: use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn authorize(&self, patterns: &[Pattern]) -> Result<Authorization, ResolveError> {
        self.wait(self.resolver.authorize(patterns))
    }

    /// As [`crate::Resolver::list`].
    ///
    /// # Errors
    ///
    /// Those of [`crate::Resolver::list`].
    ///
    /// # Panics
    ///
    /// Called from async code, which it would block: use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn list(&self, pattern: &Pattern) -> Result<Catalog, ResolveError> {
        self.wait(self.resolver.list(pattern))
    }

    /// As [`crate::Resolver::version`].
    ///
    /// # Errors
    ///
    /// Those of [`crate::Resolver::version`].
    ///
    /// # Panics
    ///
    /// Called from async code, which it would block: use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn version(&self) -> Result<String, ResolveError> {
        self.wait(self.resolver.version())
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = self.runtime.0.as_ref().expect("it is there until the drop");
        runtime.block_on(future)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.resolver).finish()
    }
}

/// Why [`Resolver::from_env`] made no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FromEnvError {
    /// `KEYWAY_SOCKET` or `KEYWAY_DAEMON_UID` is set to something that is not an address or a uid.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The system gives no event queue.
    #[error("the system refused what waiting for an answer needs: {0}")]
    Runtime(#[from] io::Error),
}
