//! Keyway's own management service.

use std::path::{Path, PathBuf};

use keyway_local::with_causes;
use keyway_proto::keyway::v1 as keyway;
use keyway_proto::timestamp;
use keyway_rpc::{Error, Request, Response};

use super::Services;
use super::plugins::name;
use crate::authority::{Action, Manage, Permitted};
use crate::caller::Caller;
use crate::manager::TrustError;
use crate::model::{Class, Kind, PluginName};
use crate::plugin::View;
use crate::record::Outcome;
use crate::resolve::explain::explain;
use crate::resolve::{Query, pattern};

impl keyway::ManagementService for Services {
    async fn reload(
        &self,
        request: Request<keyway::ReloadRequest>,
    ) -> Result<Response<keyway::ReloadResponse>, Error> {
        let caller = Caller::of(&request)?;
        self.manage(&caller, Manage::Reload, ("reload", &[]))
            .await?;
        let report = self.manager.reload().await.ok_or_else(stopping)?;
        let result = report.map_err(|error| {
            let why = with_causes(&*error);
            Error::failed_precondition(format!("the old configuration stays in force: {why}"))
        });
        self.record(&caller, "reload", &[], || Outcome::of(&result))
            .await?;
        let report = result?;
        let texts = |names: Vec<PluginName>| names.iter().map(PluginName::to_string).collect();
        Ok(Response::new(keyway::ReloadResponse {
            added: texts(report.added),
            removed: texts(report.removed),
            restarted: texts(report.restarted),
            problems: report.problems,
            changed: report.changed,
            needs_restart: report.needs_restart,
            warnings: report.warnings,
        }))
    }

    async fn trust_plugin(
        &self,
        request: Request<keyway::TrustPluginRequest>,
    ) -> Result<Response<keyway::TrustPluginResponse>, Error> {
        let caller = Caller::of(&request)?;
        let (name, shown) = name(request.message().name())?;
        let objects = [shown.as_str()];
        let permitted = self
            .manage(&caller, Manage::Trust(name.as_str()), ("trust", &objects))
            .await?;
        let result = self
            .manager
            .trust(&permitted.permit, name)
            .await
            .ok_or_else(stopping)?;
        let result = result.map_err(trust_error);
        self.record(&caller, "trust", &objects, || Outcome::of(&result))
            .await?;
        let trusted = result?;
        Ok(Response::new(keyway::TrustPluginResponse {
            sha256: Some(trusted.sha256.to_string()),
            interpreter: Some(trusted.interpreter.unwrap_or_default()),
        }))
    }

    async fn untrust_plugin(
        &self,
        request: Request<keyway::UntrustPluginRequest>,
    ) -> Result<Response<keyway::UntrustPluginResponse>, Error> {
        let caller = Caller::of(&request)?;
        let (name, shown) = name(request.message().name())?;
        let objects = [shown.as_str()];
        let permitted = self
            .manage(
                &caller,
                Manage::Untrust(name.as_str()),
                ("untrust", &objects),
            )
            .await?;
        let result = self
            .manager
            .untrust(&permitted.permit, name)
            .await
            .ok_or_else(stopping)?;
        let result = result.map_err(trust_error);
        self.record(&caller, "untrust", &objects, || Outcome::of(&result))
            .await?;
        result?;
        Ok(Response::new(keyway::UntrustPluginResponse {}))
    }

    async fn list_plugins(
        &self,
        request: Request<keyway::ListPluginsRequest>,
    ) -> Result<Response<keyway::ListPluginsResponse>, Error> {
        let caller = Caller::of(&request)?;
        self.permit(&caller, &Action::Inspect, ("plugins", &[]))
            .await?;
        let snapshot = self.registry.snapshot();
        let mut views: Vec<&View> = snapshot.values().map(AsRef::as_ref).collect();
        views.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut plugins: Vec<keyway::PluginStatus> =
            views.iter().map(|view| status(view)).collect();
        number(&views, &mut plugins);
        Ok(Response::new(keyway::ListPluginsResponse { plugins }))
    }

    async fn explain(
        &self,
        request: Request<keyway::ExplainRequest>,
    ) -> Result<Response<keyway::ExplainResponse>, Error> {
        let caller = Caller::of(&request)?;
        let requested = pattern(request.message().pattern.as_deref())?;
        let objects = [requested.as_str()];
        let action = Action::Explain(std::slice::from_ref(&requested));
        let permitted = self.permit(&caller, &action, ("explain", &objects)).await?;
        let (permit, settings) = (&permitted.permit, &permitted.settings);
        let budget = self.budget.of(settings);
        let query = Query::new(&caller, &request, permit.narrow(&requested), budget);
        let explained = explain(&self.registry, &query, permit).await;
        self.record(&caller, "explain", &objects, || {
            let ids = explained.ids.iter();
            let failed = explained.failed.iter();
            Outcome::found(
                ids.map(|id| (id.id(), id.provider()))
                    .filter(|(_, provider)| !provider.is_empty()),
                failed.map(|failure| failure.name().to_owned()),
            )
        })
        .await?;
        let mut response = Response::new(explained);
        caller.add_id(response.headers_mut());
        Ok(response)
    }

