//! `keyway get`: prints the value of one secret.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use clap::Args;
use keyway_resolver::{Envelope, GetOneError, Id, Pattern, ResolveError, Secrets};
use zeroize::Zeroizing;

use super::explain;
use crate::daemon::{self, Daemon, QueryContext};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::failures::copyable;
use crate::globals::Globals;
use crate::inventory::{self, Kind, Plugin, Status};
use crate::names;
use crate::output::{self, json};

/// Options of `keyway get`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, or a pattern that matches one secret: `*` is one component, `**` any number of them.
    #[arg(value_parser = names::pattern)]
    pattern: Pattern,
    /// Print the value as it is, byte for byte, without a line break after it.
    #[arg(long)]
    value: bool,
    /// Print which providers were called in which order, with their outcomes; never the value.
    #[arg(long, conflicts_with = "value")]
    explain: bool,
}

/// Prints the secret that the pattern matches.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let pattern = &options.pattern;
    if globals.json && options.value {
        return Err(Failure::usage(
            "`--json` and `--value` do not go together",
            "Run `keyway get --help` to see what it takes",
        ));
    }
    daemon::with_client(globals, async |daemon| {
        if options.explain {
            return explain::run(&daemon, pattern, globals.json).await;
        }
        let context = QueryContext {
            daemon: &daemon,
            globals,
        };
        let secrets = secrets(context, pattern).await?;
        let failed = context
            .provider_failure(pattern, &secrets.failures, true)
            .await;
        let envelope = only(pattern, &secrets, failed.as_ref())?;
        print(globals, options, envelope)?;
        if let Some(rejected) = secrets.rejected.first() {
            output::note(format_args!(
                "a part of the response was ignored: {rejected}"
            ));
        }
        failed.map_or(Ok(Exit::Done), Err)
    })
}

/// Returns the result of the query. For one id it holds exactly one certain value.
async fn secrets(context: QueryContext<'_>, pattern: &Pattern) -> Result<Secrets, Failure> {
    let result = match pattern.as_id() {
        Some(id) => context.daemon.get_one(&id).await.map(|envelope| {
            let mut secrets = Secrets::default();
            secrets.envelopes.push(envelope);
            secrets
        }),
        None => context.daemon.get(pattern).await.map_err(Into::into),
    };
    match (result, pattern.as_id()) {
        (Ok(secrets), _) => Ok(secrets),
        (Err(GetOneError::Resolve(ResolveError::NotFound { .. })), _) => {
            Err(not_found(context.daemon, pattern).await)
        }
        (Err(error), Some(id)) => Err(context.id_failure(&id, error).await),
        (Err(GetOneError::Resolve(error)), None) => Err(context.failure(pattern, error).await),
        (Err(error), None) => Err(Failure::error(
            error,
            "Run `keyway plugins` to see the providers",
        )),
    }
}

/// Returns the failure of a query without a match. It names the plugins that were not called but may hold a match: those
/// that are disabled, available or untrusted, and those whose realm is not known.
async fn not_found(daemon: &Daemon, pattern: &Pattern) -> Failure {
    let failure = daemon::not_found(pattern);
    // The list only adds details, so its failure does not matter.
    let Ok(plugins) = inventory::list(daemon).await else {
        return failure;
    };
    with_uncalled_plugins(&failure, pattern, &plugins)
}

/// Adds the uncalled plugins to the failure of a query without a match. Plugins that can be switched on take precedence.
fn with_uncalled_plugins(failure: &Failure, pattern: &Pattern, plugins: &[Plugin]) -> Failure {
    let (clauses, commands) = switchable(pattern, plugins);
    if !clauses.is_empty() {
        let commands = commands.join(" or ");
        let advice = format!("Run {commands} to use it, or `keyway ls` to see what there is");
        return with_clauses(failure, &clauses, &advice);
    }
    let clauses = unknown(plugins);
    if clauses.is_empty() {
        return failure.clone();
    }
    let advice = "Run `keyway plugins` to see why, or `keyway ls` to see what there is";
    with_clauses(failure, &clauses, advice)
}

