//! `keyway status`: what the running daemon is and does.

use std::fmt::{self, Write as _};

use clap::Args;
use keyway_local::escape_untrusted;
use keyway_proto::keyway::v1::StatusResponse;
use keyway_proto::timestamp;
use serde::Serialize;

use crate::daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::inventory::{self, Plugin};
use crate::output::{self, json, rfc3339};

/// Options of `keyway status`.
#[derive(Args, Debug)]
pub(crate) struct Options {}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Status {
    version: String,
    pid: i32,
    uid: u32,
    started_at: Option<String>,
    /// The path of the program that runs.
    executable: String,
    /// Another file is at that path now.
    is_replaced: bool,
    addresses: Vec<String>,
    /// Empty without a file.
    configuration_file: String,
    configuration_hash: String,
    /// The file of the audit log; empty if it is off.
    audit: String,
    allow_uids: Vec<u32>,
    plugins: Vec<PluginStatus>,
}

#[derive(Debug, Serialize)]
struct PluginStatus {
    name: String,
    status: &'static str,
}

/// Prints the state of the daemon. That none is running is a failure.
pub(crate) fn run(globals: &Globals, _options: &Options) -> Result<Exit, Failure> {
    let status = daemon::with_client(globals, async |daemon| {
        let response = daemon::status(&daemon).await;
        let response = response.map_err(daemon::request_failure)?;
        let plugins = inventory::list(&daemon).await;
        let plugins = plugins.map_err(daemon::request_failure)?;
        Ok(Status::new(response, &plugins))
    })?;
    if globals.json {
        return output::print_text(json::line(&status));
    }
    output::print_text(status.lines())
}

impl From<&Plugin> for PluginStatus {
    fn from(plugin: &Plugin) -> Self {
        Self {
            name: plugin.name.clone(),
            status: plugin.status.word(),
        }
    }
}

impl fmt::Display for PluginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.status)
    }
}

impl Status {
    fn new(response: StatusResponse, plugins: &[Plugin]) -> Self {
        let started_at = timestamp::from_wire(response.started_at).unwrap_or_default();
        Self {
            pid: response.pid(),
            uid: response.uid(),
            started_at: started_at.map(rfc3339),
            executable: response.executable().to_owned(),
            is_replaced: response.is_executable_replaced(),
            configuration_file: response.configuration_file().to_owned(),
            configuration_hash: response.configuration_hash().to_owned(),
            audit: response.audit().to_owned(),
            plugins: plugins.iter().map(PluginStatus::from).collect(),
            version: response.version.unwrap_or_default(),
            addresses: response.addresses,
            allow_uids: response.allow_uids,
        }
    }

    fn lines(&self) -> String {
        let or = |text: &str, default: &str| match text {
            "" => default.to_owned(),
            text => escape_untrusted(text),
        };
        let since = self.started_at.as_deref().unwrap_or("an unknown time");
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<12}{value}");
        };
        let version = escape_untrusted(&self.version);
        line(
            "daemon",
            &format!("{version}, process {} since {since}", self.pid),
        );
        if self.is_replaced {
            line(
                "",
                "its program was replaced: restart it to run the new version",
            );
        }
        line("listens at", &escape_untrusted(&self.addresses.join(", ")));
        line(
            "config",
            &or(&self.configuration_file, "none: the defaults"),
        );
        line("audit log", &or(&self.audit, "off"));
        if !self.allow_uids.is_empty() {
            let uids: Vec<_> = self.allow_uids.iter().map(u32::to_string).collect();
            line("other uids", &uids.join(", "));
        }
        let plugins: Vec<_> = self.plugins.iter().map(ToString::to_string).collect();
        line("plugins", &or(&plugins.join(", "), "none"));
        text
    }
}
