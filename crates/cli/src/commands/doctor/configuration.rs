//! Checks of the configuration.

use keyway_runtime::Config;

use super::finding::{Finding, or_ok};
use super::probe::Examined;
use crate::commands::serve::settings::{self, ConfigOptions, Settings};
use crate::failure::Failure;

/// The configuration as the daemon would read it now, or what is wrong with it.
pub(super) type Read = Result<Config, Failure>;

/// Reads the configuration.
///
/// # Errors
///
/// Returns a [`Failure`] if there is no home.
pub(super) fn read() -> Result<Read, Failure> {
    let settings = Settings::from_config_options(&ConfigOptions::default())?;
    Ok(settings
        .read()
        .map_err(|error| settings::failure(&error, None)))
}

/// Runs the checks.
pub(super) fn check(config: &Read, daemon: &Examined) -> Vec<Finding> {
    let config = match config {
        Ok(config) => config,
        Err(failure) => return vec![Finding::failure("configuration", failure)],
    };
    let mut findings = check_warnings(config);
    if let Ok(status) = &daemon.status {
        findings.push(check_in_force(config, status.configuration_hash()));
        findings.push(check_audit(status.audit().is_empty()));
    } else {
        findings.push(check_audit(config.audit.is_none()));
    }
    findings
}

/// The file must not have settings without effect.
fn check_warnings(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let warnings = config.warnings.iter();
    let findings = warnings.map(|warning| {
        Finding::wrong(
            CHECK,
            warning.to_string().trim_end_matches('.'),
            "Correct the file; `keyway config` shows each setting with its line",
        )
    });
    or_ok(CHECK, findings.collect())
}

/// The daemon must have read the file as it is now.
fn check_in_force(config: &Config, in_force: &str) -> Finding {
    const CHECK: &str = "configuration in force";
    if in_force.is_empty() || config.hash.to_string() == in_force {
        return Finding::ok(CHECK);
    }
    Finding::wrong(
        CHECK,
        "the configuration has changed since the daemon read it",
        "Run `keyway plugins reload`",
    )
}

/// Without an audit log nothing says which program read a secret.
fn check_audit(is_off: bool) -> Finding {
    const CHECK: &str = "audit log";
    if !is_off {
        return Finding::ok(CHECK);
    }
    Finding::note(
        CHECK,
        "the audit log is off",
        "Set `path` in `[audit]` of the configuration to record which program reads which secret",
    )
}
