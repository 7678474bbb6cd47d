//! The failure of a query without a match, with the plugins that were not called.

use keyway_resolver::Pattern;

use crate::daemon::{self, Daemon};
use crate::failure::Failure;
use crate::failures::copyable;
use crate::inventory::{self, Kind, Plugin, Status};

/// Returns the failure of a query without a match. It names the plugins that were not called but may hold a match: those
/// that are disabled, available or untrusted, and those whose realm is not known.
pub(super) async fn not_found(daemon: &Daemon, pattern: &Pattern) -> Failure {
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
    let what = format!("{}, but {clauses}", failure.what());
    failure.clone().with_sentences(what, advice)
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
}
