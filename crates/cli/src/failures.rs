//! Maps failed providers to an exit code and two sentences, without I/O.

use keyway_resolver::{FailureKind, Pattern, ProviderFailure};

use crate::exit::Exit;
use crate::failure::Failure;

/// Longest valid name of a plugin in bytes.
const MAX_PLAIN_NAME_LEN: usize = 64;

/// The query of a command whose providers failed.
pub(crate) struct Query<'a> {
    /// The pattern of the query.
    pub(crate) pattern: &'a Pattern,
    /// `true` if an incomplete result was printed.
    pub(crate) is_partial: bool,
    /// `true` if the user forbade prompts.
    pub(crate) no_ask: bool,
    /// Names of the plugins whose realm is `**`, as far as known. A failure of one of them makes every id uncertain.
    pub(crate) unrestricted: &'a [String],
}

impl Query<'_> {
    /// Returns the failure that these providers cause; `None` if there are none.
    ///
    /// The exit code is the first of 4, 6, 5, 1 that applies, and the second sentence is about the first provider in rank order
    /// that causes it.
    pub(crate) fn failure(&self, failures: &[ProviderFailure]) -> Option<Failure> {
        let first = failures.iter().min_by_key(|failure| exit(failure.kind))?;
        let advice = self.advice(first, failures);
        let exit = exit(first.kind);
        let causes = self.causes(failures);
        let failure = match causes.as_slice() {
            [cause] => Failure::new(exit, self.as_sentence(cause), advice),
            causes => {
                let what = self.as_sentence("several providers failed");
                Failure::new(exit, what, advice).with_details(causes.iter().cloned())
            }
        };
        let failure = failure.with_kind(kind(first.kind)).with_plugin(&first.name);
        Some(failure.with_id_of(self.pattern))
    }

    /// Returns one text per failed provider, and one for all that are in conflict.
    pub(crate) fn causes(&self, failures: &[ProviderFailure]) -> Vec<String> {
        let is_conflict = |failure: &&ProviderFailure| failure.kind == FailureKind::Conflict;
        let mut causes: Vec<String> = failures
            .iter()
            .filter(|failure| !is_conflict(failure))
            .map(cause)
            .collect();
        let names: Vec<&str> = names(failures.iter().filter(is_conflict));
        if !names.is_empty() {
            let what = match self.pattern.as_id() {
                Some(id) => format!("of {id}"),
                None => "of some ids".to_owned(),
            };
            causes.push(match names.as_slice() {
                [name] => format!("{name} and another provider hold different values {what}"),
                [others @ .., last] => {
                    let others = others.join(", ");
                    format!("{others} and {last} hold different values {what}")
                }
                [] => unreachable!("checked above"),
            });
        }
        causes
    }

    fn as_sentence(&self, cause: &str) -> String {
        match self.is_partial {
            true => format!("{cause}, so something may be missing"),
            false => cause.to_owned(),
        }
    }

    /// Returns what to do: the provider's remedy or a default one, and how to exclude a provider whose realm is `**`.
    fn advice(&self, failure: &ProviderFailure, all: &[ProviderFailure]) -> String {
        let name = &failure.name;
        let remedy = match failure.remedy.trim().trim_end_matches('.') {
            "" => self.default_advice(failure, all),
            remedy => format!("{name} says: {remedy}"),
        };
        if failure.kind == FailureKind::Conflict || !self.unrestricted.contains(name) {
            return remedy;
        }
        let name = copyable(name);
        format!(
            "{remedy}; `keyway plugins disable {name}` excludes it, and `realm` in `[plugins.{name}]` limits it"
        )
    }

    fn default_advice(&self, failure: &ProviderFailure, all: &[ProviderFailure]) -> String {
        let (name, key) = (&failure.name, copyable(&failure.name));
        match failure.kind {
            FailureKind::Busy => format!("Try again, or raise `concurrency` in `[plugins.{key}]`"),
            FailureKind::CannotList => "Request one secret by its full id".to_owned(),
            FailureKind::Conflict => {
                let in_conflict =
                    |failure: &&ProviderFailure| failure.kind == FailureKind::Conflict;
                let last = all.iter().rfind(in_conflict).unwrap_or(failure);
                let last = copyable(&last.name);
                format!(
                    "Give one of them a `priority` in the daemon's configuration, or turn one off with `keyway plugins disable {last}`"
                )
            }
            FailureKind::Denied => {
                format!("Check that the account of {name} may read it, or request another id")
            }
            FailureKind::Down | FailureKind::Refused => {
                "Run `keyway plugins` to see why, and what to do".to_owned()
            }
            FailureKind::Fatal => format!(
                "Correct its settings in `[plugins.{key}]`, then run `keyway plugins reload` and `keyway plugins enable {key}`"
            ),
            FailureKind::Locked => format!("Unlock the store of {name}, then try again"),
            FailureKind::NeedsUser if self.no_ask => {
                format!("Leave out --no-ask, so that {name} may prompt")
            }
            FailureKind::NeedsUser if self.pattern.as_id().is_some() => {
                format!(
                    "Start {name} where it can prompt, as in a desktop session or at a terminal"
                )
            }
            FailureKind::NeedsUser => {
                format!("Request one secret by its full id, so that {name} may prompt")
            }

            FailureKind::Quota => match failure.retry_after {
                Some(time) => format!("Try again in {} s", time.as_secs().max(1)),
                None => "Try again later".to_owned(),
            },
            FailureKind::Starting => "Try again in a moment".to_owned(),
            FailureKind::TimedOut => {
                format!("Try again, or raise `timeout` in `[plugins.{key}]`")
            }
            FailureKind::Unauthenticated => {
                format!("Log in at the store of {name}, then try again")
            }
            FailureKind::Unavailable => {
                format!("Check that the store of {name} runs and can be reached, then try again")
            }
            _ if name.is_empty() => "Run `keyway plugins` to see which, and why".to_owned(),
            _ => format!(
                "Run `keyway plugins` to see the last failed request of {name}, and look at the daemon's log"
            ),
        }
    }
}

