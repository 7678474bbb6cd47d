//! `keyway plugins`: what the daemon's plugins are doing, and changing it.

use clap::{Args, Subcommand};
use keyway_proto::keyway::v1::{
    ManagementServiceClient, ReloadRequest, ReloadResponse, TrustPluginRequest,
};
use keyway_proto::plugins::v1::plugin::Metadata;
use keyway_proto::plugins::v1::{
    DisablePluginRequest, EnablePluginRequest, ListPluginsRequest, Plugin,
    PluginManagementServiceClient, RunStatus,
};
use keyway_resolver::{Pattern, ResolveError};
use serde::Serialize;

use crate::daemon::{self, Daemon};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table, json};
use crate::printable::printable;

/// What to do with the plugins.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
}

/// What to do; without it they are listed.
#[derive(Debug, Subcommand)]
enum Action {
    /// Show every plugin and what it is doing.
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
    /// Let the executable of a plugin run as it is now, where the daemon starts only those that it knows.
    Trust {
        /// The plugin.
        name: String,
    },
}

/// Does it.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let json = globals.json;
    daemon::ask(globals, async |daemon| match &options.action {
        None | Some(Action::List) => list(&daemon, json).await,
        Some(Action::Enable { name }) => switch(&daemon, name, true, json).await,
        Some(Action::Disable { name }) => switch(&daemon, name, false, json).await,
        Some(Action::Reload) => reload(&daemon, json).await,
        Some(Action::Trust { name }) => trust(&daemon, name, json).await,
    })
}

/// A plugin as `--json` shows it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    version: String,
    kind: &'static str,
    realm: Option<String>,
    status: &'static str,
    started_by: &'static str,
    configurable: bool,
    message: String,
}

impl From<Plugin> for Shown {
    fn from(plugin: Plugin) -> Self {
        let status = match plugin.run_status() {
            _ if plugin.disabled() => "disabled",
            RunStatus::Running => "running",
            RunStatus::Stopped => "stopped",
            RunStatus::Crashed => "crashed",
            RunStatus::RetriesExceeded => "retries_exceeded",
            RunStatus::Unspecified => "unknown",
        };
        let started_by = if plugin.external() { "user" } else { "daemon" };
        let configurable = plugin.configurable();
        let (kind, realm) = match plugin.metadata {
            Some(Metadata::SecretsProvider(provider)) => ("provider", provider.pattern),
            Some(Metadata::AccessControlModule(_)) => ("access_control", None),
            None => ("unknown", None),
        };
        Self {
            name: plugin.name.unwrap_or_default(),
            version: plugin.version.unwrap_or_default(),
            kind,
            realm,
            status,
            started_by,
            configurable,
            message: plugin.status_message.unwrap_or_default(),
        }
    }
}

/// All plugins that the daemon knows.
pub(super) async fn listed(daemon: &Daemon) -> Result<Vec<Plugin>, ResolveError> {
    let client = PluginManagementServiceClient::from(daemon.rpc());
    let answer = client.list_plugins(ListPluginsRequest {}).await?;
    Ok(answer.into_message().plugins)
}

/// Whether the plugin provides secrets that the pattern may match, as far as is known.
pub(super) fn may_answer(plugin: &Plugin, pattern: &Pattern) -> bool {
    match &plugin.metadata {
        Some(Metadata::AccessControlModule(_)) => false,
        _ => realm(plugin).is_none_or(|realm| realm.overlaps(pattern)),
    }
}

/// What the plugin answers for, where it provides secrets and has said so.
pub(super) fn realm(plugin: &Plugin) -> Option<Pattern> {
    match &plugin.metadata {
        Some(Metadata::SecretsProvider(provider)) => provider.pattern.as_deref()?.parse().ok(),
        _ => None,
    }
}