/// Returns clauses about the plugins that may match but must be trusted or enabled first, and the commands that do so.
fn switchable(pattern: &Pattern, plugins: &[Plugin]) -> (Vec<String>, Vec<String>) {
    let mut clauses = Vec::new();
    let mut commands = Vec::new();
    for (status, verb, predicate) in [
        (
            Status::Untrusted,
            "trust",
            ["is not trusted", "are not trusted"],
        ),
        (
            Status::Available,
            "enable",
            ["is not enabled", "are not enabled"],
        ),
        (
            Status::Disabled,
            "enable",
            ["is turned off", "are turned off"],
        ),
    ] {
        let names = names(plugins, |plugin| {
            plugin.status == status && plugin.may_match(pattern)
        });
        if let Some(first) = names.first() {
            commands.push(format!("`keyway plugins {verb} {}`", copyable(first)));
            clauses.push(clause(&names, predicate));
        }
    }
    (clauses, commands)
}

/// Returns clauses about the plugins whose kind and realm are not known.
fn unknown(plugins: &[Plugin]) -> Vec<String> {
    let mut clauses = Vec::new();
    for (has_status, predicate) in [
        (
            (|status| status == Status::Refused) as fn(Status) -> bool,
            ["is refused", "are refused"],
        ),
        (
            |status| !matches!(status, Status::Refused | Status::Absent),
            ["has never started", "have never started"],
        ),
        (
            |status| status == Status::Absent,
            ["is absent", "are absent"],
        ),
    ] {
        let names = names(plugins, |plugin| {
            plugin.kind == Kind::Unknown && has_status(plugin.status)
        });
        if !names.is_empty() {
            clauses.push(clause(&names, predicate));
        }
    }
    clauses
}

fn names(plugins: &[Plugin], is_included: impl Fn(&Plugin) -> bool) -> Vec<&str> {
    let included = plugins.iter().filter(|plugin| is_included(plugin));
    included.map(|plugin| plugin.name.as_str()).collect()
}

/// Formats a clause about some plugins; `predicate` has its forms for one and for several.
fn clause(plugins: &[&str], predicate: [&str; 2]) -> String {
    format!(
        "{} {}",
        plugins.join(", "),
        predicate[usize::from(plugins.len() > 1)]
    )
}

/// Appends clauses about uncalled plugins to a failure.
fn with_clauses(failure: &Failure, clauses: &[String], advice: &str) -> Failure {
    let clauses = clauses.join(" and ");
    Failure::new(
        failure.exit(),
        format_args!("{}, but {clauses}", failure.what()),
        advice,
    )
}

/// Returns the secret if there is exactly one.
fn only<'a>(
    pattern: &Pattern,
    secrets: &'a Secrets,
    failed: Option<&Failure>,
) -> Result<&'a Envelope, Failure> {
    match secrets.envelopes.as_slice() {
        [] => Err(no_match(pattern, secrets, failed)),
        [envelope] => Ok(envelope),
        several => {
            let failure = several_matches(pattern, several);
            Err(match failed {
                Some(failed) => failed.clone().combined_with(&failure),
                None => failure,
            })
        }
    }
}

/// Returns the failure of a result without a secret. Keyway's daemon returns `not_found` itself; other implementations may
/// return an empty result.
fn no_match(pattern: &Pattern, secrets: &Secrets, failed: Option<&Failure>) -> Failure {
    if let Some(failed) = failed {
        return failed.clone();
    }
    match secrets.rejected.first() {
        Some(rejected) => Failure::error(
            format_args!("the daemon's response for {pattern} is invalid: {rejected}"),
            "Run `keyway plugins` to see the providers",
        ),
        None => daemon::not_found(pattern),
    }
}

