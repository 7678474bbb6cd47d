//! The responses of a scripted daemon, by the pattern of the query.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyway_proto::FAILED_PROVIDERS_HEADER;
use keyway_proto::health::v1::VersionServiceServer;
use keyway_proto::keyway::v1::unlisted::Reason;
use keyway_proto::keyway::v1::{
    CatalogService, CatalogServiceServer, ExplainRequest, ExplainResponse, ListSecretsRequest,
    ListSecretsResponse, ManagementService, ManagementServiceServer, ReloadRequest, ReloadResponse,
    Secret, TrustPluginRequest, TrustPluginResponse, Unlisted, UntrustPluginRequest,
    UntrustPluginResponse,
};
use keyway_proto::plugins::v1::{
    AccessControlModule, DisablePluginRequest, DisablePluginResponse, EnablePluginRequest,
    EnablePluginResponse, ListPluginsRequest, ListPluginsResponse, Plugin, PluginManagementService,
    PluginManagementServiceServer, RunStatus, SecretsProvider, plugin::Metadata,
};
use keyway_proto::resolver::v1::{
    GetSecretsRequest, GetSecretsResponse, ResolverService, ResolverServiceServer,
    get_secrets_response,
};
use keyway_proto::timestamp;
use keyway_rpc::{Error, Request, Response, Router};
use keyway_secrets::{Envelope, Pattern};
use keyway_test_support::scripted::{ScriptedDaemon, Version};
use tokio::sync::Semaphore;

use super::{Home, failing, inventory, store};

/// The services. A query for `x/held` and a change of the plugin `held` take a permit of `held`, and wait while there is none.
#[derive(Clone, Debug)]
struct Script {
    held: Arc<Semaphore>,
}

impl Script {
    fn new() -> Self {
        Self {
            held: Arc::new(Semaphore::new(0)),
        }
    }

    /// Changes the plugin `name`.
    async fn change(&self, name: &str) -> Result<(), Error> {
        if name == "held" {
            self.held.acquire().await.unwrap().forget();
            return Ok(());
        }
        known(name)
    }
}

/// A scripted daemon at the socket of a home, with all services.
pub(crate) fn serve(home: &Home) -> ScriptedDaemon {
    ScriptedDaemon::serve(home.socket(), full())
}

/// As [`serve`]. It responds to as many queries for `x/held` and changes of the plugin `held` as there are permits.
pub(crate) fn serve_held(home: &Home) -> (ScriptedDaemon, Arc<Semaphore>) {
    let script = Script::new();
    let held = Arc::clone(&script.held);
    (ScriptedDaemon::serve(home.socket(), full_of(&script)), held)
}

/// An envelope with every field.
pub(super) fn envelope(id: &str, value: &[u8], provider: &str) -> get_secrets_response::Envelope {
    let mut envelope = Envelope::new(id.parse().unwrap(), value);
    envelope.provider = provider.to_owned();
    envelope.version = "3".to_owned();
    envelope.created_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_370_400));
    envelope.metadata = BTreeMap::from([("owner".to_owned(), "ann".to_owned())]);
    envelope.into()
}

/// Every byte.
pub(crate) fn binary() -> Vec<u8> {
    (0..=255).collect()
}