async fn list(daemon: &Daemon, json: bool) -> Result<Exit, Failure> {
    let plugins = listed(daemon).await.map_err(daemon::unanswered)?;
    let plugins: Vec<Shown> = plugins.into_iter().map(Shown::from).collect();
    if json {
        return output::print_text(json::line(&plugins));
    }
    if plugins.is_empty() {
        output::note("the daemon has no plugins");
    }
    let mut table = Table::new([
        "NAME",
        "VERSION",
        "STATUS",
        "KIND",
        "REALM",
        "STARTED BY",
        "MESSAGE",
    ]);
    for plugin in &plugins {
        let realm = plugin.realm.as_deref().unwrap_or_default();
        let Shown {
            name,
            version,
            started_by,
            message,
            ..
        } = plugin;
        let status = plugin.status.replace('_', " ");
        let kind = plugin.kind.replace('_', " ");
        table.push([name, version, &status, &kind, realm, started_by, message]);
    }
    output::print_text(table)
}

/// What `--json` says of a plugin that was changed.
#[derive(Debug, Serialize)]
struct Changed<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
}

async fn switch(daemon: &Daemon, name: &str, enable: bool, json: bool) -> Result<Exit, Failure> {
    let client = PluginManagementServiceClient::from(daemon.rpc());
    let owned = Some(name.to_owned());
    let answer = match enable {
        true => client
            .enable_plugin(EnablePluginRequest { name: owned })
            .await
            .map(drop),
        false => client
            .disable_plugin(DisablePluginRequest { name: owned })
            .await
            .map(drop),
    };
    answer.map_err(|error| about(error.into()))?;
    if json {
        let enabled = Some(enable);
        return output::print_text(json::line(&Changed {
            name,
            enabled,
            sha256: None,
        }));
    }
    let what = if enable { "enabled" } else { "disabled" };
    output::print_text(format_args!("{what} {name}\n"))
}

async fn trust(daemon: &Daemon, name: &str, json: bool) -> Result<Exit, Failure> {
    let client = ManagementServiceClient::from(daemon.rpc());
    let request = TrustPluginRequest {
        name: Some(name.to_owned()),
    };
    let answer = client
        .trust_plugin(request)
        .await
        .map_err(|error| about(error.into()))?;
    let sha256 = answer.into_message().sha256.unwrap_or_default();
    if json {
        let sha256 = Some(sha256.as_str());
        return output::print_text(json::line(&Changed {
            name,
            enabled: None,
            sha256,
        }));
    }
    let sha256 = printable(&sha256);
    output::print_text(format_args!("trusted {name} (sha256 {sha256})\n"))
}

/// Why nothing was done to a plugin.
fn about(error: ResolveError) -> Failure {
    match error {
        ResolveError::NotFound { .. } => Failure::new(
            Exit::NotFound,
            "the daemon has no plugin of this name",
            "Run `keyway plugins` to see which there are, or `keyway plugins reload` after adding one",
        ),
        error => daemon::unanswered(error),
    }
}

/// What a reload changed, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Reloaded {
    added: Vec<String>,
    removed: Vec<String>,
    restarted: Vec<String>,
    problems: Vec<String>,
}

async fn reload(daemon: &Daemon, json: bool) -> Result<Exit, Failure> {
    let client = ManagementServiceClient::from(daemon.rpc());
    let answer = client.reload(ReloadRequest {}).await;
    let answer = answer.map_err(|error| daemon::unanswered(error.into()))?;
    let ReloadResponse {
        added,
        removed,
        restarted,
        problems,
        ..
    } = answer.into_message();
    let reloaded = Reloaded {
        added,
        removed,
        restarted,
        problems,
    };
    if json {
        output::print_text(json::line(&reloaded))?;
    } else {
        output::print_text(reloaded.lines())?;
    }
    if reloaded.problems.is_empty() {
        return Ok(Exit::Done);
    }
    let failure = Failure::error(
        "not everything could be loaded",
        "Repair it and reload again; until then the daemon goes on with what it had",
    );
    Err(failure.with_details(reloaded.problems))
}

impl Reloaded {
    fn lines(&self) -> String {
        let changes = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("restarted", &self.restarted),
        ];
        let lines = changes.iter().flat_map(|(what, names)| {
            names
                .iter()
                .map(move |name| format!("{what} {}\n", printable(name)))
        });
        let lines: String = lines.collect();
        match lines.is_empty() && self.problems.is_empty() {
            true => "nothing has changed\n".to_owned(),
            false => lines,
        }
    }
}
