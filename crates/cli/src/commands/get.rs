//! `keyway get`: the value of one secret.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use clap::Args;
use keyway_resolver::{Envelope, GetOneError, Id, Pattern, ResolveError, Secrets};
use zeroize::Zeroizing;

use super::explain;
use crate::daemon::{self, Daemon, Session};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::failures::plain;
use crate::globals::Globals;
use crate::inventory::{self, Kind, Plugin, Status};
use crate::names;
use crate::output::{self, json};

/// Which secret, and in which form.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, or a pattern that matches one secret: `*` is one component, `**` any number of them.
    #[arg(value_parser = names::pattern)]
    pattern: Pattern,
    /// Print the value as it is, byte for byte, without a line break behind it.
    #[arg(long)]
    value: bool,
    /// Print which providers were asked in which order, and what came of it; never the value.
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
    daemon::ask(globals, async |daemon| {
        if options.explain {
            return explain::run(&daemon, pattern, globals.json).await;
        }
        let session = Session {
            daemon: &daemon,
            globals,
        };
        let secrets = secrets(session, pattern).await?;
        let failed = session.failed(pattern, &secrets.failures, true).await;
        let envelope = only(pattern, &secrets, failed.as_ref())?;
        print(globals, options, envelope)?;
        if let Some(rejected) = secrets.rejected.first() {
            output::note(format_args!(
                "a part of the answer was left out: {rejected}"
            ));
        }
        failed.map_or(Ok(Exit::Done), Err)
    })
}

/// What the daemon returned. One id has a certain value, or there is a failure.
async fn secrets(session: Session<'_>, pattern: &Pattern) -> Result<Secrets, Failure> {
    let result = match pattern.as_id() {
        Some(id) => session.daemon.get_one(&id).await.map(|envelope| {
            let mut secrets = Secrets::default();
            secrets.envelopes.push(envelope);
            secrets
        }),
        None => session.daemon.get(pattern).await.map_err(Into::into),
    };
    match (result, pattern.as_id()) {
        (Ok(secrets), _) => Ok(secrets),
        (Err(GetOneError::Resolve(ResolveError::NotFound { .. })), _) => {
            Err(not_asked(session.daemon, pattern).await)
        }
        (Err(error), Some(id)) => Err(session.one_failure(&id, error).await),
        (Err(GetOneError::Resolve(error)), None) => Err(session.failure(pattern, error).await),
        (Err(error), None) => Err(Failure::error(
            error,
            "Run `keyway plugins` to see the providers",
        )),
    }
}

/// Nothing was found; says so with the providers that might hold it if they ran: those that are disabled, available or
/// untrusted, and those that have never said what they provide.
async fn not_asked(daemon: &Daemon, pattern: &Pattern) -> Failure {
    let failure = daemon::not_found(pattern);
    // That nothing was found is certain, with or without a list of plugins.
    let Ok(plugins) = inventory::list(daemon).await else {
        return failure;
    };
    beside_silent(&failure, pattern, &plugins)
}

/// The failure of a query that found nothing, with the plugins that were not asked; those that can be switched on come first.
fn beside_silent(failure: &Failure, pattern: &Pattern, plugins: &[Plugin]) -> Failure {
    let names = |wanted: &dyn Fn(&Plugin) -> bool| -> Vec<&str> {
        let found = plugins.iter().filter(|plugin| wanted(plugin));
        found.map(|plugin| plugin.name.as_str()).collect()
    };
    let mut silent = Vec::new();
    let mut commands = Vec::new();
    for (status, verb, what) in [
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
        let names = names(&|plugin: &Plugin| plugin.status == status && plugin.may_answer(pattern));
        if let Some(first) = names.first() {
            commands.push(format!("`keyway plugins {verb} {}`", plain(first)));
            silent.push(clause(&names, what));
        }
    }
    if !silent.is_empty() {
        let commands = commands.join(" or ");
        let advice =
            format!("Run {commands} if it should be asked, or `keyway ls` to see what there is");
        return but(failure, &silent, &advice);
    }
    let unknown = |is_meant: fn(Status) -> bool| {
        names(&|plugin: &Plugin| plugin.kind == Kind::Unknown && is_meant(plugin.status))
    };
    let is_other = |status| !matches!(status, Status::Refused | Status::Absent);
    let silent: Vec<String> = [
        (
            unknown(|status| status == Status::Refused),
            ["is refused", "are refused"],
        ),
        (
            unknown(is_other),
            ["has never started", "have never started"],
        ),
        (
            unknown(|status| status == Status::Absent),
            ["is absent", "are absent"],
        ),
    ]
    .into_iter()
    .filter(|(names, _)| !names.is_empty())
    .map(|(names, what)| clause(&names, what))
    .collect();
    if silent.is_empty() {
        return failure.clone();
    }
    but(
        failure,
        &silent,
        "Run `keyway plugins` to see why, or `keyway ls` to see what there is",
    )
}

