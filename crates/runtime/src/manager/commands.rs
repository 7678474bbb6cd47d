//! Commands of users: enable, disable, trust, untrust.

use std::path::PathBuf;
use std::sync::Arc;

use futures::{FutureExt, TryFutureExt};
use tokio::sync::oneshot;

use super::trust::TrustError;
use super::{Done, Manager, SetEnabledError, TrustReply, Trusted};
use crate::config::Settings;
use crate::launch::{Checksum, LaunchError, checksum};
use crate::model::PluginName;
use crate::plugin::Command;
use crate::record::NotWritten;

impl Manager {
    pub(super) fn set_enabled(
        &mut self,
        name: PluginName,
        enabled: bool,
        reply: oneshot::Sender<Result<(), SetEnabledError>>,
    ) {
        let settings = self.settings.load();
        if !enabled && settings.plugin(&name).is_listed_module {
            let _ = reply.send(Err(SetEnabledError::Listed(name)));
            return;
        }
        let Some(commands) = self.plugins.get(&name) else {
            // An external plugin that was disabled and is not connected.
            let is_disabled = self.host.memory.plugin(&name).decision() == Some(false);
            let result = if enabled && is_disabled {
                self.host
                    .memory
                    .remember(&name, |plugin| plugin.set_decision(None));
                Ok(())
            } else {
                Err(SetEnabledError::Unknown(name))
            };
            self.reply_when_written(reply, result);
            return;
        };
        tracing::info!(plugin = %name, enabled, "plugin enabled or disabled");
        let (command, finished) = if enabled {
            let (done, finished) = oneshot::channel();
            (Command::Enable(done), finished.left_future())
        } else {
            let (done, finished) = oneshot::channel();
            (Command::Disable(done), finished.map_ok(Ok).right_future())
        };
        let _ = commands.send(command);
        let memory = Arc::clone(&self.host.memory);
        self.work.spawn(async move {
            // A plugin whose task has ended cannot be enabled or disabled.
            let result = finished.await.unwrap_or(Ok(()));
            let written = memory.flush().await;
            let result = result
                .map_err(SetEnabledError::from)
                .and_then(|()| Ok(written?));
            // The caller may have stopped waiting.
            let _ = reply.send(result);
            Done::Nothing
        });
    }

    /// Replies when the change is on disk, so that it outlives the daemon, or with an error.
    pub(super) fn reply_when_written<T: Send + 'static, E: From<NotWritten> + Send + 'static>(
        &mut self,
        reply: oneshot::Sender<Result<T, E>>,
        result: Result<T, E>,
    ) {
        let memory = Arc::clone(&self.host.memory);
        self.work.spawn(async move {
            let written = memory.flush().await;
            // The caller may have stopped waiting.
            let _ = reply.send(result.and_then(|value| Ok(written.map(|()| value)?)));
            Done::Nothing
        });
    }

    pub(super) fn trust(&mut self, name: PluginName, reply: TrustReply) {
        let settings = self.settings.load();
        let path = match self.trustable(&settings, &name) {
            Ok(path) => path,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        self.work
            .spawn(async move { Done::Hashed(name, checksum(&path).await, reply) });
    }

    pub(super) fn trustable(
        &self,
        settings: &Settings,
        name: &PluginName,
    ) -> Result<PathBuf, TrustError> {
        let name = name.clone();
        let Some(source) = self.sources.get(&name) else {
            return Err(TrustError::Unknown { name });
        };
        if source.is_built_in {
            return Err(TrustError::BuiltIn { name });
        }
        if settings.config.plugin(&name).sha256.is_some() {
            return Err(TrustError::Configured { name });
        }
        Ok(source.executable.clone())
    }

    pub(super) fn hashed(
        &mut self,
        name: PluginName,
        result: Result<Checksum, LaunchError>,
    ) -> Result<Trusted, TrustError> {
        let settings = self.settings.load();
        // The configuration may have changed while the file was read.
        self.trustable(&settings, &name)?;
        let checksum = result?;
        let trusted = Trusted {
            sha256: checksum.sha256,
            interpreter: checksum.interpreter,
        };
        tracing::info!(plugin = %name, sha256 = %trusted.sha256, "executable trusted");
        self.host
            .memory
            .remember(&name, |plugin| plugin.trusted = Some(trusted.sha256));
        self.resettle(&name);
        Ok(trusted)
    }

    pub(super) fn untrust(&mut self, name: &PluginName) -> Result<(), TrustError> {
        let settings = self.settings.load();
        if settings.config.plugin(name).sha256.is_some() {
            return Err(TrustError::Configured { name: name.clone() });
        }
        if self.host.memory.plugin(name).trusted.is_none() {
            if !self.plugins.contains_key(name) {
                return Err(TrustError::Unknown { name: name.clone() });
            }
            return Err(TrustError::NotTrusted { name: name.clone() });
        }
        tracing::info!(plugin = %name, "pin taken back");
        self.host
            .memory
            .remember(name, |plugin| plugin.trusted = None);
        self.resettle(name);
        Ok(())
    }

    /// Follows a change of pins, which may concern every plugin, and tries `name` again.
    pub(super) fn resettle(&mut self, name: &PluginName) {
        let config = self.settings.load().config.clone();
        let settings = self.put_into_force(config);
        self.bring_up_to_date(&settings);
        if let Some(commands) = self.plugins.get(name) {
            let _ = commands.send(Command::Retry);
        }
    }
}
