//! The secrets of an export: all that the daemon resolves, or those of the file store if no daemon runs.

use keyway_resolver::{Envelope, Pattern, ResolveError, Secrets};

use crate::daemon::{self, QueryContext};
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;
use crate::store::StoreOptions;
use crate::waiting;

/// Reads all secrets that match, in the order of their ids.
///
/// # Errors
///
/// Returns a [`Failure`] if no secret matches, if several providers have one of them, or if a provider failed, so that some
/// may be missing.
pub(super) fn read(
    globals: &Globals,
    pattern: &Pattern,
    store: &StoreOptions,
) -> Result<Vec<Envelope>, Failure> {
    let resolved = match store.is_given() {
        true => None,
        false => from_daemon(globals, pattern)?,
    };
    let secrets = match resolved {
        Some(secrets) => secrets,
        None => {
            if !store.is_given() {
                output::note("no daemon runs, so these are the secrets of the file store alone");
            }
            let store_handle = store.open()?;
            store_handle
                .get(pattern)
                .map_err(|error| store.failure(&error))?
        }
    };
    match secrets.is_empty() {
        true => Err(daemon::not_found(pattern)),
        false => Ok(secrets),
    }
}

/// Returns the secrets of the daemon, `None` if no daemon runs and none is named.
fn from_daemon(globals: &Globals, pattern: &Pattern) -> Result<Option<Vec<Envelope>>, Failure> {
    daemon::with_client(globals, async |daemon| {
        let context = QueryContext {
            daemon: &daemon,
            globals,
        };
        let patterns = std::slice::from_ref(pattern);
        let secrets = match waiting::show(&daemon, globals, patterns, daemon.get(pattern)).await {
            Ok(secrets) => secrets,
            Err(ResolveError::NotRunning(error)) if daemon::is_absent(globals, &error) => {
                return Ok(None);
            }
            Err(error) => return Err(context.failure(pattern, error).await),
        };
        if let Some(failure) = context
            .provider_failure(pattern, &secrets.failures, true)
            .await
        {
            return Err(failure);
        }
        check(pattern, &secrets)?;
        Ok(Some(secrets.envelopes))
    })
}

/// Returns an error unless each id has one value, and the whole response was valid.
fn check(pattern: &Pattern, secrets: &Secrets) -> Result<(), Failure> {
    if let Some(rejected) = secrets.rejected.first() {
        return Err(Failure::error(
            format_args!("the daemon's response for {pattern} is invalid: {rejected}"),
            "Nothing was written; run `keyway plugins` to see the providers",
        ));
    }
    let twice = secrets
        .envelopes
        .windows(2)
        .find(|pair| pair[0].id == pair[1].id);
    match twice {
        Some(pair) => {
            let providers: Vec<String> = pair
                .iter()
                .map(|envelope| envelope.provider.clone())
                .collect();
            Err(daemon::ambiguous(&pair[0].id, &providers))
        }
        None => Ok(()),
    }
}
