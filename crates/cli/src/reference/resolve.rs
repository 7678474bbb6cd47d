//! Resolves all references of a command concurrently, or none.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use futures::StreamExt as _;
use keyway_resolver::{Envelope, GetOneError, Pattern, ResolveError, SecretValue};

use super::Reference;
use crate::daemon::{self, QueryContext};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::waiting;

/// Maximum number of concurrent queries.
const CONCURRENCY: usize = 32;

/// Maximum number of ids that the failure of a pattern with several matches names.
const MAX_IDS: usize = 5;

/// The values of all references.
pub(crate) type Values = BTreeMap<Pattern, SecretValue>;

/// Returns the value of a reference, which must be one of those that were resolved.
pub(crate) fn value<'a>(values: &'a Values, reference: &Reference) -> &'a [u8] {
    let value = values.get(&reference.pattern);
    value.expect("every reference was resolved").expose()
}

/// The references of a command, and the places that have them.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    places: BTreeMap<Pattern, Places>,
}

/// The places of one reference.
#[derive(Debug, Default)]
struct Places {
    names: Vec<String>,
    is_open_ended: bool,
}

impl Wanted {
    /// Adds a reference. `place` is a name for the user, such as that of a variable.
    pub(crate) fn add(&mut self, place: String, reference: &Reference) {
        let places = self.places.entry(reference.pattern.clone()).or_default();
        places.names.push(place);
        places.is_open_ended |= reference.is_open_ended;
    }

    /// Returns the number of different references.
    pub(crate) fn n_references(&self) -> usize {
        self.places.len()
    }

    /// Gets every secret from the daemon, each once. Without references the daemon is not needed. `outcome` says what did not
    /// happen if a secret is missing, such as "nothing was started". `command` is the name of the command that gets the secrets, for
    /// the audit log.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if a secret is missing. It names all missing secrets and the places that refer to them.
    pub(crate) fn resolve(
        &self,
        globals: &Globals,
        outcome: &str,
        command: Option<&OsStr>,
    ) -> Result<Values, Failure> {
        if self.places.is_empty() {
            return Ok(Values::new());
        }
        daemon::with_client(globals, async |daemon| {
            let daemon = &match command {
                Some(command) => daemon.with_command(&command.to_string_lossy()),
                None => daemon,
            };
            let patterns: Vec<Pattern> = self.places.keys().cloned().collect();
            let context = QueryContext { daemon, globals };
            let resolved = resolve_all(self, outcome, &context);
            waiting::show(daemon, globals, &patterns, resolved).await
        })
    }
}

/// A source of secrets. A trait, so that the rules of a batch can be tested without a daemon.
trait Resolve {
    /// Gets the only secret that matches the pattern.
    fn resolve(&self, pattern: &Pattern) -> impl Future<Output = Result<SecretValue, Unresolved>>;

    /// Converts the error of a query of [`resolve`](Self::resolve).
    fn failure(&self, pattern: &Pattern, error: GetOneError) -> impl Future<Output = Failure>;
}

/// Error of one reference.
enum Unresolved {
    /// The query failed.
    Query(GetOneError),
    /// The result of the query for a pattern is not one certain secret.
    Result(Failure),
}

impl Resolve for QueryContext<'_> {
    async fn resolve(&self, pattern: &Pattern) -> Result<SecretValue, Unresolved> {
        if let Some(id) = pattern.as_id() {
            let envelope = self.daemon.get_one(&id).await.map_err(Unresolved::Query)?;
            return Ok(envelope.value);
        }
        let secrets = self.daemon.get(pattern).await;
        let secrets = secrets.map_err(|error| Unresolved::Query(error.into()))?;
        // A provider that failed may have another match.
        let failed = self.provider_failure(pattern, &secrets.failures, false);
        if let Some(failure) = failed.await {
            return Err(Unresolved::Result(failure));
        }
        if let Some(rejected) = secrets.rejected.first() {
            return Err(Unresolved::Result(Failure::error(
                format_args!("the daemon's response for {pattern} is invalid: {rejected}"),
                "Run `keyway plugins` to see the providers",
            )));
        }
        only(pattern, secrets.envelopes).map_err(Unresolved::Result)
    }

    async fn failure(&self, pattern: &Pattern, error: GetOneError) -> Failure {
        match (pattern.as_id(), error) {
            (Some(id), error) => self.id_failure(&id, error).await,
            (None, GetOneError::Resolve(error)) => (*self).failure(pattern, error).await,
            (None, error) => Failure::error(error, "Run `keyway plugins` to see the providers"),
        }
    }
}

