//! Writes of a command: through the daemon, or directly to the file store if no daemon runs.

mod error;
mod file;

use std::collections::BTreeMap;
use std::panic;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use keyway_plugin_file::{Expected, Store, StoreError};
use keyway_resolver::{
    DaemonSocket, Envelope, GetOneError, Id, ResolveError, SecretValue, Store as Remote, Stored,
    StoredVersion, WriteError,
};

use self::error::Effect;
pub(crate) use self::error::WriteFailure;
pub(crate) use self::file::StoreOptions;
use crate::daemon;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;
use crate::waiting;

/// The name of the provider that is written directly.
const FILE: &str = "file";

/// Limit for a call of the file store without `--timeout`: longer than it waits for another writer. Only a disk that hangs exceeds it.
const STORE_LIMIT: Duration = Duration::from_secs(30);

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    /// The directory of a file store, which is then written directly, whether a daemon runs or not.
    pub(crate) store: &'a StoreOptions,
    /// The provider; `None`: the daemon's default, or the file store without a daemon.
    pub(crate) provider: Option<&'a str>,
    /// Whether a value is stored although a query would not return it.
    pub(crate) force: bool,
}

/// Writes secrets for one command: through the daemon if one runs, else directly to the file store, which a note on stderr
/// then says once.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    globals: &'a Globals,
    destination: Destination<'a>,
    file: Arc<Store>,
    /// Whether no daemon takes writes, or none is to be asked.
    is_direct: bool,
    /// Whether the note is still to be written.
    is_note_due: bool,
}

/// The result of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The new current version.
    pub(crate) version: String,
    /// The provider.
    pub(crate) provider: String,
    /// Where the value is, for the user: the provider, or the directory of the file store.
    pub(crate) place: String,
}

/// The result of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The number of removed versions.
    pub(crate) n_versions: usize,
    /// Whether they can be restored.
    pub(crate) is_restorable: bool,
    /// The provider.
    pub(crate) provider: String,
    /// Where the secret was, for the user.
    pub(crate) place: String,
}

/// The stored versions of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// Newest first.
    pub(crate) versions: Vec<StoredVersion>,
    /// The provider.
    pub(crate) provider: String,
}

/// Checks that the id may name a secret.
///
/// # Errors
///
/// Returns the [`Failure`] of a reserved id, which daemons never resolve.
pub(crate) fn check_id(id: &Id) -> Result<(), Failure> {
    match keyway_runtime::is_reserved(id) {
        true => Err(error::reserved(id)),
        false => Ok(()),
    }
}

