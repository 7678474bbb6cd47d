//! Listing, enabling, disabling and reloading plugins.

use keyway_proto::keyway::v1 as keyway;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_rpc::{Error, Request, Response};
use tokio::sync::oneshot;

use super::Services;
use crate::name::PluginName;
use crate::plugin::Command;
use crate::registry::{Availability, Entry, Kind, Origin};
use crate::trust::TrustError;

impl plugins::PluginManagementService for Services {
    async fn list_plugins(
        &self,
        _request: Request<plugins::ListPluginsRequest>,
    ) -> Result<Response<plugins::ListPluginsResponse>, Error> {
        let snapshot = self.engine.registry.snapshot();
        let plugins = snapshot
            .values()
            .map(|entry| self.describe(entry))
            .collect();
        Ok(Response::new(plugins::ListPluginsResponse { plugins }))
    }

    async fn enable_plugin(
        &self,
        request: Request<plugins::EnablePluginRequest>,
    ) -> Result<Response<plugins::EnablePluginResponse>, Error> {
        self.set_enabled(request.message().name(), true).await?;
        Ok(Response::new(plugins::EnablePluginResponse {}))
    }

    async fn disable_plugin(
        &self,
        request: Request<plugins::DisablePluginRequest>,
    ) -> Result<Response<plugins::DisablePluginResponse>, Error> {
        self.set_enabled(request.message().name(), false).await?;
        Ok(Response::new(plugins::DisablePluginResponse {}))
    }
}

impl resolver::ListService for Services {
    async fn list_plugins(
        &self,
        _request: Request<resolver::ListPluginsRequest>,
    ) -> Result<Response<resolver::ListPluginsResponse>, Error> {
        // Clients of that time know only running providers.
        let snapshot = self.engine.registry.snapshot();
        let plugins = snapshot
            .values()
            .filter(|entry| entry.handle().is_some())
            .filter_map(|entry| {
                let Some(Kind::Provider(pattern)) = &entry.kind else {
                    return None;
                };
                Some(resolver::Plugin {
                    name: Some(entry.name.to_string()),
                    version: Some(entry.version.clone()),
                    pattern: Some(pattern.to_string()),
                    external: Some(entry.origin == Origin::Manual),
                })
            });
        Ok(Response::new(resolver::ListPluginsResponse {
            plugins: plugins.collect(),
        }))
    }
}

impl keyway::ManagementService for Services {
    async fn reload(
        &self,
        _request: Request<keyway::ReloadRequest>,
    ) -> Result<Response<keyway::ReloadResponse>, Error> {
        let report = self
            .manager
            .reload()
            .await
            .ok_or_else(|| Error::unavailable("the daemon is stopping"))?;
        let report = report.map_err(|error| {
            Error::failed_precondition(format!("the old configuration stays in force: {error}"))
        })?;
        let texts = |names: Vec<PluginName>| names.into_iter().map(String::from).collect();
        Ok(Response::new(keyway::ReloadResponse {
            added: texts(report.added),
            removed: texts(report.removed),
            restarted: texts(report.restarted),
            problems: report.problems,
            ..keyway::ReloadResponse::default()
        }))
    }

    async fn trust_plugin(
        &self,
        request: Request<keyway::TrustPluginRequest>,
    ) -> Result<Response<keyway::TrustPluginResponse>, Error> {
        let name = request.message().name();
        let name: PluginName = name
            .parse()
            .map_err(|_| Error::not_found(format!("there is no plugin {name:?}")))?;
        let checksum = self
            .manager
            .trust(name)
            .await
            .ok_or_else(|| Error::unavailable("the daemon is stopping"))?
            .map_err(trust_error)?;
        Ok(Response::new(keyway::TrustPluginResponse {
            sha256: Some(checksum.to_string()),
            ..keyway::TrustPluginResponse::default()
        }))
    }
}

fn trust_error(error: TrustError) -> Error {
    let message = error.to_string();
    match error {
        TrustError::Unknown { .. } => Error::not_found(message),
        TrustError::Bundled { .. } | TrustError::Configured { .. } => {
            Error::failed_precondition(message)
        }
        TrustError::Executable(_) => Error::failed_precondition(message),
    }
}