/// Returns the value of the only secret that matches a pattern.
fn only(pattern: &Pattern, mut envelopes: Vec<Envelope>) -> Result<SecretValue, Failure> {
    match envelopes.len() {
        0 => Err(daemon::not_found(pattern)),
        1 => Ok(envelopes.remove(0).value),
        n => {
            let names = envelopes.iter().take(MAX_IDS);
            let mut names: Vec<String> = names
                .map(|envelope| format!("{} ({})", envelope.id, envelope.provider))
                .collect();
            if n > MAX_IDS {
                names.push(format!("{} more", n - MAX_IDS));
            }
            Err(Failure::error(
                format_args!("{n} secrets match {pattern}: {}", names.join(", ")),
                "Write the id of one secret, or a pattern that one secret alone matches",
            ))
        }
    }
}

async fn resolve_all(
    wanted: &Wanted,
    outcome: &str,
    resolver: &impl Resolve,
) -> Result<Values, Failure> {
    let queries = wanted
        .places
        .keys()
        .map(|pattern| async move { (pattern, resolver.resolve(pattern).await) });
    let results: Vec<_> = futures::stream::iter(queries)
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut values = Values::new();
    let mut missing = Vec::new();
    for (pattern, result) in results {
        match result {
            Ok(value) => {
                values.insert(pattern.clone(), value);
            }
            // Without a daemon every reference fails in the same way, so one failure is enough.
            Err(Unresolved::Query(GetOneError::Resolve(ResolveError::NotRunning(error)))) => {
                return Err(daemon::not_running(&error));
            }
            Err(Unresolved::Query(GetOneError::Resolve(ResolveError::Unresponsive { pid }))) => {
                return Err(daemon::unresponsive(pid));
            }
            Err(Unresolved::Query(error)) => {
                missing.push((pattern, resolver.failure(pattern, error).await));
            }
            Err(Unresolved::Result(failure)) => missing.push((pattern, failure)),
        }
    }
    if missing.is_empty() {
        return Ok(values);
    }
    Err(combine(wanted, outcome, missing))
}

/// Combines the failures of all missing secrets into one, with the exit code that takes precedence and its advice.
fn combine(wanted: &Wanted, outcome: &str, missing: Vec<(&Pattern, Failure)>) -> Failure {
    let n_missing = missing.len();
    let details: Vec<String> = missing
        .iter()
        .map(|(pattern, failure)| detail(pattern, &wanted.places[*pattern], failure))
        .collect();
    let first = missing
        .into_iter()
        .map(|(_, failure)| failure)
        .min_by_key(Failure::exit);
    let Some(first) = first else {
        unreachable!("the caller passes at least one failure");
    };
    let n_all = wanted.places.len();
    let what = match n_all {
        1 => format!("the reference was not resolved, so {outcome}"),
        _ => format!("{n_missing} of {n_all} references were not resolved, so {outcome}"),
    };
    let advice = first.advice().to_owned();
    let first = match n_missing {
        1 => first,
        _ => first.without_id(),
    };
    first
        .with_sentences(what, advice)
        .without_details()
        .with_details(details)
}