impl<'a> Writer<'a> {
    /// Prepares writes. Neither connects nor opens a file.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the location of the file store is not known.
    pub(crate) fn open(
        globals: &'a Globals,
        destination: Destination<'a>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            globals,
            file: Arc::new(destination.store.open()?),
            is_direct: destination.store.is_given(),
            is_note_due: !destination.store.is_given(),
            destination,
        })
    }

    /// Stores a value as the current version of a secret.
    ///
    /// # Errors
    ///
    /// Returns [`WriteFailure::UnexpectedVersion`] if another version than the expected one is the current one, and
    /// [`WriteFailure::Failed`] for everything else. Nothing is stored then, unless the failure says that this is not known.
    pub(crate) fn set(
        &mut self,
        id: &Id,
        value: &SecretValue,
        expected: &Expected,
    ) -> Result<Written, WriteFailure> {
        self.set_with_metadata(id, value, &BTreeMap::new(), expected)
    }

    /// As [`set`](Self::set), with attributes of the version.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set`](Self::set).
    pub(crate) fn set_with_metadata(
        &mut self,
        id: &Id,
        value: &SecretValue,
        metadata: &BTreeMap<String, String>,
        expected: &Expected,
    ) -> Result<Written, WriteFailure> {
        check_id(id)?;
        let set = async |remote: &Remote<DaemonSocket>| {
            let (value, metadata) = (value.clone(), metadata.clone());
            remote
                .set_with_metadata(id, value, metadata, expected.clone())
                .await
        };
        if let Some(stored) = self.through_daemon(id, Effect::Change, set)? {
            return Ok(stored.into());
        }
        let (value, metadata, expected) = (value.clone(), metadata.clone(), expected.clone());
        let stored = self.directly(id, Effect::Change, move |file, id| {
            file.set_expecting(id, &value, &metadata, &expected)
        })?;
        Ok(self.written(stored.number))
    }

    /// Removes a secret with all its versions.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set`](Self::set).
    pub(crate) fn remove(&mut self, id: &Id, expected: &Expected) -> Result<Removed, WriteFailure> {
        let remove =
            async |remote: &Remote<DaemonSocket>| remote.remove(id, None, expected.clone()).await;
        if let Some(removed) = self.through_daemon(id, Effect::Change, remove)? {
            return Ok(Removed {
                n_versions: usize::try_from(removed.count).unwrap_or(usize::MAX),
                is_restorable: removed.restorable,
                place: removed.provider.clone(),
                provider: removed.provider,
            });
        }
        let expected = expected.clone();
        let count = self.directly(id, Effect::Change, move |file, id| {
            match file.remove_expecting(id, None, &expected)? {
                0 => Err(StoreError::NotFound {
                    id: id.clone(),
                    version: None,
                }),
                count => Ok(count),
            }
        })?;
        Ok(Removed {
            n_versions: count,
            is_restorable: true,
            provider: FILE.to_owned(),
            place: self.destination.store.display_dir(&self.file),
        })
    }

    /// Lists the stored versions of a secret, removed ones included.
    ///
    /// # Errors
    ///
    /// Returns a failure with the exit code 3 if there is none.
    pub(crate) fn versions(&mut self, id: &Id) -> Result<History, WriteFailure> {
        let versions = async |remote: &Remote<DaemonSocket>| remote.versions(id).await;
        if let Some(found) = self.through_daemon(id, Effect::None, versions)? {
            return Ok(History {
                versions: found.versions,
                provider: found.provider,
            });
        }
        // Reading is not worth the note.
        self.is_note_due = false;
        let history = self.directly(id, Effect::None, |file, id| match file.history(id)? {
            none if none.is_empty() => Err(StoreError::NotFound {
                id: id.clone(),
                version: None,
            }),
            history => Ok(history),
        })?;
        Ok(History {
            versions: history.into_iter().map(StoredVersion::from).collect(),
            provider: FILE.to_owned(),
        })
    }

    /// Stores the value of an earlier version as the current one.
    ///
    /// # Errors
    ///
    /// Returns a failure with the exit code 3 if that version is not stored, and the errors of [`set`](Self::set).
    pub(crate) fn restore(&mut self, id: &Id, version: &str) -> Result<Written, WriteFailure> {
        let restore = async |remote: &Remote<DaemonSocket>| remote.restore(id, version).await;
        if let Some(stored) = self.through_daemon(id, Effect::Change, restore)? {
            return Ok(stored.into());
        }
        let Ok(number) = version.parse() else {
            return Err(error::no_version(id).into());
        };
        let stored = self.directly(id, Effect::Change, move |file, id| file.restore(id, number))?;
        Ok(self.written(stored.number))
    }

    /// Reads the current version of a secret as the daemon resolves it, or from the file store without a daemon.
    ///
    /// # Errors
    ///
    /// Returns a failure with the exit code 3 if there is none.
    pub(crate) fn read(&self, id: &Id) -> Result<Envelope, Failure> {
        if !self.is_direct {
            let globals = self.globals;
            let found = daemon::with_client(globals, async |daemon| {
                let patterns = [id.into()];
                let query = daemon.get_one(id);
                match waiting::show(&daemon, globals, &patterns, query).await {
                    Ok(envelope) => Ok(Some(envelope)),
                    Err(GetOneError::Resolve(error)) if self.is_without(&error) => Ok(None),
                    Err(error) => {
                        let context = daemon::QueryContext {
                            daemon: &daemon,
                            globals,
                        };
                        Err(context.id_failure(id, error).await)
                    }
                }
            })?;
            if let Some(envelope) = found {
                return Ok(envelope);
            }
        }
        let pattern = id.into();
        let found = self.within_limit(id, Effect::None, move |file| file.get(&pattern))?;
        let mut found = found.map_err(|error| self.destination.store.failure(&error))?;
        let mut envelope = found.pop().ok_or_else(|| daemon::not_found(&id.into()))?;
        envelope.provider = FILE.to_owned();
        Ok(envelope)
    }

    /// Reads one version of a secret directly, removed or not, and says that nothing was checked: no daemon returns an earlier version.
    ///
    /// # Errors
    ///
    /// Returns a failure with the exit code 3 if that version is not stored.
    pub(crate) fn read_version(&self, id: &Id, version: &str) -> Result<Envelope, Failure> {
        let missing = || error::no_version(id);
        let number = version.parse().map_err(|_| missing())?;
        let called = id.clone();
        let found = self.within_limit(id, Effect::None, move |file| {
            let value = file.get_version(&called, number)?;
            let history = file.history(&called)?;
            let stored = history.into_iter().find(|stored| stored.number == number);
            Ok(value.zip(stored))
        })?;
        let found = found.map_err(|error| self.destination.store.failure(&error))?;
        let (value, stored) = found.ok_or_else(missing)?;
        let mut envelope = Envelope::new(id.clone(), value);
        envelope.provider = FILE.to_owned();
        envelope.version = number.to_string();
        envelope.created_at = stored.created_at;
        envelope.metadata = stored.metadata;
        output::note(
            "an earlier version is read from the file store directly, so that nothing was checked or recorded",
        );
        Ok(envelope)
    }

    /// Names the provider of the following writes, unless the command line named one.
    pub(crate) fn prefer(&mut self, provider: &'a str) {
        self.destination.provider.get_or_insert(provider);
    }

    /// Calls the daemon. Returns `None` if there is none that takes writes: the file store is written directly then.
    fn through_daemon<T>(
        &mut self,
        id: &Id,
        effect: Effect,
        write: impl AsyncFnOnce(&Remote<DaemonSocket>) -> Result<T, WriteError>,
    ) -> Result<Option<T>, WriteFailure> {
        if self.is_direct {
            return Ok(None);
        }
        let (globals, destination) = (self.globals, self.destination);
        let result = daemon::with_client(globals, async |daemon| {
            let mut remote = daemon.store().with_force(destination.force);
            if let Some(provider) = destination.provider {
                remote = remote.with_provider(provider);
            }
            let patterns = [id.into()];
            let write = write(&remote);
            match waiting::show(&daemon, globals, &patterns, write).await {
                Ok(written) => Ok(Ok(Some(written))),
                Err(WriteError::Daemon(error)) if self.is_without(&error) => Ok(Ok(None)),
                Err(error) => match error::of_daemon(id, effect, globals.no_ask, error) {
                    WriteFailure::Failed(failure) => Err(failure),
                    unexpected => Ok(Err(unexpected)),
                },
            }
        });
        let written = result??;
        if written.is_none() {
            self.become_direct()?;
        }
        Ok(written)
    }

    /// Whether the error says that no daemon takes writes. One that was named on the command line has to.
    fn is_without(&self, error: &ResolveError) -> bool {
        match error {
            ResolveError::NotRunning(error) => daemon::is_absent(self.globals, error),
            ResolveError::Unsupported { .. } => self.globals.sockets().is_empty(),
            _ => false,
        }
    }

    /// From now on the file store is written directly.
    fn become_direct(&mut self) -> Result<(), Failure> {
        match self.destination.provider {
            Some(provider) if provider != FILE => Err(error::needs_daemon()),
            _ => {
                self.is_direct = true;
                Ok(())
            }
        }
    }

    /// Calls the file store, and says once that nothing was checked.
    fn directly<T: Send + 'static>(
        &mut self,
        id: &Id,
        effect: Effect,
        call: impl FnOnce(&Store, &Id) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, WriteFailure> {
        let store = self.destination.store;
        let place = store.display_dir(&self.file);
        let called = id.clone();
        let done = self
            .within_limit(id, effect, move |file| call(file, &called))?
            .map_err(|error| error::of_file(id, &error, store, &place))?;
        if std::mem::take(&mut self.is_note_due) {
            output::note(
                "no daemon took the write, so that the file store was changed directly and nothing was checked or recorded",
            );
        }
        Ok(done)
    }

    /// Calls the file store on another thread, which ends with the program.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the call takes too long, or if there can be no other thread.
    fn within_limit<T: Send + 'static>(
        &self,
        id: &Id,
        effect: Effect,
        call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Result<T, StoreError>, Failure> {
        let limit = self.globals.timeout.unwrap_or(STORE_LIMIT);
        let file = Arc::clone(&self.file);
        let (sender, result) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().spawn(move || {
            // The receiver is gone after the limit.
            let _ = sender.send(call(&file));
        });
        let thread = thread.map_err(|error| error::no_thread(&error))?;
        match result.recv_timeout(limit) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Timeout) => {
                let place = self.destination.store.display_dir(&self.file);
                Err(error::unresponsive(id, effect, &place, limit))
            }
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => panic::resume_unwind(panic),
                Ok(()) => unreachable!("the thread sends its result"),
            },
        }
    }

    fn written(&self, version: u64) -> Written {
        Written {
            version: version.to_string(),
            provider: FILE.to_owned(),
            place: self.destination.store.display_dir(&self.file),
        }
    }
}

impl From<Stored> for Written {
    fn from(stored: Stored) -> Self {
        Self {
            version: stored.version,
            place: stored.provider.clone(),
            provider: stored.provider,
        }
    }
}