    async fn status(
        &self,
        request: Request<keyway::StatusRequest>,
    ) -> Result<Response<keyway::StatusResponse>, Error> {
        let caller = Caller::of(&request)?;
        self.permit(&caller, &Action::Inspect, ("status", &[]))
            .await?;
        let settings = self.settings.load();
        let config = &settings.config;
        let text = |path: &Path| path.display().to_string();
        let (executable, is_executable_replaced) = executable();
        Ok(Response::new(keyway::StatusResponse {
            version: Some(config.version.version.clone()),
            pid: i32::try_from(std::process::id()).ok(),
            started_at: Some(timestamp::to_wire(Some(self.started_at))),
            configuration_hash: Some(config.hash.to_string()),
            addresses: self.addresses.clone(),
            configuration_file: Some(config.file.as_deref().map(text).unwrap_or_default()),
            audit: Some(
                config
                    .audit
                    .as_ref()
                    .map(|audit| text(&audit.path))
                    .unwrap_or_default(),
            ),
            allow_uids: config.allow_uids.iter().copied().collect(),
            uid: Some(rustix::process::geteuid().as_raw()),
            executable: Some(text(&executable)),
            is_executable_replaced: Some(is_executable_replaced),
        }))
    }

    async fn stop(
        &self,
        request: Request<keyway::StopRequest>,
    ) -> Result<Response<keyway::StopResponse>, Error> {
        let caller = Caller::of(&request)?;
        self.manage(&caller, Manage::Stop, ("stop", &[])).await?;
        // A daemon that cannot record any more can be stopped nevertheless.
        self.audit.note("stop", &caller, &Outcome::ok());
        // A stop has been requested already.
        let _ = self.stop.try_send(());
        Ok(Response::new(keyway::StopResponse {}))
    }
}

impl Services {
    /// Permits a change.
    async fn manage(
        &self,
        caller: &Caller,
        manage: Manage<'_>,
        record: (&'static str, &[&str]),
    ) -> Result<Permitted, Error> {
        self.permit(caller, &Action::Manage(manage), record).await
    }
}

/// The path of the program of this process, and whether it was removed or replaced since. Empty if it cannot be read.
fn executable() -> (PathBuf, bool) {
    let link = std::env::current_exe().unwrap_or_default();
    // The kernel marks a path that is no longer that of the file.
    let original = link
        .to_str()
        .and_then(|link| link.strip_suffix(" (deleted)"));
    match original {
        Some(path) => (path.into(), true),
        None => (link, false),
    }
}

fn stopping() -> Error {
    Error::unavailable("the daemon is stopping")
}

fn trust_error(error: TrustError) -> Error {
    let message = with_causes(&error);
    match error {
        TrustError::Unknown { .. } => Error::not_found(message),
        _ => Error::failed_precondition(message),
    }
}

/// Providers by rank, then access-control modules, then plugins of unknown kind; equal ones by name.
fn order(view: &View) -> (u8, std::cmp::Reverse<crate::model::Rank>, &str) {
    let group = match &view.kind {
        Some(Kind::Provider(_)) => 0,
        Some(Kind::AccessControl) => 1,
        None => 2,
    };
    (group, std::cmp::Reverse(view.rank), view.name.as_str())
}

/// Numbers the providers: 1 first, equal ranks get equal numbers.
fn number(views: &[&View], plugins: &mut [keyway::PluginStatus]) {
    let mut last = None;
    for (index, (view, plugin)) in views.iter().zip(plugins).enumerate() {
        if !matches!(view.kind, Some(Kind::Provider(_))) {
            continue;
        }
        let rank = match last {
            Some((rank, number)) if rank == view.rank => number,
            _ => index as u32 + 1,
        };
        last = Some((view.rank, rank));
        plugin.rank = Some(rank);
    }
}

fn status(view: &View) -> keyway::PluginStatus {
    let description = view
        .registration
        .as_ref()
        .map(|registration| &registration.description);
    let kind = match &view.kind {
        Some(Kind::Provider(_)) => keyway::PluginKind::Provider,
        Some(Kind::AccessControl) => keyway::PluginKind::AccessControl,
        None => keyway::PluginKind::Unspecified,
    };
    let class = match view.class {
        Class::Launched => keyway::PluginClass::Launched,
        Class::External => keyway::PluginClass::External,
    };
    let executable = view.executable.as_ref();
    keyway::PluginStatus {
        name: Some(view.name.to_string()),
        version: Some(view.version().to_owned()),
        kind: Some(kind.into()),
        realm: view
            .realm
            .as_ref()
            .map(|realm| realm.patterns())
            .unwrap_or_default(),
        rank: None,
        priority: Some(view.rank.priority),
        class: Some(class.into()),
        pid: view.pid,
        executable: Some(
            executable
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        ),
        state: Some(view.state.into()),
        message: Some(view.message.clone()),
        last_failed_request: view
            .record
            .last_failure()
            .map(|failure| keyway::FailedRequest {
                time: Some(timestamp::to_wire(Some(failure.time))),
                kind: Some(failure.kind.into()),
                message: Some(failure.message),
            }),
        requests: Some(view.record.n_requests()),
        failures: Some(view.record.n_failures()),
        restarts: Some(view.n_restarts),
        configured_enabled: view.settings.enabled,
        interactive: Some(view.is_interactive()),
        required: Some(view.settings.required),
        sha256: Some(
            view.settings
                .sha256
                .map(|sha256| sha256.to_string())
                .unwrap_or_default(),
        ),
        description: Some(
            description
                .map(|known| known.text.clone())
                .unwrap_or_default(),
        ),
        homepage: Some(
            description
                .map(|known| known.homepage.clone())
                .unwrap_or_default(),
        ),
        in_flight: view
            .handle()
            .and_then(|handle| u32::try_from(handle.n_in_flight()).ok()),
    }
}