/// Returns the failure of several secrets, or of one id of several providers.
fn several_matches(pattern: &Pattern, envelopes: &[Envelope]) -> Failure {
    let mut providers: BTreeMap<&Id, Vec<String>> = BTreeMap::new();
    for envelope in envelopes {
        let provider = envelope.provider.clone();
        providers.entry(&envelope.id).or_default().push(provider);
    }
    if let [(id, providers)] = Vec::from_iter(&providers).as_slice() {
        return daemon::ambiguous(id, providers);
    }
    let lines = providers
        .iter()
        .map(|(id, providers)| format!("{id} ({})", providers.join(", ")));
    Failure::error(
        format_args!("{} secrets match {pattern}", providers.len()),
        "Request one of them by its id",
    )
    .with_details(lines)
}

fn print(globals: &Globals, options: &Options, envelope: &Envelope) -> Result<Exit, Failure> {
    let value = envelope.value.expose();
    if globals.json {
        return output::print(&json::secret(envelope));
    }
    if options.value {
        return output::print(value);
    }
    if io::stdout().is_terminal() && !is_text(value) {
        return Err(Failure::error(
            format_args!(
                "the value of {} is not text, and could confuse the terminal",
                envelope.id
            ),
            "Write it to a file or a program with --value, or look at it with --json",
        ));
    }
    let mut line = Zeroizing::new(Vec::with_capacity(value.len() + 1));
    line.extend_from_slice(value);
    line.push(b'\n');
    output::print(&line)
}

/// Returns `true` if the value has no control characters that a terminal would interpret.
fn is_text(value: &[u8]) -> bool {
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    str::from_utf8(value).is_ok_and(|text| text.chars().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncalled_plugins_are_named_with_the_command_that_includes_them() {
        let pattern = "web/token".parse().unwrap();
        let failure = daemon::not_found(&pattern);
        let plugin = |name: &str, status, realm: &str| Plugin {
            name: name.to_owned(),
            status,
            kind: Kind::Provider,
            realms: vec![realm.to_owned()],
            ..Plugin::default()
        };
        let plugins = [
            plugin("file", Status::Disabled, "**"),
            plugin("vault", Status::Untrusted, "web/**"),
            plugin("pass", Status::Available, "web/**"),
            plugin("db", Status::Untrusted, "db/**"),
        ];
        insta::assert_snapshot!(with_uncalled_plugins(&failure, &pattern, &plugins), @"
        keyway: there is no secret web/token, but vault is not trusted and pass is not enabled and file is turned off.
        Run `keyway plugins trust vault` or `keyway plugins enable pass` or `keyway plugins enable file` to use it, or `keyway ls` to see what there is.
        ");
        insta::assert_snapshot!(with_uncalled_plugins(&failure, &pattern, &plugins[..1]), @"
        keyway: there is no secret web/token, but file is turned off.
        Run `keyway plugins enable file` to use it, or `keyway ls` to see what there is.
        ");
        let unknown = [
            ("vualt", Status::Absent),
            ("env", Status::Refused),
            ("pass", Status::Crashed),
        ]
        .map(|(name, status)| Plugin {
            kind: Kind::Unknown,
            ..plugin(name, status, "**")
        });
        insta::assert_snapshot!(with_uncalled_plugins(&failure, &pattern, &unknown), @"
        keyway: there is no secret web/token, but env is refused and pass has never started and vualt is absent.
        Run `keyway plugins` to see why, or `keyway ls` to see what there is.
        ");
        let others = &plugins[3..];
        assert_eq!(
            with_uncalled_plugins(&failure, &pattern, others).to_string(),
            failure.to_string()
        );
    }

    #[test]
    fn text_has_no_control_characters() {
        for text in ["", "pass word", "a\nb\t", "gr\u{fc}n"] {
            assert!(is_text(text.as_bytes()), "{text:?}");
        }
        for bytes in [&b"\x1b[2J"[..], b"\xff", b"a\0", "\u{9b}".as_bytes()] {
            assert!(!is_text(bytes), "{bytes:?}");
        }
    }
}
