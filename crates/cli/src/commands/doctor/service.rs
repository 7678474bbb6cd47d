//! Checks of the service of systemd.

use super::finding::{Finding, or_ok};
use crate::commands::service::{ServiceStatus, UnitState};

/// Runs the checks. Without a service there is nothing to check.
pub(super) fn check(service: Option<&ServiceStatus>) -> Vec<Finding> {
    match service.filter(|service| service.is_installed()) {
        Some(service) => {
            let mut findings = check_units(service);
            findings.push(check_variables(service));
            findings.push(check_linger(service));
            findings
        }
        None => Vec::new(),
    }
}

/// The units must be those of this program, and active.
fn check_units(service: &ServiceStatus) -> Vec<Finding> {
    const CHECK: &str = "service";
    let mut findings = Vec::new();
    for unit in &service.units {
        let name = unit.name;
        if unit.file == UnitState::Outdated {
            findings.push(Finding::wrong(
                CHECK,
                format_args!(
                    "{name} was written by another version or another copy of this program"
                ),
                "Run `keyway service install`",
            ));
        }
        if unit.active == "failed" {
            findings.push(Finding::wrong(
                CHECK,
                format_args!("{name} has failed"),
                "Read why with `journalctl --user -u keyway`, then run `systemctl --user reset-failed`",
            ));
        } else if unit.is_socket() && !(unit.is_enabled && unit.active == "active") {
            findings.push(Finding::wrong(
                CHECK,
                format_args!("{name} is installed, and not enabled or not active"),
                "Run `systemctl --user enable --now keyway.socket`",
            ));
        }
    }
    or_ok(CHECK, findings)
}

/// The service must use the files that this shell names.
fn check_variables(service: &ServiceStatus) -> Finding {
    const CHECK: &str = "variables of the service";
    let missing = &service.missing_variables;
    if missing.is_empty() {
        return Finding::ok(CHECK);
    }
    Finding::wrong(
        CHECK,
        format_args!(
            "the service does not have {} of this shell, and so uses other files than the commands here",
            missing.join(" and ")
        ),
        "Run `keyway service install` in this shell, or unset what is not meant",
    )
}

/// Without lingering the service ends with the session.
fn check_linger(service: &ServiceStatus) -> Finding {
    const CHECK: &str = "linger";
    match service.linger {
        Some(false) => Finding::note(
            CHECK,
            "the daemon ends when you log out, and cron and boot find none",
            "Run `loginctl enable-linger` to change that",
        ),
        _ => Finding::ok(CHECK),
    }
}