impl ResolverService for Script {
    async fn get_secrets(
        &self,
        request: Request<GetSecretsRequest>,
    ) -> Result<Response<GetSecretsResponse>, Error> {
        let pattern = request.message().pattern();
        if let Some(error) = failing::error(pattern) {
            return Err(error);
        }
        let envelopes = match pattern {
            "web/token" | "web/tok/**" => vec![envelope("web/token", b"dummy-token", "file")],
            "db/password" => vec![envelope("db/password", b"dummy-password", "file")],
            "bin/key" => vec![envelope("bin/key", &binary(), "file")],
            "like/syntax" => vec![envelope("like/syntax", b"${X}$(x) se://web/token", "file")],
            "bin/quoted" => vec![envelope("bin/quoted", b"a\"b\n", "file")],
            "web/*" => vec![
                envelope("web/token", b"dummy-token", "file"),
                envelope("web/session", b"dummy-session", "file"),
                envelope("web/session", b"dummy-other", "vault"),
            ],
            "large/id" => vec![envelope("large/id", &vec![b'x'; 1 << 20], "file")],
            "twice/id" => vec![
                envelope("twice/id", b"dummy-1", "file"),
                envelope("twice/id", b"dummy-2", "vault"),
            ],
            "repeated/id" => vec![
                envelope("repeated/id", b"dummy-1", "file"),
                envelope("repeated/id", b"dummy-2", "file"),
            ],
            "vault/**" => vec![envelope("vault/root", b"dummy-root", "vault")],
            "partial/*" | "partial/id" => return Ok(partial(&["vault", "keyring"])),
            "half/*" => return Ok(failing::beside_a_value()),
            "half/**" => return Ok(failing::beside_values()),
            "foreign/id" => vec![envelope("other/id", b"dummy", "file")],
            "denied/id" => return Err(Error::permission_denied("module `guard` said no")),
            "broken/id" => return Err(broken()),
            "internal/id" => return Err(Error::internal("the index has no page 7")),
            "slow/id" => return Err(Error::deadline_exceeded("provider `vault` took over 10 s")),
            "x/held" => {
                self.held.acquire().await.unwrap().forget();
                vec![envelope("x/held", b"dummy-held", "one")]
            }
            "x/late" => {
                tokio::time::sleep(Duration::from_millis(900)).await;
                vec![envelope("x/late", b"dummy-late", "one")]
            }
            "never/id" => std::future::pending().await,
            "hostile/id" => return Err(Error::internal("\x1b[2J\nkeyway: all is well")),
            other => return Err(Error::not_found(format!("no provider has {other}"))),
        };
        Ok(Response::new(GetSecretsResponse { envelopes }))
    }
}

fn partial(failed: &[&str]) -> Response<GetSecretsResponse> {
    let envelopes = vec![envelope("partial/id", b"dummy-partial", "file")];
    let mut response = Response::new(GetSecretsResponse { envelopes });
    let names = failed.join(", ").parse().unwrap();
    response
        .headers_mut()
        .insert(FAILED_PROVIDERS_HEADER, names);
    response
}

fn broken() -> Error {
    let mut error =
        Error::unavailable("nothing was found, and the provider `vault` failed: it is sealed");
    error
        .own_metadata_mut()
        .insert(FAILED_PROVIDERS_HEADER, "vault".parse().unwrap());
    error
}

impl CatalogService for Script {
    async fn list_secrets(
        &self,
        request: Request<ListSecretsRequest>,
    ) -> Result<Response<ListSecretsResponse>, Error> {
        let pattern: Pattern = request.message().pattern().parse().unwrap();
        if let Some(response) = failing::listing(request.message().pattern()) {
            return Ok(response);
        }
        let mut response = ListSecretsResponse {
            secrets: ["a:b/c:d", "web/session", "web/token"]
                .map(|id| secret(id, "file"))
                .to_vec(),
            unlisted: vec![unlisted("vault", "vault/**", Reason::CannotList, "")],
        };
        if request.message().pattern() == "broken/**" {
            let message = "the collection is locked";
            response.unlisted = vec![unlisted("keyring", "broken/**", Reason::Failed, message)];
        }
        let matches = |secret: &Secret| pattern.matches(&secret.id().parse().unwrap());
        let overlaps = |unlisted: &Unlisted| pattern.overlaps(&unlisted.pattern().parse().unwrap());
        response.secrets.retain(matches);
        response.unlisted.retain(overlaps);
        Ok(Response::new(response))
    }
}

fn secret(id: &str, provider: &str) -> Secret {
    Secret {
        id: Some(id.to_owned()),
        provider: Some(provider.to_owned()),
        version: Some("3".to_owned()),
        created_at: Some(timestamp::to_wire(None)),
        expires_at: Some(timestamp::to_wire(None)),
        ..Secret::default()
    }
}

pub(super) fn unlisted(provider: &str, realm: &str, reason: Reason, message: &str) -> Unlisted {
    let mut unlisted = Unlisted {
        provider: Some(provider.to_owned()),
        pattern: Some(realm.to_owned()),
        message: Some(message.to_owned()),
        ..Unlisted::default()
    };
    unlisted.set_reason(reason);
    unlisted
}

