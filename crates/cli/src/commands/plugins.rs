//! `keyway plugins`: lists the daemon's plugins and changes them.

use clap::{Args, Subcommand};
use keyway_local::{escape_untrusted, shortened};
use keyway_proto::keyway::v1::{
    ManagementServiceClient, ReloadRequest, ReloadResponse, TrustPluginRequest,
    UntrustPluginRequest,
};
use keyway_proto::plugins::v1::{
    DisablePluginRequest, EnablePluginRequest, PluginManagementServiceClient,
};
use keyway_resolver::ResolveError;
use keyway_rpc::Code;
use serde::Serialize;

use crate::daemon::{self, Daemon};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::inventory::{self, Plugin, Status};
use crate::output::{self, Table, json, rfc3339};
use crate::waiting;

/// Options of `keyway plugins`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
}

/// The action; without one the plugins are listed.
#[derive(Debug, Subcommand)]
enum Action {
    /// Show every plugin in rank order, with its state.
    List,
    /// Start a plugin, now and with the daemon.
    Enable {
        /// The plugin.
        name: String,
    },
    /// Stop a plugin, and keep it stopped.
    Disable {
        /// The plugin.
        name: String,
    },
    /// Read the daemon's configuration and the plugin directories again.
    Reload,
    /// Pin the executable of a plugin as it is now, and let it run.
    Trust {
        /// The plugin.
        name: String,
    },
    /// Remove the pin of a plugin.
    Untrust {
        /// The plugin.
        name: String,
    },
}

/// Runs the action.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    daemon::with_client(globals, async |daemon| match &options.action {
        None | Some(Action::List) => list(&daemon, globals).await,
        Some(Action::Enable { name }) => set_enabled(&daemon, globals, name, true).await,
        Some(Action::Disable { name }) => set_enabled(&daemon, globals, name, false).await,
        Some(Action::Reload) => reload(&daemon, globals).await,
        Some(Action::Trust { name }) => trust(&daemon, globals, name).await,
        Some(Action::Untrust { name }) => untrust(&daemon, globals, name).await,
    })
}

async fn list(daemon: &Daemon, globals: &Globals) -> Result<Exit, Failure> {
    let plugins = waiting::show(daemon, globals, &[], inventory::list(daemon))
        .await
        .map_err(daemon::request_failure)?;
    if globals.json {
        return output::print_text(json::line(&plugins));
    }
    if plugins.is_empty() {
        output::note("the daemon has no plugins");
    }
    output::print_text(table(&plugins))
}

/// The longest name, version or realm in the table, in characters; `--json` has them whole.
const MAX_CELL_CHARS: usize = 100;

fn table(plugins: &[Plugin]) -> Table {
    let mut table = Table::new([
        "RANK",
        "NAME",
        "VERSION",
        "STATUS",
        "KIND",
        "REALM",
        "STARTED BY",
        "MESSAGE",
    ]);
    for plugin in plugins {
        table.push([
            &plugin.rank.map(|rank| rank.to_string()).unwrap_or_default(),
            &shortened(&plugin.name, MAX_CELL_CHARS),
            &shortened(&plugin.version, MAX_CELL_CHARS),
            &status(plugin),
            plugin.kind.word(),
            &shortened(&plugin.realms.join(", "), MAX_CELL_CHARS),
            plugin.started_by,
            &message(plugin),
        ]);
    }
    table
}

/// Formats the state, and the configured one if it differs.
fn status(plugin: &Plugin) -> String {
    let word = plugin.status.word();
    match (plugin.configured_enabled, plugin.status) {
        (Some(true), Status::Disabled) => format!("{word} (configured: enabled)"),
        (Some(false), status) if status != Status::Disabled => {
            format!("{word} (configured: disabled)")
        }
        _ => word.to_owned(),
    }
}

/// Formats the message of the state and the last failed request.
fn message(plugin: &Plugin) -> String {
    let failed = plugin.last_failed_request.as_ref().map(|request| {
        let time = request.time.map(|time| format!(" {}", rfc3339(time)));
        let what = match request.message.as_str() {
            "" => request.kind.to_lowercase().replace('_', " "),
            message => message.to_owned(),
        };
        format!("last failed request{}: {what}", time.unwrap_or_default())
    });
    let message = Some(plugin.message.clone()).filter(|message| !message.is_empty());
    let parts: Vec<String> = message.into_iter().chain(failed).collect();
    parts.join("; ")
}

/// The output of `--json` for a changed plugin.
#[derive(Debug, Default, Serialize)]
struct Changed<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpreter: Option<&'a str>,
}

async fn set_enabled(
    daemon: &Daemon,
    globals: &Globals,
    name: &str,
    enable: bool,
) -> Result<Exit, Failure> {
    let client = PluginManagementServiceClient::from(daemon.rpc());
    let owned = Some(name.to_owned());
    let change = async {
        match enable {
            true => client
                .enable_plugin(EnablePluginRequest { name: owned })
                .await
                .map(drop),
            false => client
                .disable_plugin(DisablePluginRequest { name: owned })
                .await
                .map(drop),
        }
    };
    if let Err(error) = waiting::show(daemon, globals, &[], change).await {
        let failure = change_failure(error.into());
        return Err(match enable {
            true => still_refused(daemon, name, failure).await,
            false => failure,
        });
    }
    if globals.json {
        return output::print_text(json::line(&Changed {
            name,
            enabled: Some(enable),
            ..Changed::default()
        }));
    }
    let what = if enable { "enabled" } else { "disabled" };
    output::print_text(format_args!("{what} {}\n", escape_untrusted(name)))
}

