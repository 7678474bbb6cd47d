//! The table of authorization: a pure function of the caller, the action and the settings.
//!
//! | caller | version | resolve, list, explain, authorize | list plugins | inspect | manage, write | hijack |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | own uid | yes | yes | yes | yes | yes | as `[external]` |
//! | contained (own uid or `allow_uids`) | yes | at a path, or with `[access] contained` | no | no | no | no |
//! | `allow_uids` | yes | yes | without messages | no | no | no |
//! | any other uid | no | no | no | no | no | no |
//! | a plugin, on its plugin connection | yes | no | no | no | no | no |
//! | a process of a launched plugin's group | yes | within `may_resolve` | no | no | no | no |
//! | a descendant of the daemon outside of every group | yes | yes | yes | yes | no | as `[external]` |
//!
//! A caller to which several rows apply needs the permission of each.

use std::collections::BTreeSet;

use keyway_secrets::Pattern;

use super::action::{Action, Consultation, Manage, Purpose, write_pattern};
use super::refusal::Refusal;
use super::reserved::{is_reserved, is_within_reserved};
use super::user::User;
use crate::config::{ExternalPlugins, Settings};
use crate::model::{PluginName, Realm};

#[cfg(test)]
mod tests;

/// The known facts of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerFacts {
    pub(crate) user: User,
    /// `true` if the caller is in another pid namespace, or that is not known.
    pub(crate) is_contained: bool,
    pub(crate) connection: Connection,
    /// The launched plugin to whose process group the caller belongs, from its fork on.
    pub(crate) plugin: Option<PluginName>,
    /// `true` if the caller descends from the daemon, as far as that is known.
    pub(crate) is_descendant: bool,
}

/// The connection on which a request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// The daemon's socket at a path, which file modes protect.
    Path,
    /// The daemon's socket at an abstract address, which every process of the network namespace reaches.
    Abstract,
    /// The connection of a plugin.
    Plugin,
}

/// The settings that the table depends on.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    /// `[access] contained`.
    pub(crate) is_contained_allowed: bool,
    /// `true` if `[external] allow` lets any name register.
    pub(crate) is_external_allowed: bool,
    /// `may_resolve` of the caller's plugin.
    pub(crate) may_resolve: Vec<Pattern>,
    /// `[access] modules`.
    pub(crate) listed_modules: &'a BTreeSet<PluginName>,
}

impl<'a> Rules<'a> {
    /// Creates the rules for a caller of `settings`.
    pub(crate) fn new(settings: &'a Settings, caller: &CallerFacts) -> Self {
        let config = &settings.config;
        let may_resolve = caller
            .plugin
            .as_ref()
            .map(|plugin| settings.plugin(plugin).may_resolve.clone());
        Self {
            is_contained_allowed: config.access_contained,
            is_external_allowed: config.external != ExternalPlugins::None,
            may_resolve: may_resolve.unwrap_or_default(),
            listed_modules: &config.access_modules,
        }
    }
}

/// The permission of the table, with its conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The realm that the caller may resolve; `None`: everything.
    pub(crate) limit: Option<Realm>,
    /// `true` if every `status_message` is empty for the caller.
    pub(crate) hides_status: bool,
    /// The caller's own plugin: no candidate, not waited for and not consulted.
    pub(crate) excluded_plugin: Option<PluginName>,
    /// The consultation of the access-control modules; `None`: none.
    pub(crate) consultation: Option<Consultation>,
}

/// Checks `action` of a caller against the table.
pub(super) fn check(
    facts: &CallerFacts,
    action: &Action<'_>,
    rules: &Rules<'_>,
) -> Result<Grant, Refusal> {
    let purpose = action.purpose();
    if facts.user == User::Other {
        return Err(Refusal::UnknownUser);
    }
    if purpose == Purpose::Version {
        return Ok(Grant::default());
    }
    if facts.connection == Connection::Plugin {
        return Err(Refusal::PluginConnection(purpose));
    }
    check_user(facts, purpose)?;
    check_containment(facts, purpose, rules)?;
    check_descent(facts, purpose)?;
    check_object(action, rules)?;
    let limit = match &facts.plugin {
        Some(plugin) => Some(plugin_limit(plugin, action, rules)?),
        None => None,
    };
    Ok(Grant {
        consultation: consultation(action, limit.as_ref()),
        limit,
        hides_status: facts.user == User::Allowed,
        excluded_plugin: facts.plugin.clone(),
    })
}

