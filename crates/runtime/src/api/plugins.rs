//! Plugins as the protocol's own management service shows and changes them.

use keyway_local::with_causes;
use keyway_proto::keyway::v1::PluginState;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_rpc::{Error, Request, Response};

use super::Services;
use crate::authority::{Action, Manage};
use crate::caller::Caller;
use crate::manager::SetEnabledError;
use crate::model::{Kind, PluginName};
use crate::plugin::{NotEnabled, View, run_status};
use crate::record::Outcome;

impl plugins::PluginManagementService for Services {
    async fn list_plugins(
        &self,
        request: Request<plugins::ListPluginsRequest>,
    ) -> Result<Response<plugins::ListPluginsResponse>, Error> {
        let caller = Caller::of(&request)?;
        let permitted = self
            .permit(&caller, &Action::ListPlugins, ("plugins", &[]))
            .await?;
        let snapshot = self.registry.snapshot();
        let plugins = snapshot.values().map(|view| plugins::Plugin {
            status_message: Some(if permitted.permit.hides_status() {
                String::new()
            } else {
                view.message.clone()
            }),
            ..describe(view)
        });
        Ok(Response::new(plugins::ListPluginsResponse {
            plugins: plugins.collect(),
        }))
    }

    async fn enable_plugin(
        &self,
        request: Request<plugins::EnablePluginRequest>,
    ) -> Result<Response<plugins::EnablePluginResponse>, Error> {
        let caller = Caller::of(&request)?;
        self.set_enabled(&caller, request.message().name(), true)
            .await?;
        Ok(Response::new(plugins::EnablePluginResponse {}))
    }

    async fn disable_plugin(
        &self,
        request: Request<plugins::DisablePluginRequest>,
    ) -> Result<Response<plugins::DisablePluginResponse>, Error> {
        let caller = Caller::of(&request)?;
        self.set_enabled(&caller, request.message().name(), false)
            .await?;
        Ok(Response::new(plugins::DisablePluginResponse {}))
    }
}

impl resolver::ListService for Services {
    async fn list_plugins(
        &self,
        request: Request<resolver::ListPluginsRequest>,
    ) -> Result<Response<resolver::ListPluginsResponse>, Error> {
        let caller = Caller::of(&request)?;
        self.permit(&caller, &Action::ListPlugins, ("plugins", &[]))
            .await?;
        // Clients of that time know only running providers.
        let snapshot = self.registry.snapshot();
        let plugins = snapshot
            .values()
            .filter(|view| view.handle().is_some())
            .filter_map(|view| {
                let pattern = pattern_of(view)?;
                Some(resolver::Plugin {
                    name: Some(view.name.to_string()),
                    version: Some(view.version().to_owned()),
                    pattern: Some(pattern),
                    external: Some(view.is_external()),
                })
            });
        Ok(Response::new(resolver::ListPluginsResponse {
            plugins: plugins.collect(),
        }))
    }
}

impl Services {
    async fn set_enabled(&self, caller: &Caller, text: &str, enabled: bool) -> Result<(), Error> {
        let (name, shown) = name(text)?;
        let objects = [shown.as_str()];
        let (manage, action) = if enabled {
            (Manage::Enable(name.as_str()), "enable")
        } else {
            (Manage::Disable(name.as_str()), "disable")
        };
        let permitted = self
            .permit(caller, &Action::Manage(manage), (action, &objects))
            .await?;
        let result = self
            .manager
            .set_enabled(&permitted.permit, name, enabled)
            .await
            .unwrap_or(Ok(()));
        let result = result.map_err(set_enabled_error);
        self.record(caller, action, &objects, || Outcome::of(&result))
            .await?;
        result
    }
}

/// Returns the name in a request, and how the audit log has it.
pub(super) fn name(text: &str) -> Result<(PluginName, String), Error> {
    let name: PluginName = text
        .parse()
        .map_err(|error| Error::not_found(format!("there is no such plugin: {error}")))?;
    let shown = name.to_string();
    Ok((name, shown))
}

fn set_enabled_error(error: SetEnabledError) -> Error {
    let message = with_causes(&error);
    match error {
        SetEnabledError::Unknown(_) => Error::not_found(message),
        SetEnabledError::Listed(_)
        | SetEnabledError::NotRemembered(_)
        | SetEnabledError::NotEnabled(NotEnabled::Refused { .. } | NotEnabled::Untrusted(_)) => {
            Error::failed_precondition(message)
        }
    }
}

/// Returns the realm as one pattern: the effective one if one pattern says it, else the registered
/// one.
fn pattern_of(view: &View) -> Option<String> {
    let realm = view.realm.as_ref()?;
    if let Some(single) = realm.single() {
        return Some(single.to_string());
    }
    let registered = view
        .registration
        .as_ref()
        .and_then(|known| known.pattern.as_ref());
    match (registered, &view.kind) {
        (Some(pattern), Some(Kind::Provider(_))) => Some(pattern.to_string()),
        (None, Some(Kind::Provider(patterns))) => patterns.first().map(ToString::to_string),
        _ => None,
    }
}

/// Returns a plugin as Docker's programs know it, with its message.
fn describe(view: &View) -> plugins::Plugin {
    use plugins::plugin::Metadata;
    let metadata = match &view.kind {
        Some(Kind::AccessControl) => Some(Metadata::AccessControlModule(
            plugins::AccessControlModule {},
        )),
        _ => pattern_of(view).map(|pattern| {
            Metadata::SecretsProvider(plugins::SecretsProvider {
                pattern: Some(pattern),
            })
        }),
    };
    // Go clients drop an entry whose version is not Go semver.
    let version = match view.version() {
        "" => "v0.0.0",
        version => version,
    };
    let is_fixed = matches!(view.state, PluginState::Untrusted | PluginState::Refused)
        || view.settings.is_listed_module;
    plugins::Plugin {
        name: Some(view.name.to_string()),
        version: Some(version.to_owned()),
        disabled: Some(matches!(
            view.state,
            PluginState::Disabled | PluginState::Available | PluginState::Untrusted
        )),
        external: Some(view.is_external()),
        configurable: Some(!is_fixed),
        run_status: Some(run_status(view.state).into()),
        status_message: Some(view.message.clone()),
        metadata,
    }
}