/// Some plugins and what is said of them; `verb` is for one and for several.
fn clause(plugins: &[&str], verb: [&str; 2]) -> String {
    format!(
        "{} {}",
        plugins.join(", "),
        verb[usize::from(plugins.len() > 1)]
    )
}

/// The failure with the plugins that might have prevented it.
fn but(failure: &Failure, silent: &[String], advice: &str) -> Failure {
    let silent = silent.join(" and ");
    Failure::new(
        failure.exit(),
        format_args!("{}, but {silent}", failure.what()),
        advice,
    )
}

/// The secret, if there is exactly one.
fn only<'a>(
    pattern: &Pattern,
    secrets: &'a Secrets,
    failed: Option<&Failure>,
) -> Result<&'a Envelope, Failure> {
    match secrets.envelopes.as_slice() {
        [] => Err(nothing(pattern, secrets, failed)),
        [envelope] => Ok(envelope),
        several => {
            let failure = not_one(pattern, several);
            Err(match failed {
                // The exit code that applies first, with all that happened.
                Some(failed) => failed.clone().beside(&failure),
                None => failure,
            })
        }
    }
}

/// A daemon says *not found* by itself; a success without a secret means the same unless a provider failed.
fn nothing(pattern: &Pattern, secrets: &Secrets, failed: Option<&Failure>) -> Failure {
    if let Some(failed) = failed {
        return failed.clone();
    }
    match secrets.rejected.first() {
        Some(rejected) => Failure::error(
            format_args!("the daemon's answer about {pattern} is wrong: {rejected}"),
            "Run `keyway plugins` to see the providers",
        ),
        None => daemon::not_found(pattern),
    }
}

/// Several secrets, or one that several providers have.
fn not_one(pattern: &Pattern, envelopes: &[Envelope]) -> Failure {
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
        "Ask for one of them by its id",
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

/// Whether a terminal shows it without obeying it.
fn is_text(value: &[u8]) -> bool {
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    str::from_utf8(value).is_ok_and(|text| text.chars().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_that_was_not_asked_is_named_with_what_switches_it_on() {
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
        insta::assert_snapshot!(beside_silent(&failure, &pattern, &plugins), @"
        keyway: there is no secret web/token, but vault is not trusted and pass is not enabled and file is turned off.
        Run `keyway plugins trust vault` or `keyway plugins enable pass` or `keyway plugins enable file` if it should be asked, or `keyway ls` to see what there is.
        ");
        insta::assert_snapshot!(beside_silent(&failure, &pattern, &plugins[..1]), @"
        keyway: there is no secret web/token, but file is turned off.
        Run `keyway plugins enable file` if it should be asked, or `keyway ls` to see what there is.
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
        insta::assert_snapshot!(beside_silent(&failure, &pattern, &unknown), @"
        keyway: there is no secret web/token, but env is refused and pass has never started and vualt is absent.
        Run `keyway plugins` to see why, or `keyway ls` to see what there is.
        ");
        let others = &plugins[3..];
        assert_eq!(
            beside_silent(&failure, &pattern, others).to_string(),
            failure.to_string()
        );
    }

    #[test]
    fn text_is_what_a_terminal_only_shows() {
        for text in ["", "pass word", "a\nb\t", "gr\u{fc}n"] {
            assert!(is_text(text.as_bytes()), "{text:?}");
        }
        for bytes in [&b"\x1b[2J"[..], b"\xff", b"a\0", "\u{9b}".as_bytes()] {
            assert!(!is_text(bytes), "{bytes:?}");
        }
    }
}
