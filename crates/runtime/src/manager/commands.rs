//! Commands of users: enable, disable, trust, untrust.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::trust::TrustError;
use super::{Done, Manager, SetEnabledError, TrustReply, Trusted};
use crate::config::Settings;
use crate::launch::{Checksum, LaunchError, checksum};
use crate::model::PluginName;
use crate::plugin::Command;
use crate::record::Memory;

/// How long a reply waits for the state file.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

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
        if enabled {
            let (done, finished) = oneshot::channel();
            let _ = commands.send(Command::Enable(done));
            let memory = Arc::clone(&self.host.memory);
            self.work.spawn(async move {
                let result = finished.await.unwrap_or(Ok(()));
                written(&memory).await;
                let _ = reply.send(result.map_err(SetEnabledError::from));
                Done::Nothing
            });
        } else {
            let (done, finished) = oneshot::channel();
            let _ = commands.send(Command::Disable(done));
            let memory = Arc::clone(&self.host.memory);
            self.work.spawn(async move {
                // A task that has ended has nothing left to disable.
                let _ = finished.await;
                written(&memory).await;
                let _ = reply.send(Ok(()));
                Done::Nothing
            });
        }
    }

    /// Replies when what changed is on disk, so that it outlives the daemon.
    pub(super) fn reply_when_written<T: Send + 'static>(
        &mut self,
        reply: oneshot::Sender<T>,
        result: T,
    ) {
        let memory = Arc::clone(&self.host.memory);
        self.work.spawn(async move {
            written(&memory).await;
            // The caller may have stopped waiting.
            let _ = reply.send(result);
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

/// Waits until what is remembered is on disk. A disk that hangs does not hold up the reply for ever.
async fn written(memory: &Memory) {
    if tokio::time::timeout(WRITE_LIMIT, memory.flush())
        .await
        .is_err()
    {
        tracing::error!("state file not written within {WRITE_LIMIT:?}");
    }
}