/// Describes one missing secret.
fn detail(pattern: &Pattern, places: &Places, failure: &Failure) -> String {
    let names = places.names.join(", ");
    let causes = failure.causes();
    // The text after the id may have been taken for a part of it.
    let hint = match places.is_open_ended && failure.exit() == Exit::NotFound {
        true => " (if the id ends earlier, write {{se://ID}} there)",
        false => "",
    };
    format!("{names} (se://{pattern}): {causes}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Target, scan};
    use tokio::sync::Barrier;

    /// Has some secrets, and returns no result before all ids have been queried.
    struct Fake {
        values: &'static [(&'static str, &'static str)],
        all_queried: Barrier,
    }

    impl Resolve for Fake {
        async fn resolve(&self, pattern: &Pattern) -> Result<SecretValue, Unresolved> {
            self.all_queried.wait().await;
            let mut known = self.values.iter();
            let error = match known.find(|(known, _)| *known == pattern.as_str()) {
                Some((_, "denied")) => ResolveError::Denied {
                    message: "not yours".to_owned(),
                },
                Some((_, value)) => return Ok(SecretValue::from(*value)),
                None => ResolveError::NotFound {
                    message: "nothing found".to_owned(),
                },
            };
            Err(Unresolved::Query(error.into()))
        }

        async fn failure(&self, pattern: &Pattern, error: GetOneError) -> Failure {
            match error {
                GetOneError::Resolve(error) => daemon::explain_failure(pattern, error),
                error => Failure::error(error, "Look"),
            }
        }
    }

    /// Resolves references, of which `n_ids` differ.
    async fn resolve(
        variables: &[(&str, &str)],
        n_ids: usize,
        values: &'static [(&'static str, &'static str)],
    ) -> Result<Values, Failure> {
        let mut wanted = Wanted::default();
        for (name, text) in variables {
            for found in scan(text.as_bytes()) {
                let Ok(Target::Secret(reference)) = found.target else {
                    panic!("{text}");
                };
                wanted.add((*name).to_owned(), &reference);
            }
        }
        let fake = Fake {
            values,
            all_queried: Barrier::new(n_ids),
        };
        let bound = std::time::Duration::from_secs(1);
        tokio::time::timeout(bound, resolve_all(&wanted, "nothing was started", &fake))
            .await
            .expect("all ids are queried concurrently, each once")
    }

    #[tokio::test(start_paused = true)]
    async fn ids_are_queried_concurrently_and_once_each() {
        let variables = [
            ("A", "se://x"),
            ("B", "se://y"),
            ("C", "se://x"),
            ("D", "plain"),
        ];
        let values = resolve(&variables, 2, &[("x", "1"), ("y", "2")])
            .await
            .unwrap();
        assert_eq!(values[&"x".parse::<Pattern>().unwrap()].expose(), b"1");
        assert_eq!(values.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn missing_secrets_are_named_with_their_variables() {
        let variables = [
            ("A", "se://x"),
            ("B", "se://y"),
            ("C", "se://y"),
            ("D", "se://z"),
        ];
        let failure = resolve(&variables, 3, &[("x", "1"), ("z", "denied")])
            .await
            .unwrap_err();
        assert_eq!(failure.exit(), Exit::Denied);
        insta::assert_snapshot!(failure, @"
        keyway: 2 of 3 references were not resolved, so nothing was started:
          B, C (se://y): there is no secret y
          D (se://z): access to z was denied: not yours
        Run `keyway plugins` to see the access-control modules; the daemon's configuration names them in `[access]`.
        ");
    }

    #[tokio::test(start_paused = true)]
    async fn the_failure_of_one_reference_is_in_the_singular() {
        let failure = resolve(&[("A", "se://x")], 1, &[]).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::NotFound);
        insta::assert_snapshot!(failure, @"
        keyway: the reference was not resolved, so nothing was started:
          A (se://x): there is no secret x
        Run `keyway ls` to see what there is, or store it with `keyway set x`.
        ");
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_secret_within_text_may_end_earlier() {
        let failure = resolve(&[("A", "postgres://se://db/host:5432/x")], 1, &[]);
        insta::assert_snapshot!(failure.await.unwrap_err(), @"
        keyway: the reference was not resolved, so nothing was started:
          A (se://db/host:5432/x): there is no secret db/host:5432/x (if the id ends earlier, write {{se://ID}} there)
        Run `keyway ls` to see what there is, or store it with `keyway set db/host:5432/x`.
        ");
    }

    #[test]
    fn a_pattern_with_several_matches_has_no_value() {
        let pattern = "web/*".parse().unwrap();
        let envelopes = |n: usize| {
            let envelope = |i| Envelope::new(format!("web/{i}").parse().unwrap(), "dummy");
            (0..n).map(envelope).collect()
        };
        assert_eq!(only(&pattern, envelopes(1)).unwrap().expose(), b"dummy");
        assert_eq!(
            only(&pattern, envelopes(0)).unwrap_err().exit(),
            Exit::NotFound
        );
        let text = only(&pattern, envelopes(7)).unwrap_err().to_string();
        assert!(
            text.contains("7 secrets match web/*: web/0 (), ") && text.contains(", 2 more"),
            "{text}"
        );
    }
}