/// Adds that a plugin stays refused, unless the daemon has reported that.
async fn still_refused(daemon: &Daemon, name: &str, failure: Failure) -> Failure {
    if failure.what().contains("refused") {
        return failure;
    }
    let plugins = inventory::list(daemon).await.unwrap_or_default();
    let is_refused = |plugin: &Plugin| plugin.name == name && plugin.status == Status::Refused;
    match plugins.into_iter().any(|plugin| is_refused(&plugin)) {
        true => {
            let what = format!("{name} stays refused: {}", failure.what());
            let advice = failure.advice().to_owned();
            failure.with_sentences(what, advice).with_plugin(name)
        }
        false => failure,
    }
}

async fn trust(daemon: &Daemon, globals: &Globals, name: &str) -> Result<Exit, Failure> {
    let client = ManagementServiceClient::from(daemon.rpc());
    let request = TrustPluginRequest {
        name: Some(name.to_owned()),
    };
    let response = waiting::show(daemon, globals, &[], client.trust_plugin(request))
        .await
        .map_err(|error| change_failure(error.into()))?;
    let trusted = response.into_message();
    let interpreter = Some(trusted.interpreter()).filter(|path| !path.is_empty());
    if globals.json {
        return output::print_text(json::line(&Changed {
            name,
            trusted: Some(true),
            sha256: Some(trusted.sha256()),
            interpreter,
            ..Changed::default()
        }));
    }
    let (name, sha256) = (escape_untrusted(name), escape_untrusted(trusted.sha256()));
    let script = match interpreter {
        Some(path) => format!(", a script that {} runs", escape_untrusted(path)),
        None => String::new(),
    };
    output::print_text(format_args!("trusted {name} (sha256 {sha256}{script})\n"))
}

async fn untrust(daemon: &Daemon, globals: &Globals, name: &str) -> Result<Exit, Failure> {
    let client = ManagementServiceClient::from(daemon.rpc());
    let request = UntrustPluginRequest {
        name: Some(name.to_owned()),
    };
    waiting::show(daemon, globals, &[], client.untrust_plugin(request))
        .await
        .map_err(|error| change_failure(error.into()))?;
    if globals.json {
        return output::print_text(json::line(&Changed {
            name,
            trusted: Some(false),
            ..Changed::default()
        }));
    }
    output::print_text(format_args!(
        "no longer trusted: {}\n",
        escape_untrusted(name)
    ))
}

/// Converts the error of a change. The name is not repeated: it may be a secret in the wrong place.
fn change_failure(error: ResolveError) -> Failure {
    match error {
        ResolveError::NotFound { .. } => Failure::new(
            Exit::NotFound,
            "the daemon has no plugin of this name",
            "Run `keyway plugins` to see which there are, or `keyway plugins reload` after adding one",
        ),
        ResolveError::Other(error) if error.code() == Code::FailedPrecondition => {
            let (why, advice) = daemon::split_advice(
                error.message(),
                "Run `keyway plugins` to see its state, and what helps",
            );
            Failure::error(why, advice)
        }
        error => daemon::request_failure(error),
    }
}

/// The changes of a reload; the output of `--json`.
#[derive(Debug, Serialize)]
struct Reloaded {
    added: Vec<String>,
    removed: Vec<String>,
    restarted: Vec<String>,
    changed: Vec<String>,
    needs_restart: Vec<String>,
    warnings: Vec<String>,
    problems: Vec<String>,
}

impl From<ReloadResponse> for Reloaded {
    fn from(response: ReloadResponse) -> Self {
        Self {
            added: response.added,
            removed: response.removed,
            restarted: response.restarted,
            changed: response.changed,
            needs_restart: response.needs_restart,
            warnings: response.warnings,
            problems: response.problems,
        }
    }
}

async fn reload(daemon: &Daemon, globals: &Globals) -> Result<Exit, Failure> {
    let client = ManagementServiceClient::from(daemon.rpc());
    let response = waiting::show(daemon, globals, &[], client.reload(ReloadRequest {})).await;
    let response = response.map_err(|error| daemon::request_failure(error.into()))?;
    let reloaded = Reloaded::from(response.into_message());
    if globals.json {
        output::print_text(json::line(&reloaded))?;
    } else {
        output::print_text(reloaded.lines())?;
    }
    if reloaded.problems.is_empty() {
        return Ok(Exit::Done);
    }
    let failure = Failure::error(
        "not everything could be loaded",
        "Correct what is named above and run `keyway plugins reload` again; everything else is in force",
    );
    Err(failure.with_details(reloaded.problems))
}

impl Reloaded {
    /// Formats one line per change. Problems are not included, because they are the failure of the command.
    fn lines(&self) -> String {
        let changes = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("restarted", &self.restarted),
            ("changed:", &self.changed),
            ("needs a restart of the daemon:", &self.needs_restart),
            ("warning:", &self.warnings),
        ];
        let lines = changes.iter().flat_map(|(what, entries)| {
            entries
                .iter()
                .map(move |entry| format!("{what} {}\n", escape_untrusted(entry)))
        });
        let lines: String = lines.collect();
        match lines.is_empty() && self.problems.is_empty() {
            true => "nothing has changed\n".to_owned(),
            false => lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_cuts_long_names_versions_and_realms() {
        let plugin = Plugin {
            name: "n".repeat(256),
            version: format!("v1.2.3-{}", "a".repeat(249)),
            realms: vec!["r".repeat(4096); 64],
            ..Plugin::default()
        };
        let text = table(&[plugin]).to_string();
        let width = text.lines().map(|line| line.chars().count()).max();
        assert!(width.is_some_and(|width| width < 400), "{width:?}");
        assert!(text.contains(&format!("{}…  v1.2.3-aaa", "n".repeat(99))));
    }
}
