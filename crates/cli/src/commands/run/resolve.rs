//! All secrets of a plan, asked for at the same time, or none.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use keyway_resolver::{GetOneError, Id, ResolveError, SecretValue};

use super::plan::Plan;
use crate::daemon::{self, Session};
use crate::failure::Failure;

/// How many secrets are asked for at the same time.
const CONCURRENCY: usize = 32;

/// Where secrets come from. A trait, so that the rules of a batch can be tested without a daemon.
pub(super) trait Resolve {
    /// Gets the secret with this id.
    fn resolve(&self, id: &Id) -> impl Future<Output = Result<SecretValue, GetOneError>>;

    /// Explains why there is none.
    fn failure(&self, id: &Id, error: GetOneError) -> impl Future<Output = Failure>;
}

impl Resolve for Session<'_> {
    async fn resolve(&self, id: &Id) -> Result<SecretValue, GetOneError> {
        Ok(self.daemon.get_one(id).await?.value)
    }

    async fn failure(&self, id: &Id, error: GetOneError) -> Failure {
        self.one_failure(id, error).await
    }
}

/// Gets every secret that the plan names, each once.
///
/// # Errors
///
/// As soon as one secret is missing, a failure that names all that are, with the variables that need them.
pub(super) async fn resolve_all(
    plan: &Plan,
    resolver: &impl Resolve,
) -> Result<BTreeMap<Id, SecretValue>, Failure> {
    let mut users: BTreeMap<&Id, Vec<String>> = BTreeMap::new();
    for (variable, id, _) in plan.references() {
        let name = variable.name.display().to_string();
        users.entry(id).or_default().push(name);
    }
    let answers = users
        .keys()
        .map(|id| async move { (*id, resolver.resolve(id).await) });
    let answers: Vec<_> = futures::stream::iter(answers)
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut values = BTreeMap::new();
    let mut missing = Vec::new();
    for (id, answer) in answers {
        match answer {
            Ok(value) => {
                values.insert(id.clone(), value);
            }
            // Without a daemon every reference fails in the same way: once is enough.
            Err(GetOneError::Resolve(ResolveError::NotRunning(error))) => {
                return Err(daemon::not_running(&error));
            }
            Err(error) => missing.push((id, resolver.failure(id, error).await)),
        }
    }
    if missing.is_empty() {
        return Ok(values);
    }
    Err(explain(&users, missing))
}

/// One failure for all that is missing, with the exit code that applies first and its advice.
fn explain(users: &BTreeMap<&Id, Vec<String>>, missing: Vec<(&Id, Failure)>) -> Failure {
    let n_missing = missing.len();
    let details: Vec<String> = missing
        .iter()
        .map(|(id, failure)| format!("{} (se://{id}): {}", users[id].join(", "), failure.causes()))
        .collect();
    let gravest = missing
        .into_iter()
        .map(|(_, failure)| failure)
        .min_by_key(Failure::exit);
    let Some(gravest) = gravest else {
        unreachable!("it is called with at least one failure");
    };
    let n_all = users.len();
    let what = match n_all {
        1 => "the reference was not resolved, so nothing was started".to_owned(),
        _ => format!("{n_missing} of {n_all} references were not resolved, so nothing was started"),
    };
    Failure::new(gravest.exit(), what, gravest.advice()).with_details(details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use std::ffi::OsString;
    use tokio::sync::Barrier;

    /// Knows some ids, and answers nobody before all have been asked for.
    struct Fake {
        values: &'static [(&'static str, &'static str)],
        all_asked: Barrier,
    }

    impl Resolve for Fake {
        async fn resolve(&self, id: &Id) -> Result<SecretValue, GetOneError> {
            self.all_asked.wait().await;
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
                GetOneError::Resolve(error) => daemon::refused(&id.into(), error),
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
            all_asked: Barrier::new(n_ids),
        };
        let bound = std::time::Duration::from_secs(1);
        tokio::time::timeout(bound, resolve_all(&plan, &fake))
            .await
            .expect("all ids are asked for at the same time, each once")
    }

    #[tokio::test(start_paused = true)]
    async fn each_id_is_asked_for_once_and_all_at_the_same_time() {
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
    async fn one_reference_reads_as_one() {
        let failure = resolve(&[("A", "se://x")], 1, &[]).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::NotFound);
        insta::assert_snapshot!(failure, @"
        keyway: the reference was not resolved, so nothing was started:
          A (se://x): there is no secret x
        Run `keyway ls` to see what there is, or store it with `keyway set x`.
        ");
    }
}
