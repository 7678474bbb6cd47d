//! Reports of a plugin on its own connection (`keyway.v1.HostService`).

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use keyway_local::{TokenBucket, with_causes};
use keyway_proto::keyway::v1 as keyway;
use keyway_proto::limits::{MAX_CHANGED_PATTERNS, MAX_CHANGES_PER_SECOND};
use keyway_rpc::{Error, Request, Response};
use keyway_secrets::Pattern;

use super::calls::Handle;

/// Serves the notices of one connection.
#[derive(Clone)]
pub(super) struct Notices(Arc<Shared>);

struct Shared {
    /// Set when the plugin has registered.
    plugin: OnceLock<Weak<Handle>>,
    changes: Mutex<TokenBucket>,
}

impl Notices {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            plugin: OnceLock::new(),
            changes: Mutex::new(TokenBucket::new(
                MAX_CHANGES_PER_SECOND,
                MAX_CHANGES_PER_SECOND,
            )),
        }))
    }

    /// Accepts notices of the plugin from now on.
    pub(super) fn accept(&self, plugin: &Arc<Handle>) {
        // One connection registers once.
        let _ = self.0.plugin.set(Arc::downgrade(plugin));
    }

    fn changed_at(&self, now: Instant, patterns: &[String]) -> Result<(), Error> {
        let plugin = self.0.plugin.get().and_then(Weak::upgrade);
        let plugin = plugin
            .ok_or_else(|| Error::failed_precondition("the plugin has not registered yet"))?;
        let mut changes = self
            .0
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if changes.take(now).is_none() {
            // A refused report must not leave a value that has changed.
            plugin.flights().clear();
            return Err(Error::resource_exhausted(format!(
                "more than {MAX_CHANGES_PER_SECOND} changes in a second: all kept responses of the plugin were dropped"
            )));
        }
        if patterns.len() > MAX_CHANGED_PATTERNS {
            let n_patterns = patterns.len();
            return Err(Error::invalid_argument(format!(
                "the request has {n_patterns} patterns; at most {MAX_CHANGED_PATTERNS} are allowed"
            )));
        }
        let patterns = patterns.iter().map(|text| {
            text.parse::<Pattern>().map_err(|error| {
                let why = with_causes(&error);
                Error::invalid_argument(format!("one of the patterns is not valid: {why}"))
            })
        });
        match patterns.collect::<Result<Vec<_>, _>>()?.as_slice() {
            [] => plugin.flights().clear(),
            patterns => plugin.flights().forget(patterns),
        }
        Ok(())
    }
}

impl keyway::HostService for Notices {
    async fn changed(
        &self,
        request: Request<keyway::ChangedRequest>,
    ) -> Result<Response<keyway::ChangedResponse>, Error> {
        self.changed_at(Instant::now(), &request.message().patterns)?;
        Ok(Response::new(keyway::ChangedResponse {}))
    }
}

#[cfg(test)]
mod tests;
