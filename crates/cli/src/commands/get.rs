//! `keyway get`: the value of one secret.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use clap::Args;
use keyway_proto::plugins::v1::Plugin;
use keyway_resolver::{Envelope, Id, Pattern, ResolveError, Secrets};
use zeroize::Zeroizing;

use super::plugins;
use crate::daemon::{self, Daemon};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
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
    let secrets = daemon::ask(globals, async |daemon| match daemon.get(pattern).await {
        Ok(secrets) => Ok(secrets),
        Err(ResolveError::NotFound { .. }) => Err(not_asked(&daemon, pattern).await),
        Err(error) => Err(daemon::failure(pattern, error)),
    })?;
    let envelope = only(pattern, &secrets)?;
    print(globals, options, envelope)?;
    if let Some(rejected) = secrets.rejected.first() {
        output::note(format_args!(
            "a part of the answer was left out: {rejected}"
        ));
    }
    if !secrets.failures.is_empty() {
        return Err(daemon::incomplete(&secrets.failed_providers()));
    }
    Ok(Exit::Done)
}

/// Nothing was found; says so with the providers that might have it if they ran: those that are turned off, and those that
/// have never said what they provide.
async fn not_asked(daemon: &Daemon, pattern: &Pattern) -> Failure {
    let failure = daemon::not_found(pattern);
    // That nothing was found is certain; whoever is not told the reason is told that.
    let Ok(plugins) = plugins::listed(daemon).await else {
        return failure;
    };
    let names = |wanted: &dyn Fn(&Plugin) -> bool| -> Vec<String> {
        let found = plugins.iter().filter(|plugin| wanted(plugin));
        found.filter_map(|plugin| plugin.name.clone()).collect()
    };
    let off = names(&|plugin| plugin.disabled() && plugins::may_answer(plugin, pattern));
    if let Some(first) = off.first() {
        let advice = format!(
            "Run `keyway plugins enable {first}` if it should be asked, or `keyway ls` to see what there is"
        );
        return but(&failure, &off, ["is turned off", "are turned off"], &advice);
    }
    let unknown = names(&|plugin| plugin.metadata.is_none());
    if unknown.is_empty() {
        return failure;
    }
    but(
        &failure,
        &unknown,
        ["has never started", "have never started"],
        "Run `keyway plugins` to see why, or `keyway ls` to see what there is",
    )
}

/// The failure with some plugins that might have prevented it; `verb` is for one and for several.
fn but(failure: &Failure, plugins: &[String], verb: [&str; 2], advice: &str) -> Failure {
    let verb = verb[usize::from(plugins.len() > 1)];
    let plugins = plugins.join(", ");
    Failure::new(
        failure.exit(),
        format_args!("{}, but {plugins} {verb}", failure.what()),
        advice,
    )
}

/// The secret, if there is one and no doubt which.
fn only<'a>(pattern: &Pattern, secrets: &'a Secrets) -> Result<&'a Envelope, Failure> {
    match secrets.envelopes.as_slice() {
        [] => Err(nothing(pattern, secrets)),
        [envelope] => Ok(envelope),
        several => Err(not_one(pattern, several)),
    }
}

/// A daemon says *not found* by itself; an answer without a secret means the same unless somebody failed.
fn nothing(pattern: &Pattern, secrets: &Secrets) -> Failure {
    if let Some(rejected) = secrets.rejected.first() {
        return Failure::error(
            format_args!("the daemon's answer about {pattern} is wrong: {rejected}"),
            "Run `keyway plugins` to see who answers",
        );
    }
    match secrets.failed_providers().as_slice() {
        [] => daemon::not_found(pattern),
        failed => daemon::incomplete(failed),
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
    fn text_is_what_a_terminal_only_shows() {
        for text in ["", "pass word", "a\nb\t", "gr\u{fc}n"] {
            assert!(is_text(text.as_bytes()), "{text:?}");
        }
        for bytes in [&b"\x1b[2J"[..], b"\xff", b"a\0", "\u{9b}".as_bytes()] {
            assert!(!is_text(bytes), "{bytes:?}");
        }
    }
}