impl PluginManagementService for Script {
    async fn list_plugins(
        &self,
        _: Request<ListPluginsRequest>,
    ) -> Result<Response<ListPluginsResponse>, Error> {
        let provider = |realm: &str| {
            let pattern = Some(realm.to_owned());
            Some(Metadata::SecretsProvider(SecretsProvider { pattern }))
        };
        let mut guard = plugin("guard", RunStatus::Running, "");
        guard.metadata = Some(Metadata::AccessControlModule(AccessControlModule {}));
        guard.external = Some(true);
        let mut file = plugin("file", RunStatus::Running, "");
        file.metadata = provider("**");
        let mut vault = plugin("vault", RunStatus::Crashed, "ended with status 1: no token");
        vault.metadata = provider("vault/**");
        let mut old = plugin("old", RunStatus::Stopped, "");
        old.disabled = Some(true);
        let plugins = vec![file, guard, old, vault];
        Ok(Response::new(ListPluginsResponse { plugins }))
    }

    async fn enable_plugin(
        &self,
        request: Request<EnablePluginRequest>,
    ) -> Result<Response<EnablePluginResponse>, Error> {
        self.change(request.message().name()).await?;
        Ok(Response::new(EnablePluginResponse {}))
    }

    async fn disable_plugin(
        &self,
        request: Request<DisablePluginRequest>,
    ) -> Result<Response<DisablePluginResponse>, Error> {
        self.change(request.message().name()).await?;
        Ok(Response::new(DisablePluginResponse {}))
    }
}

fn plugin(name: &str, status: RunStatus, message: &str) -> Plugin {
    let mut plugin = Plugin {
        name: Some(name.to_owned()),
        version: Some("v0.1.0".to_owned()),
        configurable: Some(true),
        status_message: Some(message.to_owned()),
        ..Plugin::default()
    };
    plugin.set_run_status(status);
    plugin
}

fn known(name: &str) -> Result<(), Error> {
    match name {
        "file" | "vault" => Ok(()),
        "env" => Err(Error::failed_precondition(
            "its executable is not the pinned one",
        )),
        "guard" => Err(Error::permission_denied(
            "guard is listed in [access] modules",
        )),
        other => Err(Error::not_found(format!("no plugin is named {other}"))),
    }
}

impl ManagementService for Script {
    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Error> {
        Ok(Response::new(ReloadResponse {
            added: vec!["keyring".to_owned()],
            removed: vec!["old".to_owned()],
            restarted: vec!["vault".to_owned()],
            problems: vec!["/plugins/pass is not executable".to_owned()],
            changed: vec![
                "priority of env: 0 -> 5".to_owned(),
                "audit: off -> on".to_owned(),
            ],
            needs_restart: vec!["listen".to_owned()],
            warnings: vec!["no plugin is named fiel; the nearest name is file".to_owned()],
        }))
    }

    async fn untrust_plugin(
        &self,
        request: Request<UntrustPluginRequest>,
    ) -> Result<Response<UntrustPluginResponse>, Error> {
        self.change(request.message().name()).await?;
        Ok(Response::new(UntrustPluginResponse {}))
    }

    async fn list_plugins(
        &self,
        _: Request<keyway_proto::keyway::v1::ListPluginsRequest>,
    ) -> Result<Response<keyway_proto::keyway::v1::ListPluginsResponse>, Error> {
        Ok(Response::new(inventory::plugins()))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Error> {
        match request.message().pattern() {
            "denied/id" => Err(Error::permission_denied("module `guard` said no")),
            "nothing/**" => Ok(Response::new(ExplainResponse::default())),
            "failing/**" => Ok(Response::new(inventory::failing())),
            id => Ok(Response::new(inventory::explained(id))),
        }
    }

    async fn trust_plugin(
        &self,
        request: Request<TrustPluginRequest>,
    ) -> Result<Response<TrustPluginResponse>, Error> {
        self.change(request.message().name()).await?;
        let is_script = request.message().name() == "vault";
        Ok(Response::new(TrustPluginResponse {
            sha256: Some("00ff".repeat(16)),
            interpreter: is_script.then(|| "/usr/bin/python3".to_owned()),
        }))
    }
}

/// The services that the protocol's reference has.
pub(crate) fn reference() -> Router {
    reference_of(&Script::new())
}

fn reference_of(script: &Script) -> Router {
    Router::new()
        .add_service(ResolverServiceServer::new(script.clone()))
        .add_service(PluginManagementServiceServer::new(script.clone()))
        .add_service(VersionServiceServer::new(Version("v1.2.3")))
}

/// The services of a Keyway daemon.
pub(crate) fn full() -> Router {
    full_of(&Script::new())
}

fn full_of(script: &Script) -> Router {
    reference_of(script)
        .add_service(CatalogServiceServer::new(script.clone()))
        .add_service(ManagementServiceServer::new(script.clone()))
        .add_service(store::service())
}
