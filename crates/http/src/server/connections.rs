//! [`Connections`]: the connections that one accept loop serves, and whose place the next one takes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use super::state::{Place, Places, Shared, State};
use super::{Admission, Limits, ServeError, Served};

/// The connections of one call of [`serve`](super::serve).
pub(super) struct Connections {
    tasks: JoinSet<(usize, Result<(), ServeError>)>,
    entries: Slab<Entry>,
    places: Arc<Places>,
    max: usize,
    max_reserved: usize,
    /// Signals that connections take no further request.
    stop: watch::Sender<bool>,
    served: Served,
}

struct Entry {
    shared: Arc<Shared>,
    task: AbortHandle,
    admission: Admission,
}

impl Connections {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            tasks: JoinSet::new(),
            entries: Slab::new(),
            places: Places::new(),
            max: limits.max_connections,
            max_reserved: limits.reserved_connections,
            stop: watch::Sender::new(false),
            served: Served::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns how the next connection is admitted; `None` if it has to wait for a
    /// [change](Self::changed).
    pub(super) fn find_place(&self) -> Option<Admission> {
        self.places.set_wanted(true);
        let admission = if self.places.taken(Admission::Regular) < self.max {
            Some(Admission::Regular)
        } else if let Some(admission) = self.evict() {
            Some(admission)
        } else {
            let is_free = self.places.taken(Admission::Reserved) < self.max_reserved;
            is_free.then_some(Admission::Reserved)
        };
        self.places.set_wanted(admission.is_none());
        admission
    }

    /// Closes the connection that is first in the order of eviction, and returns whose place that
    /// frees. A place counts as taken until the task is gone, so of two calls in a row each evicts
    /// one.
    pub(super) fn evict(&self) -> Option<Admission> {
        let now = Instant::now();
        loop {
            let entries = self.entries.iter().map(|(_, entry)| entry);
            let candidates =
                entries.filter_map(|entry| Some((entry.shared.precedence(now)?, entry)));
            let (precedence, entry) = candidates.min_by_key(|(precedence, _)| *precedence)?;
            // It fails for a connection whose request arrives in this moment.
            if entry.shared.evict(precedence.state) {
                entry.task.abort();
                return Some(entry.admission);
            }
        }
    }

    /// Serves a connection in a task of its own. `make` takes the state that the connection shares with the others, and the signal
    /// to take no further request.
    pub(super) fn spawn<F, T>(&mut self, admission: Admission, make: F)
    where
        F: FnOnce(Arc<Shared>, Place, watch::Receiver<bool>) -> T,
        T: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        self.served.accepted += 1;
        let shared = Shared::new(&self.places);
        let place = Place::take(&self.places, admission);
        let serving = make(Arc::clone(&shared), place, self.stop.subscribe());
        let entry = self.entries.vacant_entry();
        let key = entry.key();
        // tokio moves a task several times before it is in its place; a box is moved cheaply.
        let serving = Box::pin(async move { (key, serving.await) });
        let task = self.tasks.spawn(serving);
        entry.insert(Entry {
            shared,
            task,
            admission,
        });
    }

    /// Resolves when another attempt to find a place may succeed, or a connection has ended.
    /// Cancel safe.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            ended = self.tasks.join_next() => {
                if let Some(ended) = ended {
                    self.ended(ended);
                }
            }
            () = self.places.freed() => {}
        }
    }

    fn ended(&mut self, ended: Result<(usize, Result<(), ServeError>), JoinError>) {
        match ended {
            Ok((key, result)) => {
                self.entries.remove(key);
                match result {
                    Ok(()) => {}
                    Err(ServeError::Evicted) => self.served.evicted += 1,
                    Err(error) => {
                        self.served.failed += 1;
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "connection failed"
                        );
                    }
                }
            }
            Err(error) => self.lost(&error),
        }
    }

    /// Handles a task that was aborted or has panicked.
    fn lost(&mut self, error: &JoinError) {
        let mut entries = self.entries.iter();
        let key = entries.find_map(|(key, entry)| (entry.task.id() == error.id()).then_some(key));
        let entry = key.map(|key| self.entries.remove(key));
        if error.is_panic() {
            self.served.failed += 1;
            tracing::error!("task of a connection panicked");
        } else if entry.is_some_and(|entry| entry.shared.state() == State::Evicted) {
            self.served.evicted += 1;
        } else {
            self.served.aborted += 1;
        }
    }

    /// Lets requests in progress finish for at most `limit`, then drops the connections.
    pub(super) async fn drain(mut self, limit: Duration) -> Served {
        self.stop.send_replace(true);
        let drained = timeout(limit, async {
            while let Some(ended) = self.tasks.join_next().await {
                self.ended(ended);
            }
        });
        if drained.await.is_err() {
            self.tasks.abort_all();
            while let Some(ended) = self.tasks.join_next().await {
                self.ended(ended);
            }
        }
        self.served
    }
}