/// Returns the exit code of a kind.
fn exit(kind: FailureKind) -> Exit {
    match kind {
        FailureKind::Denied => Exit::Denied,
        FailureKind::Locked | FailureKind::NeedsUser | FailureKind::Unauthenticated => {
            Exit::NeedsUser
        }
        FailureKind::Conflict => Exit::Error,
        _ => Exit::Unavailable,
    }
}

/// Returns the kind in the output of `--json`.
fn kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Busy => "busy",
        FailureKind::CannotList => "cannot_list",
        FailureKind::Conflict => "conflict",
        FailureKind::Denied => "denied",
        FailureKind::Down => "down",
        FailureKind::Fatal => "misconfigured",
        FailureKind::Locked => "locked",
        FailureKind::NeedsUser => "needs_user",
        FailureKind::Quota => "quota",
        FailureKind::Refused => "refused",
        FailureKind::Starting => "starting",
        FailureKind::TimedOut => "timed_out",
        FailureKind::Unauthenticated => "unauthenticated",
        _ => "unavailable",
    }
}

/// Returns what happened to one provider.
fn cause(failure: &ProviderFailure) -> String {
    let name = &failure.name;
    if name.is_empty() {
        // The last entry of a truncated list.
        return match failure.message.as_str() {
            "" => "more providers failed".to_owned(),
            message => message.to_owned(),
        };
    }
    let what = match failure.kind {
        FailureKind::Busy => format!("{name} is busy"),
        FailureKind::CannotList => format!("{name} cannot list its secrets"),
        FailureKind::Denied => format!("{name} denied access"),
        FailureKind::Down => format!("{name} is not running"),
        FailureKind::Fatal => format!("{name} is misconfigured"),
        FailureKind::Locked => format!("{name} is locked"),
        FailureKind::NeedsUser => format!("{name} needs to prompt the user"),
        FailureKind::Quota => format!("the quota of {name} is exhausted"),
        FailureKind::Refused => format!("{name} is refused"),
        FailureKind::Starting => format!("{name} is starting"),
        FailureKind::TimedOut => format!("{name} took too long"),
        FailureKind::Unauthenticated => format!("{name} is not logged in"),
        FailureKind::Unavailable => format!("{name} cannot provide it now"),
        _ => format!("{name} failed"),
    };
    match failure.message.trim().trim_end_matches('.') {
        "" => what,
        // The remedy of these kinds replaces the message.
        _ if is_explained_by_remedy(failure.kind) && !failure.remedy.is_empty() => what,
        message => format!("{what}: {message}"),
    }
}

fn is_explained_by_remedy(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Locked | FailureKind::NeedsUser | FailureKind::Unauthenticated
    )
}

fn names<'a>(failures: impl Iterator<Item = &'a ProviderFailure>) -> Vec<&'a str> {
    failures.map(|failure| failure.name.as_str()).collect()
}