fn reads_secrets(purpose: Purpose) -> bool {
    matches!(
        purpose,
        Purpose::Resolve | Purpose::List | Purpose::Explain | Purpose::Authorize
    )
}

fn check_user(facts: &CallerFacts, purpose: Purpose) -> Result<(), Refusal> {
    let is_permitted = match facts.user {
        User::Own => true,
        User::Allowed => reads_secrets(purpose) || purpose == Purpose::ListPlugins,
        User::Other => false,
    };
    if is_permitted {
        Ok(())
    } else {
        Err(Refusal::ReaderOnly(purpose))
    }
}

fn check_containment(
    facts: &CallerFacts,
    purpose: Purpose,
    rules: &Rules<'_>,
) -> Result<(), Refusal> {
    if !facts.is_contained {
        Ok(())
    } else if !reads_secrets(purpose) {
        Err(Refusal::Contained(purpose))
    } else if facts.connection == Connection::Path || rules.is_contained_allowed {
        Ok(())
    } else {
        Err(Refusal::ContainedAtAbstractAddress(purpose))
    }
}

fn check_descent(facts: &CallerFacts, purpose: Purpose) -> Result<(), Refusal> {
    if let Some(plugin) = &facts.plugin {
        if reads_secrets(purpose) {
            return Ok(());
        }
        let plugin = plugin.clone();
        return Err(Refusal::PluginProcess { plugin, purpose });
    }
    if facts.is_descendant && matches!(purpose, Purpose::Manage | Purpose::Write) {
        return Err(Refusal::Descendant(purpose));
    }
    Ok(())
}

/// Returns the refusal of the settings, which is the same for every caller.
fn check_object(action: &Action<'_>, rules: &Rules<'_>) -> Result<(), Refusal> {
    match *action {
        Action::Hijack if !rules.is_external_allowed => Err(Refusal::NoExternalPlugins),
        Action::Manage(Manage::Disable(name)) => match rules.listed_modules.get(name) {
            Some(module) => Err(Refusal::ListedModule(module.clone())),
            None => Ok(()),
        },
        Action::Write(id) if is_reserved(id) => Err(Refusal::ReservedId(id.clone())),
        Action::Authorize(patterns) => {
            match patterns.iter().find(|query| is_within_reserved(query)) {
                Some(query) => Err(Refusal::ReservedQuery(query.clone())),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Returns the realm that a plugin's process may resolve, if it overlaps each query. Authorize is about all ids of a pattern, so
/// the limit has to include the pattern.
fn plugin_limit(
    plugin: &PluginName,
    action: &Action<'_>,
    rules: &Rules<'_>,
) -> Result<Realm, Refusal> {
    let limit = Realm::new(&rules.may_resolve, None);
    let is_permitted = |query: &Pattern| match action {
        Action::Authorize(_) => rules.may_resolve.iter().any(|wide| wide.covers(query)),
        _ => limit.overlaps(query),
    };
    let queries = action.patterns().unwrap_or_default();
    match queries.iter().find(|query| !is_permitted(query)) {
        Some(query) => Err(Refusal::MayNotResolve {
            plugin: plugin.clone(),
            query: query.clone(),
        }),
        None => Ok(limit),
    }
}

/// Returns the consultation of the modules. Reserved ids are never resolved: a consultation about one means management or a
/// write.
fn consultation(action: &Action<'_>, limit: Option<&Realm>) -> Option<Consultation> {
    let queries = || {
        let queries = action.patterns().unwrap_or_default().iter();
        let queries = queries.filter(|query| !is_within_reserved(query));
        let cut = |query: &Pattern| match limit {
            Some(limit) => limit.narrow(query),
            None => query.clone(),
        };
        Some(queries.map(cut).collect::<Vec<_>>()).filter(|queries| !queries.is_empty())
    };
    match action {
        Action::Resolve(_) | Action::List(_) | Action::Explain(_) => {
            queries().map(Consultation::CheckAccess)
        }
        Action::Authorize(_) => queries().map(Consultation::Authorize),
        Action::Manage(manage) => Some(Consultation::CheckAccess(vec![manage.pattern()])),
        Action::Write(id) => Some(Consultation::CheckAccess(vec![write_pattern(id)])),
        Action::Version | Action::ListPlugins | Action::Inspect | Action::Hijack => None,
    }
}
