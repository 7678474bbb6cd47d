//! Plugins: how one is called, how one that was launched lives, and how one that was started by hand does.
//!
//! Whatever a plugin came from, from its connection on it is the same: [`crate::connection::open`] turns any byte stream into
//! a [`crate::connection::PluginConnection`], and a [`Handle`] calls it.

mod cache;
mod ending;
mod flight;
mod handle;
mod launched;
mod manual;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::config::PluginConfig;

pub(crate) use cache::{SharedAnswer, size};
pub(crate) use handle::{CallError, Handle};
pub(crate) use launched::{Fingerprint, LaunchSource, LaunchedPlugin, STOP_BOUND};
pub(crate) use manual::serve_manual;

/// What the task that owns a plugin can be told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run; answered when that is under way, with `false` when the executable is not trusted and therefore stays stopped.
    Enable(oneshot::Sender<bool>),
    /// Stop and stay stopped; answered with `true` when it is no longer asked for secrets.
    Disable(oneshot::Sender<bool>),
    /// Use other settings.
    Configure(Arc<PluginConfig>),
    /// For a launched plugin: use another file or other settings, and a fresh process where that makes a difference.
    Replace(Box<LaunchSource>),
    /// End for good, because the daemon stops or the plugin is gone.
    Stop,
}

/// Sends commands to the task that owns a plugin.
pub(crate) type CommandSender = mpsc::Sender<Command>;

/// How many commands can wait for a plugin's task. Commands are handled at once, so even one rarely waits.
pub(crate) const COMMAND_QUEUE: usize = 16;