fn untrusted(name: &PluginName) -> Error {
    Error::failed_precondition(format!(
        "the executable of {name} is not trusted: look at it, then run `keyway plugins trust {name}`"
    ))
}

/// How often a plugin that is just ending is looked at again.
const TRIES: usize = 100;

impl Services {
    async fn set_enabled(&self, name: &str, enabled: bool) -> Result<(), Error> {
        let not_found = || Error::not_found(format!("there is no plugin {name:?}"));
        let name: PluginName = name.parse().map_err(|_| not_found())?;
        let snapshot = self.engine.registry.snapshot();
        let Some(entry) = snapshot.get(&name) else {
            // It was started by hand and disabled, and then it left or the daemon was started again.
            let config = self.engine.config().plugin(&name);
            if enabled && config.enabled.is_none() && self.engine.is_disabled(&name, &config) {
                self.engine.set_disabled(&name, false);
                return Ok(());
            }
            return Err(not_found());
        };
        self.check_configurable(entry, enabled)?;
        self.engine.set_disabled(&name, !enabled);
        for _ in 0..TRIES {
            let Some(control) = self.engine.controls.get(&name) else {
                if enabled {
                    self.forget_disabled(&name);
                }
                break;
            };
            let (done, finished) = oneshot::channel();
            let command = if enabled {
                Command::Enable(done)
            } else {
                Command::Disable(done)
            };
            if control.send(command).await.is_ok() {
                match finished.await {
                    Ok(true) => break,
                    Ok(false) => return Err(untrusted(&name)),
                    Err(_) => {}
                }
            }
            // It ended in the meantime, and is about to give its name back.
            tokio::task::yield_now().await;
        }
        tracing::info!(plugin = %name, "plugin {}", if enabled { "enabled" } else { "disabled" });
        Ok(())
    }

    /// A plugin that was started by hand and disabled is only a name; whoever starts it again may.
    fn forget_disabled(&self, name: &PluginName) {
        let registry = &self.engine.registry;
        let is_disabled = registry.snapshot().get(name).is_some_and(|entry| {
            entry.origin == Origin::Manual && matches!(entry.availability, Availability::Disabled)
        });
        if is_disabled {
            registry.remove(name);
        }
    }

    /// What configuration decides cannot be decided over RPC.
    fn check_configurable(&self, entry: &Entry, enable: bool) -> Result<(), Error> {
        let name = &entry.name;
        if !enable && self.engine.config().access_modules.contains(name) {
            let message = format!("{name} is listed in `[access] modules` and cannot be disabled");
            return Err(Error::failed_precondition(message));
        }
        match entry.config.enabled {
            Some(configured) if configured != enable => Err(Error::failed_precondition(format!(
                "configuration says `enabled = {configured}` for {name}: change it there"
            ))),
            _ => Ok(()),
        }
    }

    fn describe(&self, entry: &Entry) -> plugins::Plugin {
        use plugins::plugin::Metadata;
        let listed = self.engine.config().access_modules.contains(&entry.name);
        let metadata = match &entry.kind {
            Some(Kind::AccessControl) => Some(Metadata::AccessControlModule(
                plugins::AccessControlModule {},
            )),
            _ => entry.realm().map(|realm| {
                Metadata::SecretsProvider(plugins::SecretsProvider {
                    pattern: Some(realm.to_string()),
                })
            }),
        };
        // Go clients drop an entry whose version is no semver.
        let version = if entry.version.is_empty() {
            "v0.0.0".into()
        } else {
            entry.version.clone()
        };
        plugins::Plugin {
            name: Some(entry.name.to_string()),
            version: Some(version),
            disabled: Some(matches!(entry.availability, Availability::Disabled)),
            external: Some(entry.origin == Origin::Manual),
            configurable: Some(entry.config.enabled.is_none() && !listed),
            run_status: Some(entry.run_status.into()),
            status_message: Some(entry.status_message.clone()),
            metadata,
        }
    }
}
