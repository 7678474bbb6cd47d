//! `keyway get`: prints the value of one secret.

mod clip;
mod not_found;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

use clap::Args;
use keyway_resolver::{Envelope, GetOneError, Id, Pattern, ResolveError, Secrets};
use tokio::runtime::Builder;
use zeroize::Zeroizing;

use self::not_found::not_found;
use super::explain;
use crate::daemon::{self, QueryContext};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output::{self, json};
use crate::store::{Destination, StoreOptions, Writer};
use crate::{event_loop, waiting};

/// Options of `keyway get`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, or a pattern that matches one secret: `*` is one component, `**` any number of them.
    #[arg(value_parser = names::pattern)]
    pattern: Pattern,
    /// Print the value as it is, byte for byte, without a line break after it.
    #[arg(long)]
    value: bool,
    /// Copy the value to the clipboard for 45 s instead of printing it, and wait until it is removed.
    #[arg(long, conflicts_with_all = ["value", "explain"])]
    clip: bool,
    /// Print which providers were called in which order, with their outcomes; never the value.
    #[arg(long, conflicts_with = "value")]
    explain: bool,
    /// Print an earlier version, as `keyway versions` lists it. It is read from the file store directly, and not through the daemon.
    #[arg(long, value_name = "VERSION", conflicts_with = "explain")]
    version: Option<String>,
    #[command(flatten)]
    store: StoreOptions,
}

/// Prints the secret that the pattern matches.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let pattern = &options.pattern;
    if globals.json && (options.value || options.clip) {
        let option = if options.value { "--value" } else { "--clip" };
        return Err(Failure::usage(
            format_args!("`--json` and `{option}` do not go together"),
            "Run `keyway get --help` to see what it takes",
        ));
    }
    if let Some(version) = &options.version {
        return earlier(globals, options, version);
    }
    if options.store.is_given() {
        return Err(Failure::usage(
            "`--store` needs `--version`: the current value comes from the daemon",
            "Start a daemon with that directory in KEYWAY_FILE_STORE to read from it",
        ));
    }
    daemon::with_client(globals, async |daemon| {
        if options.explain {
            return explain::run(&daemon, pattern, globals).await;
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
        if options.clip {
            clip::run(envelope).await?;
        } else {
            print(globals, options, envelope)?;
        }
        if let Some(rejected) = secrets.rejected.first() {
            output::note(format_args!(
                "a part of the response was ignored: {rejected}"
            ));
        }
        failed.map_or(Ok(Exit::Done), Err)
    })
}

/// Prints one version of a secret.
fn earlier(globals: &Globals, options: &Options, version: &str) -> Result<Exit, Failure> {
    let id = options.pattern.as_id().ok_or_else(|| {
        Failure::usage(
            "`--version` needs one id, and not a pattern",
            "Run `keyway ls` to see the ids",
        )
    })?;
    let destination = Destination {
        store: &options.store,
        provider: None,
        force: false,
    };
    let envelope = Writer::open(globals, destination)?.read_version(&id, version)?;
    if options.clip {
        let runtime = event_loop::build(&mut Builder::new_current_thread())?;
        return runtime.block_on(clip::run(&envelope));
    }
    print(globals, options, &envelope)
}

/// Returns the result of the query. For one id it holds exactly one certain value.
async fn secrets(context: QueryContext<'_>, pattern: &Pattern) -> Result<Secrets, Failure> {
    let query = async {
        match pattern.as_id() {
            Some(id) => context.daemon.get_one(&id).await.map(|envelope| {
                let mut secrets = Secrets::default();
                secrets.envelopes.push(envelope);
                secrets
            }),
            None => context.daemon.get(pattern).await.map_err(Into::into),
        }
    };
    let patterns = std::slice::from_ref(pattern);
    let result = waiting::show(context.daemon, context.globals, patterns, query).await;
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
    .with_kind("several_matches")
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
    fn text_has_no_control_characters() {
        for text in ["", "pass word", "a\nb\t", "gr\u{fc}n"] {
            assert!(is_text(text.as_bytes()), "{text:?}");
        }
        for bytes in [&b"\x1b[2J"[..], b"\xff", b"a\0", "\u{9b}".as_bytes()] {
            assert!(!is_text(bytes), "{bytes:?}");
        }
    }
}
