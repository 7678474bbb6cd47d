//! Resolves all references of a plan concurrently, or none.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use keyway_resolver::{GetOneError, Id, ResolveError, SecretValue};

use super::plan::Plan;
use crate::daemon::{self, QueryContext};
use crate::failure::Failure;

/// Maximum number of concurrent queries.
const CONCURRENCY: usize = 32;

/// A source of secrets. A trait, so that the rules of a batch can be tested without a daemon.
pub(super) trait Resolve {
    /// Gets the secret with this id.
    fn resolve(&self, id: &Id) -> impl Future<Output = Result<SecretValue, GetOneError>>;

    /// Converts the error of [`resolve`](Self::resolve).
    fn failure(&self, id: &Id, error: GetOneError) -> impl Future<Output = Failure>;
}

impl Resolve for QueryContext<'_> {
    async fn resolve(&self, id: &Id) -> Result<SecretValue, GetOneError> {
        Ok(self.daemon.get_one(id).await?.value)
    }

    async fn failure(&self, id: &Id, error: GetOneError) -> Failure {
        self.id_failure(id, error).await
    }
}

/// Gets every secret of the plan, each once.
///
/// # Errors
///
/// Returns a [`Failure`] if a secret is missing. It names all missing secrets and the variables that refer to them.
pub(super) async fn resolve_all(
    plan: &Plan,
    resolver: &impl Resolve,
) -> Result<BTreeMap<Id, SecretValue>, Failure> {
    let mut users: BTreeMap<&Id, Vec<String>> = BTreeMap::new();
    for (variable, id, _) in plan.references() {
        let name = variable.name.display().to_string();
        users.entry(id).or_default().push(name);
    }
    let queries = users
        .keys()
        .map(|id| async move { (*id, resolver.resolve(id).await) });
    let results: Vec<_> = futures::stream::iter(queries)
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut values = BTreeMap::new();
    let mut missing = Vec::new();
    for (id, result) in results {
        match result {
            Ok(value) => {
                values.insert(id.clone(), value);
            }
            // Without a daemon every reference fails in the same way, so one failure is enough.
            Err(GetOneError::Resolve(ResolveError::NotRunning(error))) => {
                return Err(daemon::not_running(&error));
            }
            Err(GetOneError::Resolve(ResolveError::Unresponsive { pid })) => {
                return Err(daemon::unresponsive(pid));
            }
            Err(error) => missing.push((id, resolver.failure(id, error).await)),
        }
    }
    if missing.is_empty() {
        return Ok(values);
    }
    Err(combine(&users, missing))
}

/// Combines the failures of all missing secrets into one, with the exit code that takes precedence and its advice.
fn combine(users: &BTreeMap<&Id, Vec<String>>, missing: Vec<(&Id, Failure)>) -> Failure {
    let n_missing = missing.len();
    let details: Vec<String> = missing
        .iter()
        .map(|(id, failure)| format!("{} (se://{id}): {}", users[id].join(", "), failure.causes()))
        .collect();
    let first = missing
        .into_iter()
        .map(|(_, failure)| failure)
        .min_by_key(Failure::exit);
    let Some(first) = first else {
        unreachable!("the caller passes at least one failure");
    };
    let n_all = users.len();
    let what = match n_all {
        1 => "the reference was not resolved, so nothing was started".to_owned(),
        _ => format!("{n_missing} of {n_all} references were not resolved, so nothing was started"),
    };
    Failure::new(first.exit(), what, first.advice()).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use std::ffi::OsString;
    use tokio::sync::Barrier;

    /// Has some secrets, and returns no result before all ids have been queried.
    struct Fake {
        values: &'static [(&'static str, &'static str)],
        all_queried: Barrier,
    }

    impl Resolve for Fake {
        async fn resolve(&self, id: &Id) -> Result<SecretValue, GetOneError> {
            self.all_queried.wait().await;
            let known = self.values.iter().find(|(known, _)| *known == id.as_str());
            match known {
                Some((_, "denied")) => Err(ResolveError::Denied {
                    message: "not yours".to_owned(),
                }
                .into()),
                Some((_, value)) => Ok(SecretValue::from(*value)),
                None => Err(ResolveError::NotFound {
                    message: "nothing found".to_owned(),
                }
                .into()),
            }
        }

        async fn failure(&self, id: &Id, error: GetOneError) -> Failure {
            match error {
                GetOneError::Resolve(error) => daemon::explain_failure(&id.into(), error),
                error => Failure::error(error, "Look"),
            }
        }
    }

    /// Resolves references, of which `n_ids` differ.
    async fn resolve(
        variables: &[(&str, &str)],
        n_ids: usize,
        values: &'static [(&'static str, &'static str)],
    ) -> Result<BTreeMap<Id, SecretValue>, Failure> {
        let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        let plan = Plan::new(variables.iter().map(pair), &[]).unwrap();
        let fake = Fake {
            values,
            all_queried: Barrier::new(n_ids),
        };
        let bound = std::time::Duration::from_secs(1);
        tokio::time::timeout(bound, resolve_all(&plan, &fake))
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
        assert_eq!(values[&"x".parse::<Id>().unwrap()].expose(), b"1");
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
}
