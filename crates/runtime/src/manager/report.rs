//! The result of a reload.

use crate::model::PluginName;

/// The result of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Plugins that are new.
    pub added: Vec<PluginName>,
    /// Plugins that are gone.
    pub removed: Vec<PluginName>,
    /// Plugins that got a fresh process, because their file or settings changed.
    pub restarted: Vec<PluginName>,
    /// Failed steps, a sentence each.
    pub problems: Vec<String>,
    /// Settings that changed, as `priority of env: 1 -> 5`.
    pub changed: Vec<String>,
    /// Settings that take effect when the daemon is started again.
    pub needs_restart: Vec<String>,
    /// Probable mistakes, a sentence each.
    pub warnings: Vec<String>,
}
