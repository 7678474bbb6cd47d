//! Derives steps for the known plugins from a scan and the settings: pure.

use std::collections::{BTreeMap, BTreeSet};

use super::report::ReloadReport;
use crate::config::Settings;
use crate::model::PluginName;
use crate::plugin::{LaunchSource, Update};

/// The executables that a scan found, by the name of their plugin.
pub(super) type Sources = BTreeMap<PluginName, LaunchSource>;

/// Returns the update of each plugin that exists or should exist.
///
/// `known` are the plugins that have a task.
pub(super) fn updates(
    settings: &Settings,
    sources: &Sources,
    known: &BTreeSet<PluginName>,
) -> Vec<(PluginName, Update)> {
    let names: BTreeSet<&PluginName> = settings
        .names()
        .chain(sources.keys())
        .chain(known)
        .collect();
    names
        .into_iter()
        .map(|name| {
            let update = Update {
                settings: settings.plugin(name),
                is_pinning: settings.is_pinning,
                source: sources.get(name).cloned(),
            };
            (name.clone(), update)
        })
        .collect()
}

/// Notes in `report` which plugins are new, gone, or need a fresh process. `is_running`: whether a plugin has a process.
pub(super) fn compare(
    report: &mut ReloadReport,
    (old_settings, old): (&Settings, &Sources),
    (settings, sources): (&Settings, &Sources),
    is_running: impl Fn(&PluginName) -> bool,
) {
    for (name, source) in sources {
        let Some(former) = old.get(name) else {
            report.added.push(name.clone());
            continue;
        };
        let (before, after) = (old_settings.plugin(name), settings.plugin(name));
        let is_fresh = former != source || before.needs_fresh_process(&after);
        if is_fresh && is_running(name) {
            report.restarted.push(name.clone());
        }
    }
    let gone = old.keys().filter(|name| !sources.contains_key(*name));
    report.removed.extend(gone.cloned());
}
