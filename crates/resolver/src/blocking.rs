//! The blocking client, for programs without an async runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use keyway_local::EnvironmentError;
use keyway_secrets::{Envelope, Id, Pattern, SecretValue};
use tokio::runtime::{Builder, Runtime};

use crate::fork::OfProcess;
use crate::{
    Authorization, Catalog, DaemonSocket, Expected, GetOneError, Removed, ResolveError, Secrets,
    Stored, Versions, WriteError,
};

/// A blocking client of the daemon.
///
/// It wraps a [`crate::Resolver`] over a [`DaemonSocket`] and returns the same errors. Its own async runtime runs on the
/// calling thread during a call and starts no thread. It may be shared between threads, and used by async programs where
/// blocking is allowed (tokio's `spawn_blocking`). A forked process may use the client of its parent: it gets connections of
/// its own.
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
    runtime: DetachedRuntime,
}

/// A runtime that may be dropped in async code, where tokio's own drop would panic because it waits for threads. This
/// one has no thread to wait for.
struct DetachedRuntime {
    runtime: OfProcess<Runtime>,
    /// That of a forked process: the event queue of its parent delivers to both.
    forked: OnceLock<Box<Self>>,
}

impl DetachedRuntime {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            runtime: OfProcess::new(runtime),
            forked: OnceLock::new(),
        })
    }

    /// Returns the runtime of this process.
    fn current(&self) -> io::Result<&Runtime> {
        if self.runtime.is_own() {
            return Ok(self.runtime.get());
        }
        if self.forked.get().is_none() {
            let fresh = Box::new(Self::new()?);
            // Another thread may have been faster.
            let _ = self.forked.set(fresh);
        }
        let forked = self.forked.get().expect("set before");
        forked.current()
    }
}

impl Drop for DetachedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Resolver {
    /// Creates a client of the daemon behind this socket.
    ///
    /// # Errors
    ///
    /// Returns an [`io::Error`] if the event queue cannot be created (too many open files).
    pub fn new(socket: DaemonSocket) -> io::Result<Self> {
        Ok(Self {
            resolver: crate::Resolver::new(socket),
            runtime: DetachedRuntime::new()?,
        })
    }

    /// Creates a client of the daemon of this process's user; see [`DaemonSocket::from_env`].
    ///
    /// # Errors
    ///
    /// Returns [`FromEnvError::Environment`] if `KEYWAY_SOCKET` or `KEYWAY_DAEMON_UID` is invalid, and
    /// [`FromEnvError::Runtime`] if the event queue cannot be created.
    pub fn from_env() -> Result<Self, FromEnvError> {
        Ok(Self::new(DaemonSocket::from_env()?)?)
    }

    /// See [`crate::Resolver::with_timeout`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.resolver = self.resolver.with_timeout(timeout);
        self
    }

    /// See [`crate::Resolver::with_may_ask_user`].
    #[must_use]
    pub fn with_may_ask_user(mut self, allowed: bool) -> Self {
        self.resolver = self.resolver.with_may_ask_user(allowed);
        self
    }

    /// See [`crate::Resolver::with_retry`].
    #[must_use]
    pub fn with_retry(mut self, retry: bool) -> Self {
        self.resolver = self.resolver.with_retry(retry);
        self
    }

    /// See [`crate::Resolver::get`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Resolver::get`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn get(&self, pattern: &Pattern) -> Result<Secrets, ResolveError> {
        self.wait(self.resolver.get(pattern))
    }

    /// See [`crate::Resolver::get_one`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Resolver::get_one`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn get_one(&self, id: &Id) -> Result<Envelope, GetOneError> {
        self.wait(self.resolver.get_one(id))
    }

    /// See [`crate::Resolver::authorize`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Resolver::authorize`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn authorize(&self, patterns: &[Pattern]) -> Result<Authorization, ResolveError> {
        self.wait(self.resolver.authorize(patterns))
    }

    /// See [`crate::Resolver::list`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Resolver::list`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn list(&self, pattern: &Pattern) -> Result<Catalog, ResolveError> {
        self.wait(self.resolver.list(pattern))
    }

    /// Returns a client that writes, with the socket and the options of this one.
    pub fn store(&self) -> Store<'_> {
        Store {
            store: self.resolver.store(),
            resolver: self,
        }
    }

    /// See [`crate::Resolver::version`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Resolver::version`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Resolver`] there, or `spawn_blocking`.
    pub fn version(&self) -> Result<String, ResolveError> {
        self.wait(self.resolver.version())
    }

    fn wait<T, E: From<ResolveError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.runtime.current() {
            Ok(runtime) => runtime.block_on(future),
            Err(error) => Err(no_runtime(&error).into()),
        }
    }
}