/// Returns a name that is safe in a command line to copy: the name itself, or `NAME` if a shell could misread it.
pub(crate) fn copyable(name: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = !name.is_empty() && name.len() <= MAX_PLAIN_NAME_LEN;
    match fits && name.chars().all(is_plain) && !name.starts_with('-') {
        true => name,
        false => "NAME",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(name: &str, kind: FailureKind) -> ProviderFailure {
        let mut failure = ProviderFailure::default();
        failure.name = name.to_owned();
        failure.kind = kind;
        failure
    }

    fn failure_of(
        pattern: &str,
        unrestricted: &[&str],
        failures: &[ProviderFailure],
    ) -> Option<Failure> {
        let unrestricted: Vec<String> =
            unrestricted.iter().map(|name| (*name).to_owned()).collect();
        let query = Query {
            pattern: &pattern.parse().unwrap(),
            is_partial: false,
            no_ask: false,
            unrestricted: &unrestricted,
        };
        query.failure(failures)
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        for (kind, code) in [
            (FailureKind::Busy, 5),
            (FailureKind::CannotList, 5),
            (FailureKind::Conflict, 1),
            (FailureKind::Denied, 4),
            (FailureKind::Down, 5),
            (FailureKind::Fatal, 5),
            (FailureKind::Internal, 5),
            (FailureKind::Invalid, 5),
            (FailureKind::Locked, 6),
            (FailureKind::NeedsUser, 6),
            (FailureKind::Quota, 5),
            (FailureKind::Refused, 5),
            (FailureKind::Starting, 5),
            (FailureKind::TimedOut, 5),
            (FailureKind::Unauthenticated, 6),
            (FailureKind::Unavailable, 5),
            (FailureKind::Unknown, 5),
        ] {
            let failure = failure_of("a", &[], &[failure("vault", kind)]).unwrap();
            assert_eq!(failure.exit().code(), code, "{kind:?}");
        }
        assert!(failure_of("a", &[], &[]).is_none());
    }

    #[test]
    fn the_failure_that_takes_precedence_gives_code_and_advice() {
        let failures = [
            failure("a", FailureKind::Conflict),
            failure("b", FailureKind::Conflict),
            failure("c", FailureKind::Down),
            failure("d", FailureKind::Locked),
            failure("e", FailureKind::Unauthenticated),
        ];
        insta::assert_snapshot!(failure_of("x/y", &[], &failures).unwrap(), @"
        keyway: several providers failed:
          c is not running
          d is locked
          e is not logged in
          a and b hold different values of x/y
        Unlock the store of d, then try again.
        ");
        let codes = |n: usize| failure_of("x", &[], &failures[..n]).unwrap().exit().code();
        assert_eq!([codes(2), codes(3), codes(4)], [1, 5, 6]);
    }

    #[test]
    fn a_remedy_names_its_provider_and_how_to_exclude_it() {
        let mut locked = failure("pass", FailureKind::Locked);
        locked.remedy = "unlock it with `gpg --card-status`.".to_owned();
        let failure = failure_of("x", &["file"], &[locked.clone()]).unwrap();
        insta::assert_snapshot!(failure, @"
        keyway: pass is locked.
        pass says: unlock it with `gpg --card-status`.
        ");
        let failure = failure_of("x", &["file", "pass"], &[locked]).unwrap();
        insta::assert_snapshot!(failure, @"
        keyway: pass is locked.
        pass says: unlock it with `gpg --card-status`; `keyway plugins disable pass` excludes it, and `realm` in `[plugins.pass]` limits it.
        ");
    }

    #[test]
    fn text_of_a_provider_is_escaped_for_terminal_and_shell() {
        let mut hostile = failure("$(rm x)\x1b[2J", FailureKind::Internal);
        hostile.message = "\nkeyway: all is well".to_owned();
        hostile.remedy = "\x1b]0;x\x07".to_owned();
        let name = "$(rm x)\x1b[2J";
        let text = failure_of("x", &[name], &[hostile]).unwrap().to_string();
        assert!(
            text.lines().count() == 2 && !text.contains('\x1b'),
            "{text:?}"
        );
        assert!(!text.contains("disable $("), "{text:?}");
    }

    #[test]
    fn a_truncated_list_reports_the_number_of_the_others() {
        let mut more = ProviderFailure::default();
        more.message = "12 more providers failed".to_owned();
        let failures = [failure("a", FailureKind::Busy), more];
        let text = failure_of("x", &[], &failures).unwrap().to_string();
        assert!(text.contains("  12 more providers failed\n"), "{text}");
    }
}
