//! Who may do what: one table for every service and for `/hijack`.
//!
//! [`judge`] reads the table. Its result becomes a [`Permit`] when the access-control modules agree, where they are consulted. A
//! permit cannot be made in another way, so a function that takes one is reached by permitted callers only.

mod action;
mod gate;
mod modules;
mod refusal;
mod reserved;
mod table;
mod user;

use std::ops::AsyncFnOnce;

use keyway_secrets::{Id, Pattern};

use crate::model::{PluginName, Realm};

pub(crate) use action::{Action, Consultation, Manage};
pub(crate) use gate::{Gate, Permitted};
pub(crate) use refusal::Refusal;
pub use reserved::is_reserved;
pub(crate) use reserved::is_within_reserved;
pub(crate) use table::{CallerFacts, Grant, Rules};
pub(crate) use user::User;

/// The right to take one action, as far as the table and the settings decide: what is left are the access-control modules.
#[derive(Debug)]
pub(crate) struct Provisional {
    grant: Grant,
}

/// The right to take one action.
#[derive(Debug)]
pub(crate) struct Permit {
    grant: Grant,
}

/// Judges `action` of a caller by the table.
///
/// # Errors
///
/// Returns [`Refusal`] if the table does not permit the action.
pub(crate) fn judge(
    facts: &CallerFacts,
    action: &Action<'_>,
    rules: &Rules<'_>,
) -> Result<Provisional, Refusal> {
    Ok(Provisional {
        grant: table::judge(facts, action, rules)?,
    })
}

impl Provisional {
    /// The plugin that is not consulted if it is a module: the caller is one of its processes.
    pub(crate) fn excluded_plugin(&self) -> Option<&PluginName> {
        self.grant.excluded_plugin.as_ref()
    }

    /// The permit, if no module has to be consulted or `ask` finds that all allow the action.
    ///
    /// # Errors
    ///
    /// The error of `ask`.
    pub(crate) async fn consult<E>(
        self,
        ask: impl AsyncFnOnce(&Consultation) -> Result<(), E>,
    ) -> Result<Permit, E> {
        if let Some(consultation) = &self.grant.consultation {
            ask(consultation).await?;
        }
        Ok(Permit { grant: self.grant })
    }
}

impl Permit {
    /// A permit without conditions, except that the caller may be a process of `plugin`.
    #[cfg(test)]
    pub(crate) fn for_tests(plugin: Option<&PluginName>) -> Self {
        Self {
            grant: Grant {
                excluded_plugin: plugin.cloned(),
                ..Grant::default()
            },
        }
    }

    /// Whether a value of `id` may be given out: it is not reserved, and no limit of the caller excludes it.
    pub(crate) fn covers(&self, id: &Id) -> bool {
        !is_reserved(id) && self.limit().is_none_or(|limit| limit.matches(id))
    }

    /// The query to resolve in place of `query`: cut to the caller's limit as far as one pattern can say it. [`covers`](Self::covers)
    /// decides about each returned id all the same.
    pub(crate) fn narrow(&self, query: &Pattern) -> Pattern {
        match self.limit() {
            Some(limit) => limit.narrow(query),
            None => query.clone(),
        }
    }

    /// What the caller may resolve; `None`: everything.
    pub(crate) fn limit(&self) -> Option<&Realm> {
        self.grant.limit.as_ref()
    }

    /// The plugin that is no candidate and is not waited for: the caller is one of its processes.
    pub(crate) fn excluded_plugin(&self) -> Option<&PluginName> {
        self.grant.excluded_plugin.as_ref()
    }

    /// Whether every `status_message` is empty for the caller.
    pub(crate) fn hides_status(&self) -> bool {
        self.grant.hides_status
    }
}

#[cfg(test)]
mod tests;
