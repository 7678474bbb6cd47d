//! The plugin process.

use std::env;
use std::process::ExitCode;

use keyway_plugin_sdk::{Plugin, ProviderError, tracing};

use crate::{Config, EnvProvider, config::SECRETS_VARIABLE};

/// Runs the plugin until it is stopped, and returns its exit status. Call it from a plain `main`, before any thread is
/// started.
pub fn run() -> ExitCode {
    Plugin::new("env").run_with(|| {
        let text = env::var(SECRETS_VARIABLE).unwrap_or_default();
        let config =
            Config::parse(&text).map_err(|error| ProviderError::fatal(error.to_string()))?;
        if config.is_empty() {
            tracing::info!(
                "no secrets are configured; name them in {SECRETS_VARIABLE}, for example \
                 `env = {{ {SECRETS_VARIABLE} = \"db/password=DB_PASSWORD\" }}` in [plugins.env]"
            );
        }
        Ok(EnvProvider::new(&config, |name| env::var_os(name)))
    })
}