/// Only in a forked process, whose event queue is created by its first call.
fn no_runtime(error: &io::Error) -> ResolveError {
    let message = format!("the event queue of the client cannot be created: {error}");
    keyway_rpc::Error::unavailable(message).into()
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.resolver).finish()
    }
}

/// A blocking client that writes secrets through the daemon; see [`crate::Store`].
///
/// ```no_run
/// use keyway_resolver::Expected;
/// use keyway_resolver::blocking::Resolver;
///
/// let resolver = Resolver::from_env()?;
/// let id = "api/token".parse()?;
/// let stored = resolver.store().set(&id, "not-a-real-token".into(), Expected::Absent)?;
/// assert_eq!(resolver.store().versions(&id)?.versions[0].version, stored.version);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store<'a> {
    resolver: &'a Resolver,
    store: crate::Store<DaemonSocket>,
}

impl Store<'_> {
    /// See [`crate::Store::with_provider`].
    #[must_use]
    pub fn with_provider(mut self, name: impl Into<String>) -> Self {
        self.store = self.store.with_provider(name);
        self
    }

    /// See [`crate::Store::with_force`].
    #[must_use]
    pub fn with_force(mut self, force: bool) -> Self {
        self.store = self.store.with_force(force);
        self
    }

    /// See [`crate::Store::set`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Store::set`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Store`] there, or `spawn_blocking`.
    pub fn set(
        &self,
        id: &Id,
        value: SecretValue,
        expected: Expected,
    ) -> Result<Stored, WriteError> {
        self.resolver.wait(self.store.set(id, value, expected))
    }

    /// See [`crate::Store::set_with_metadata`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Store::set`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Store`] there, or `spawn_blocking`.
    pub fn set_with_metadata(
        &self,
        id: &Id,
        value: SecretValue,
        metadata: BTreeMap<String, String>,
        expected: Expected,
    ) -> Result<Stored, WriteError> {
        let set = self.store.set_with_metadata(id, value, metadata, expected);
        self.resolver.wait(set)
    }

    /// See [`crate::Store::remove`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Store::remove`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Store`] there, or `spawn_blocking`.
    pub fn remove(
        &self,
        id: &Id,
        version: Option<&str>,
        expected: Expected,
    ) -> Result<Removed, WriteError> {
        self.resolver.wait(self.store.remove(id, version, expected))
    }

    /// See [`crate::Store::versions`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Store::versions`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Store`] there, or `spawn_blocking`.
    pub fn versions(&self, id: &Id) -> Result<Versions, WriteError> {
        self.resolver.wait(self.store.versions(id))
    }

    /// See [`crate::Store::restore`].
    ///
    /// # Errors
    ///
    /// Returns the errors of [`crate::Store::restore`].
    ///
    /// # Panics
    ///
    /// Panics if called from async code, which it would block. Use [`crate::Store`] there, or `spawn_blocking`.
    pub fn restore(&self, id: &Id, version: &str) -> Result<Stored, WriteError> {
        self.resolver.wait(self.store.restore(id, version))
    }
}

/// Error of [`Resolver::from_env`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FromEnvError {
    /// `KEYWAY_SOCKET` or `KEYWAY_DAEMON_UID` is invalid.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The event queue cannot be created.
    #[error("cannot create the event queue of the client")]
    Runtime(#[from] io::Error),
}
